"""A pod's status, as kubelet and scheduler write it."""

from __future__ import annotations

from typing import Any


def running(moment: str, *, ready: bool, since: str) -> dict[str, Any]:
    """Of a pod whose engine runs; ``since``: when it became ready, or not ready."""
    return {
        "phase": "Running",
        "podIP": "10.0.0.1",
        "conditions": [
            {"type": "PodScheduled", "status": "True", "lastTransitionTime": moment},
            {"type": "Ready", "status": "True" if ready else "False", "lastTransitionTime": since},
        ],
        "initContainerStatuses": [
            {"name": "inject", "state": {"terminated": {"exitCode": 0, "finishedAt": moment}}}
        ],
        "containerStatuses": [
            {
                "name": "engine",
                "image": "registry.example/mock:1",
                "imageID": "registry.example/mock@sha256:1",
                "restartCount": 0,
                "state": {"running": {"startedAt": moment}},
            }
        ],
    }


def insufficient(
    pod: dict[str, Any], message: str = "0/1 nodes are available: 1 Insufficient memory."
) -> None:
    pod["status"] = {
        "phase": "Pending",
        "conditions": [
            {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": message}
        ],
    }


def container_state(pod: dict[str, Any], name: str = "engine", *, init: bool = False, **status: Any) -> None:
    """Sets one container's status; the pod is on a node and not ready."""
    pod["spec"]["nodeName"] = "node-1"
    key = "initContainerStatuses" if init else "containerStatuses"
    pod["status"] = {
        "phase": "Running",
        "conditions": [{"type": "Ready", "status": "False"}],
        key: [{"name": name, "image": "registry.example/mock:1", "restartCount": 0, **status}],
    }
