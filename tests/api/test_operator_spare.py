"""One GPU for two revisions, told by the real scheduler: the second waits beside the one that serves."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

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


def advertise(cluster: Cluster, node: str, gpus: int) -> None:
    """A node that answers just now, with so many GPUs."""
    cluster.apply({"apiVersion": "v1", "kind": "Node", "metadata": {"name": node}})
    ready = {"type": "Ready", "status": "True", "reason": "KubeletReady"}
    room = {"cpu": "8", "memory": "16Gi", "pods": "20", RESOURCE: str(gpus)}
    patch = json.dumps({"status": {"conditions": [ready], "capacity": room, "allocatable": room}})
    cluster.kubectl("patch", "node", node, "--subresource=status", "--type=merge", "-p", patch)
    # Its controller has not seen it yet, and says so by a taint.
    taints = json.dumps({"spec": {"taints": None}})
    cluster.kubectl("patch", "node", node, "--type=merge", "-p", taints)


def on_a_gpu(**spec: object) -> dict[str, object]:
    engine = {
        "name": "custom",
        "image": "example/engine:test",
        "custom": {"command": ["serve"], "port": 8010, "healthPath": "/health"},
    }
    return resource(
        NAMESPACE,
        engine=engine,
        quantization={"method": "none"},
        gpu={"count": 1, "resourceName": RESOURCE},
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
    name = pod["metadata"]["name"]

    def look() -> str | None:
        return cluster.get("pod", name, "-n", NAMESPACE)["spec"].get("nodeName") or None

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
