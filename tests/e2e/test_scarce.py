"""A GPU that is counted and not there, and an inspection without time: by a real scheduler and kubelet."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from tests.e2e import hub as hubs
from tests.e2e.conftest import Installed
from tests.e2e.hub import REPOSITORY
from tests.e2e.mocks import fill_model, mock
from tests.e2e.refusals import refused
from tests.e2e.resource import Llmd, eventually, example

pytestmark = pytest.mark.timeout(900)

RESOURCE = "tests.tacho.dev/gpu"
"""What a device plugin would advertise; the node's owner may do so too."""
ADVERTISED = f"/status/capacity/{RESOURCE.replace('/', '~1')}"


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
    llmd.apply(mock(tacho, gpu={"count": 1, "resourceName": RESOURCE}, probe={"policy": "Disabled"}))
    refused(llmd, "UnsupportedGPU", "this container has none", "device plugin")
    llmd.await_condition("Stalled", "True", "UnsupportedGPU")
    assert llmd.endpoints() == set()


def test_an_inspection_that_takes_too_long_is_ended_and_tried_again(
    llmd: Llmd, tacho: Installed, namespace: str
) -> None:
    """The kubelet ends it by the pod's own deadline, which may be made shorter while it runs."""
    hub = hubs.start(tacho, namespace)
    hub.faults(stallSeconds=8)
    llmd.apply(example(model={"uri": f"hf://{REPOSITORY}", "hub": {"endpoint": hub.endpoint}}))
    pod = eventually("the inspect pod runs", lambda: running(llmd))
    change = json.dumps({"spec": {"activeDeadlineSeconds": 3}})
    tacho.cluster.kubectl("patch", "pod", pod, "-n", namespace, "--type=merge", "-p", change)
    refused(llmd, "InspectionTimeout", pod, "exceeded its deadline", "retried")
    assert llmd.condition("Stalled")["status"] == "False", "no person is needed"
    assert llmd.condition("Reconciling")["status"] == "True"
    hub.faults(stallSeconds=0)
    llmd.await_condition("Planned", "True")


def running(llmd: Llmd) -> str | None:
    """The inspect pod, once its container has started."""
    for pod in llmd.pods("inspect"):
        for status in pod["status"].get("containerStatuses") or ():
            if "running" in status["state"]:
                return str(pod["metadata"]["name"])
    return None
