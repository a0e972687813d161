"""Extended resources, as a GPU is one: given to one pod at a time by a plugin; or counted with no device."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.cluster_fixtures import state_of
from tests.e2e.conftest import Installed
from tests.e2e.mocks import fill_model, mock
from tests.e2e.refusals import refused
from tests.e2e.resource import Llmd, eventually
from tools.cluster import devices, nodeconfig
from tools.cluster.handle import Cluster

pytestmark = pytest.mark.timeout(900)

RESOURCE = "tests.tacho.dev/plugged"
GPU_RESOURCE = "tests.tacho.dev/gpu"
"""What a device plugin would advertise; the node's owner may do so too."""
ADVERTISED = f"/status/capacity/{GPU_RESOURCE.replace('/', '~1')}"


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

    state_of(node_cluster)
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


@pytest.fixture
def counted_gpu(tacho: Installed) -> Iterator[None]:
    """The node says it has one."""
    (node,) = tacho.cluster.get("nodes")["items"]

    def patch(operation: dict[str, str]) -> None:
        arguments = ("--subresource=status", "--type=json", "-p", json.dumps([operation]))
        tacho.cluster.kubectl("patch", "node", node["metadata"]["name"], *arguments)

    patch({"op": "add", "path": ADVERTISED, "value": "1"})
    yield
    patch({"op": "remove", "path": ADVERTISED})


@pytest.mark.usefixtures("counted_gpu")
def test_a_gpu_that_the_node_counts_and_the_container_does_not_see(
    llmd: Llmd, tacho: Installed, namespace: str
) -> None:
    fill_model(tacho, namespace)
    llmd.apply(mock(tacho, gpu={"count": 1, "resourceName": GPU_RESOURCE}, probe={"policy": "Disabled"}))
    refused(llmd, "UnsupportedGPU", "this container has none", "device plugin")
    llmd.await_condition("Stalled", "True", "UnsupportedGPU")
    assert llmd.endpoints() == set()
