"""Nodes and pods for a real scheduler, whose kubelets are played: what its tests share."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

from tacho_contract.codec import dumps
from tacho_contract.failure import Failure, FailureClass
from tacho_contract.units import format_time
from tools.cluster.handle import Cluster
from tools.harness.operating import resource
from tools.harness.operator_process import Kubelet, eventually

NAMESPACE = "spare"
RESOURCE = "tests.tacho.dev/gpu"
SILENT_SECONDS = 3600
"""Nobody speaks for the nodes that a test writes: they are not to be given up while it runs."""


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


def placed(cluster: Cluster, pod: dict[str, Any]) -> str:
    """The node that the scheduler gives it."""
    name, namespace = pod["metadata"]["name"], pod["metadata"]["namespace"]

    def look() -> str | None:
        return cluster.get("pod", name, "-n", namespace)["spec"].get("nodeName") or None

    return eventually(f"the scheduler places {name}", look)


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
