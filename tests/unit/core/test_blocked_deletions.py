"""A child that is being deleted and that a finalizer keeps: nothing replaces its pods."""

from __future__ import annotations

import pytest

from tacho_operator.api.defaults import GRACE_SECONDS
from tacho_operator.core.status.snapshot import FINALIZER_SECONDS
from tests.unit.core.measured_world import measured_world
from tools.harness.world import World

FOREIGN = "example.com/backup"


def leaving(kind: str, *finalizers: str) -> World:
    """A resource that serves, one child of which was deleted just now."""
    world = measured_world()
    if kind == "ReplicaSet":
        (owner,) = world.names("Deployment")
        world.objects[kind, owner] = {"metadata": {"name": owner, "uid": "rs"}}
    (name,) = world.names(kind)
    stamp = world.now.strftime("%Y-%m-%dT%H:%M:%SZ")
    world.objects[kind, name]["metadata"] |= {"deletionTimestamp": stamp, "finalizers": list(finalizers)}
    return world


@pytest.mark.parametrize("kind", ["Deployment", "ReplicaSet", "Service"])
def test_a_finalizer_that_keeps_a_child_is_named(kind: str) -> None:
    world = leaving(kind, FOREIGN)
    decision = world.reconcile(FINALIZER_SECONDS - 1)
    assert world.brief("Stalled")[0] == "False", "its controller may be at work"
    assert decision.requeue_after_seconds is not None
    assert decision.requeue_after_seconds < 2
    world.reconcile(decision.requeue_after_seconds)
    assert world.brief("Stalled") == ("True", "DeletionBlocked")
    message = world.condition("Stalled")["message"]
    assert message.startswith(f"A finalizer keeps {kind} ")
    assert FOREIGN in message
    assert world.brief("Reconciling") == ("False", "Failed")
    assert world.brief("Ready") == ("True", "Serving"), "pods serve on"
    assert ("Warning", "DeletionBlocked") in world.events
    (name,) = world.names(kind)
    del world.objects[kind, name]
    world.settle(world.serve_all)
    assert world.brief("Stalled")[0] == "False"


def test_pods_that_kubernetes_deletes_first_have_their_time() -> None:
    world = leaving("Deployment", "foregroundDeletion")
    world.reconcile(GRACE_SECONDS + FINALIZER_SECONDS - 1)
    assert world.brief("Stalled")[0] == "False"
    world.reconcile(2)
    assert world.brief("Stalled") == ("True", "DeletionBlocked")


def test_without_a_pod_ready_tells_it_too() -> None:
    world = leaving("Deployment", FOREIGN)
    for pod in world.pods("server"):
        world.remove_pod(pod)
    world.reconcile(FINALIZER_SECONDS + 1)
    assert world.brief("Ready") == ("False", "DeletionBlocked")
