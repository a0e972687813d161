"""What the real scheduler does: a second revision waits for a GPU, and pods avoid the node of a GPU fault."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.api.scheduling import NAMESPACE, RESOURCE, advertise, crash, on_a_gpu, placed, replaced
from tools import lab
from tools.cluster.handle import Cluster
from tools.harness.operating import FACTS, NAME, await_condition, condition
from tools.harness.operator_process import Kubelet, eventually


def unplaced(kubelet: Kubelet) -> dict[str, Any] | None:
    """The pod for which the scheduler has found no node."""
    for pod in kubelet.pods("server"):
        for item in pod["status"].get("conditions") or ():
            if item.get("reason") == "Unschedulable":
                return pod
    return None


def candidate(cluster: Cluster, reason: str) -> dict[str, Any]:
    """What is told of the candidate, once that is the reason."""
    revisions: list[dict[str, Any]] = cluster.get("llmd", NAME, "-n", NAMESPACE)["status"]["revisions"]
    told = next((item for item in revisions if item["phase"] == "Candidate"), {})
    return told if told.get("reason") == reason else {}


def test_a_new_revision_waits_for_a_gpu_beside_the_active_one(served: Cluster) -> None:
    served.apply(*lab.claim_of_node(NAMESPACE, "models", Path("/nowhere")))
    kubelet = Kubelet(served, NAMESPACE)
    with kubelet.answering():
        served.apply(on_a_gpu())
        kubelet.finish_inspection(FACTS)
        advertise(served, "node-1", 1)
        active = kubelet.await_pod("server")
        assert placed(served, active) == "node-1"
        kubelet.serve()
        await_condition(served, NAMESPACE, "Ready", "True")
        served.apply(on_a_gpu(context={"maxModelLen": 512, "concurrency": 1}))
        waits = eventually("the scheduler's word", lambda: unplaced(kubelet))
        told = eventually("its class", lambda: candidate(served, "NoSpareGPU") or None)
        assert condition(served, NAMESPACE, "Stalled")["status"] == "False", "a GPU may still come"
        assert RESOURCE in told["message"]
        assert RESOURCE in condition(served, NAMESPACE, "RolloutAccepted")["message"]
        assert condition(served, NAMESPACE, "Ready")["status"] == "True", "the active revision serves on"
        assert waits["metadata"]["name"] != active["metadata"]["name"]

        advertise(served, "node-2", 1)
        assert placed(served, waits) == "node-2"
        kubelet.serve(revision=waits["metadata"]["labels"]["tacho.dev/revision"])
        # Ten seconds ready, and thirty beside the old one.
        await_condition(served, NAMESPACE, "RolloutAccepted", "True", seconds=90)


def test_pods_prefer_another_node_after_a_gpu_fault_and_nothing_is_restarted(served: Cluster) -> None:
    namespace, gpu = "faulty", "tests.tacho.dev/faulty-gpu"
    served.create_namespace(namespace)
    served.apply(*lab.claim_of_node(namespace, "models", Path("/nowhere")))
    kubelet = Kubelet(served, namespace)
    with kubelet.answering():
        served.apply(on_a_gpu(namespace, gpu))
        kubelet.finish_inspection(FACTS)
        # The scheduler may place the next pod before it counts the GPU of the one that went as free.
        advertise(served, "large", 2, resource_name=gpu, cpu="64")
        advertise(served, "small", 1, resource_name=gpu, cpu="2")
        first = kubelet.await_pod("server")
        assert placed(served, first) == "large", "it has more room"
        kubelet.serve()
        await_condition(served, namespace, "Ready", "True")
        second = replaced(served, kubelet, first)
        assert placed(served, second) == "large", "as long as it has no fault"

        crash(served, second)
        (marker,) = eventually("the marker", lambda: kubelet.pods("avoid") or None)
        assert marker["spec"]["nodeName"] == "large"
        chosen = ("-n", namespace, "--field-selector=reason=NodeAvoided")
        (event,) = eventually("its event", lambda: served.get("events", *chosen)["items"] or None)
        assert "on node large" in event["message"]
        third = replaced(served, kubelet, second)
        assert placed(served, third) == "small"
        assert len(served.get("replicasets", "-n", namespace)["items"]) == 1, "the template is the same"

        advertise(served, "small", 0, resource_name=gpu, cpu="2")
        assert placed(served, replaced(served, kubelet, third)) == "large", "preferred, not required"


def test_a_kind_of_gpu_that_is_taken_gives_way_to_the_next_that_fits(served: Cluster) -> None:
    namespace, gpu = "free", "tests.tacho.dev/free-gpu"
    served.create_namespace(namespace)
    served.apply(*lab.claim_of_node(namespace, "models", Path("/nowhere")))
    for node, product, memory in (("l4", "NVIDIA-L4", 23034), ("h100", "NVIDIA-H100-80GB-HBM3", 81559)):
        advertise(served, node, 1, resource_name=gpu)
        labels = (f"nvidia.com/gpu.product={product}", f"nvidia.com/gpu.memory={memory}")
        served.kubectl("label", "node", node, "--overwrite", *labels)
    amounts = {"requests": {gpu: "1"}, "limits": {gpu: "1"}}
    container = {"name": "c", "image": "example/other:1", "resources": amounts}
    meta = {"name": "other", "namespace": "default"}
    served.apply(
        {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": meta,
            "spec": {"nodeName": "l4", "containers": [container]},
        }
    )
    resource = on_a_gpu(namespace, gpu)
    kinds = ["NVIDIA-L4", "NVIDIA-H100-80GB-HBM3"]
    resource["spec"]["gpu"] |= {"products": kinds, "scheduleTimeoutSeconds": 10}  # type: ignore[index]
    kubelet = Kubelet(served, namespace)
    with kubelet.answering():
        served.apply(resource)
        kubelet.finish_inspection(FACTS)
        on_l4 = kubelet.await_pod("server")
        assert on_l4["spec"]["nodeSelector"]["nvidia.com/gpu.product"] == "NVIDIA-L4"

        def moved() -> dict[str, Any] | None:
            name = on_l4["metadata"]["name"]
            return next((pod for pod in kubelet.pods("server") if pod["metadata"]["name"] != name), None)

        assert placed(served, eventually("a pod for the other kind", moved, seconds=60)) == "h100"
        kubelet.serve(revision=moved()["metadata"]["labels"]["tacho.dev/revision"])  # type: ignore[index]
        await_condition(served, namespace, "Ready", "True", seconds=60)
        plan = served.get("llmd", NAME, "-n", namespace)["status"]["plan"]["gpu"]
        assert [*plan["tried"], plan["product"]] == kinds
        chosen = ("-n", namespace, "--field-selector=reason=GPUNotFree")
        (event,) = eventually("its event", lambda: served.get("events", *chosen)["items"] or None)
        assert "NVIDIA-L4" in event["message"]
