"""A namespace that is being deleted while a finalizer keeps a pod of it."""

from __future__ import annotations

from tacho_operator.shell.api_errors import Forbidden
from tests.wiring.reconciling import KEY, Server, conditions, reconciler
from tools.harness.resources import NOW
from tools.harness.world import MOCK_SPEC, World

TERMINATING = Forbidden(
    403,
    'pods "smol-trial" is forbidden: unable to create new content in namespace ml because it is being '
    "terminated",
)


def held_world() -> World:
    """All its pods are ending."""
    world = World(MOCK_SPEC, resourceVersion="1")
    world.come_up()
    for pod in world.pods("server"):
        pod["metadata"] |= {"deletionTimestamp": f"{NOW:%Y-%m-%dT%H:%M:%SZ}", "finalizers": ["a/b"]}
    return world


async def test_it_is_said_although_no_child_is_to_be_created() -> None:
    """ReplicaSets say nothing of it: "Pods are being created" stayed."""
    server = Server(held_world())
    server.refuses, server.refuses_trial_of, server.error = False, "Pod", TERMINATING
    reconcile = reconciler(server)
    for _ in range(3):
        await reconcile(KEY)
    status, reason, message = conditions(server)["Ready"]
    assert (status, reason) == ("False", "NamespaceTerminating")
    assert message.startswith("The namespace is being deleted")
    assert server.tried == ["Pod"], "once, until its pause is over"


async def test_pods_that_are_replaced_are_tried_once() -> None:
    world = held_world()
    server = Server(world)
    server.refuses = False
    reconcile = reconciler(server)
    for _ in range(3):
        await reconcile(KEY)
    assert conditions(server)["Ready"][1] == "Starting"
    assert server.tried == ["Pod"]
    for pod in world.pods("server"):
        del pod["metadata"]["deletionTimestamp"]
    await reconcile(KEY)
    assert server.tried == ["Pod"]
