"""Devices by a plugin, as a GPU is one: counted by the kubelet, given to one pod at a time."""

from __future__ import annotations

from typing import Any

import pytest

from tests.e2e.resource import eventually
from tools.cluster import devices, nodeconfig
from tools.cluster.handle import Cluster

pytestmark = pytest.mark.timeout(900)

RESOURCE = "tests.tacho.dev/plugged"


def pod(name: str) -> dict[str, Any]:
    security = {
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
        "runAsNonRoot": True,
        "seccompProfile": {"type": "RuntimeDefault"},
    }
    container = {
        "name": "holder",
        "image": nodeconfig.PAUSE_IMAGE,
        "imagePullPolicy": "Never",
        "resources": {"limits": {RESOURCE: "1"}},
        "securityContext": security,
    }
    spec = {"containers": [container], "terminationGracePeriodSeconds": 0}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": spec}


def test_a_plugged_device_is_given_to_one_pod_at_a_time(node_cluster: Cluster, namespace: str) -> None:
    def found(name: str) -> dict[str, Any]:
        status: dict[str, Any] = node_cluster.get("pod", name, "-n", namespace)["status"]
        return status

    def runs(name: str) -> bool | None:
        return True if found(name)["phase"] == "Running" else None

    def refused(name: str) -> str | None:
        told = [each.get("message", "") for each in found(name).get("conditions", ())]
        return next((message for message in told if RESOURCE in message), None)

    plugin = devices.offer(node_cluster, RESOURCE, ["--device", "one=/dev/null"], print)
    try:
        assert devices.allocatable(node_cluster, RESOURCE) == 1
        for name in ("first", "second"):
            document = pod(name)
            document["metadata"]["namespace"] = namespace
            node_cluster.apply(document)
            if name == "first":
                eventually("the first pod runs", lambda: runs("first"))
        assert "Insufficient" in eventually("the second pod finds none", lambda: refused("second"))
        node_cluster.kubectl("delete", "pod", "first", "-n", namespace)
        eventually("the second pod runs once the first is gone", lambda: runs("second"))
    finally:
        plugin.stop()
