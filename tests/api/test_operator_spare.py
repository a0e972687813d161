"""What the real scheduler does: a second revision waits for a GPU, and pods avoid the node of a GPU fault."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from tacho_contract.codec import dumps
from tacho_contract.failure import Failure, FailureClass
from tacho_contract.units import format_time
from tools import lab
from tools.cluster.binaries import Binaries
from tools.cluster.controlplane import ControlPlane
from tools.cluster.handle import Cluster
from tools.harness.definition import install_definition
from tools.harness.operating import FACTS, NAME, await_condition, condition, resource
from tools.harness.operator_process import Kubelet, Operator, eventually, install_rights

NAMESPACE = "spare"
RESOURCE = "tests.tacho.dev/gpu"
SILENT_SECONDS = 3600
"""Nobody speaks for the nodes that a test writes: they are not to be given up while it runs."""


@pytest.fixture(scope="module")
def scheduled(cluster_binaries: Binaries) -> Iterator[Cluster]:
    """A control plane with its scheduler, which the tier's own has not."""
    with ControlPlane(cluster_binaries, scheduler=True, node_grace_seconds=SILENT_SECONDS) as cluster:
        install_definition(cluster)
        cluster.create_namespace(NAMESPACE)
        yield cluster


@pytest.fixture
def served(scheduled: Cluster, tmp_path: Path) -> Iterator[Cluster]:
    """With the operator on it."""
    operator = Operator(install_rights(scheduled), tmp_path / "operator.log")
    operator.start()
    yield scheduled
    operator.kill()
    print(operator.log.read_text()[-20000:])


def advertise(
    cluster: Cluster, node: str, gpus: int, *, resource_name: str = RESOURCE, cpu: str = "8"
) -> None:
    """A node that answers just now, with so many GPUs."""
    labels = {"kubernetes.io/hostname": node}  # as kubelets set
    cluster.apply({"apiVersion": "v1", "kind": "Node", "metadata": {"name": node, "labels": labels}})
    ready = {"type": "Ready", "status": "True", "reason": "KubeletReady"}
    room = {"cpu": cpu, "memory": "16Gi", "pods": "20", resource_name: str(gpus)}
    patch = json.dumps({"status": {"conditions": [ready], "capacity": room, "allocatable": room}})
    cluster.kubectl("patch", "node", node, "--subresource=status", "--type=merge", "-p", patch)
    # Its controller has not seen it yet, and says so by a taint.
    taints = json.dumps({"spec": {"taints": None}})
    cluster.kubectl("patch", "node", node, "--type=merge", "-p", taints)


def on_a_gpu(namespace: str = NAMESPACE, resource_name: str = RESOURCE, **spec: object) -> dict[str, object]:
    engine = {
        "name": "custom",
        "image": "example/engine:test",
        "custom": {"command": ["serve"], "port": 8010, "healthPath": "/health"},
    }
    return resource(
        namespace,
        engine=engine,
        quantization={"method": "none"},
        gpu={"count": 1, "resourceName": resource_name},
        **spec,
    )


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


def placed(cluster: Cluster, pod: dict[str, Any]) -> str:
    """The node that the scheduler gives it."""
    name, namespace = pod["metadata"]["name"], pod["metadata"]["namespace"]

    def look() -> str | None:
        return cluster.get("pod", name, "-n", namespace)["spec"].get("nodeName") or None

    return eventually(f"the scheduler places {name}", look)


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


def crash(cluster: Cluster, pod: dict[str, Any], restarts: int = 1) -> None:
    """The engine ends with a GPU fault; its kubelet is about to start it again."""
    message = dumps(Failure(failure_class=FailureClass.GPU_FAULT, message="Xid 79", next_step="Reset it."))
    ended = {"exitCode": 1, "message": message, "finishedAt": format_time(datetime.now(UTC))}
    engine = {"name": "engine", "image": "i", "imageID": "", "ready": False, "restartCount": restarts}
    engine |= {"state": {"waiting": {}}, "lastState": {"terminated": ended}}
    status = {
        "phase": "Running",
        "containerStatuses": [engine],
        "conditions": [{"type": "Ready", "status": "False"}],
    }
    cluster.patch_status("Pod", pod["metadata"]["namespace"], pod["metadata"]["name"], status)


def replaced(cluster: Cluster, kubelet: Kubelet, pod: dict[str, Any]) -> dict[str, Any]:
    """The pod that its ReplicaSet creates in place of a deleted one."""
    end(cluster, pod)
    return kubelet.await_pod("server")


def end(cluster: Cluster, pod: dict[str, Any]) -> None:
    """Deletes a pod of a node whose kubelet is played, so that nobody else ends it."""
    name, namespace = pod["metadata"]["name"], pod["metadata"]["namespace"]
    cluster.kubectl("delete", "pod", name, "-n", namespace, "--grace-period=0", "--force", "--wait=false")


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
