"""A child that is being deleted and that a finalizer keeps: nothing replaces its pods."""

from __future__ import annotations

import copy
from datetime import timedelta
from typing import Any

import pytest

from tacho_contract.units import format_time
from tacho_operator.api.defaults import GRACE_SECONDS
from tacho_operator.core.status.leaving_children import FINALIZER_SECONDS
from tests.unit.core.measured_world import measured_world
from tools.harness.resources import changed
from tools.harness.world import MOCK_SPEC, World

FOREIGN = "example.com/backup"


def leaving(kind: str, *finalizers: str, spec: dict[str, Any] | None = None) -> World:
    """A resource that serves, one child of which was deleted just now."""
    world = measured_world(spec)
    if kind == "ReplicaSet":
        (owner,) = world.names("Deployment")
        labels = dict(world.objects["Deployment", owner]["metadata"]["labels"])
        world.objects[kind, owner] = {"metadata": {"name": owner, "uid": "rs", "labels": labels}}
    delete(world, kind, *finalizers)
    return world


def delete(world: World, kind: str, *finalizers: str) -> str:
    """Its only child of that kind, of which finalizers keep the object; returns its name."""
    (name,) = world.names(kind)
    stamp = format_time(world.now)
    world.objects[kind, name]["metadata"] |= {"deletionTimestamp": stamp, "finalizers": list(finalizers)}
    return name


def with_a_former(kind: str, *finalizers: str) -> World:
    """A resource that serves, and a child of a former revision that was deleted just now."""
    world = leaving(kind, *finalizers)
    (name,) = world.names(kind)
    former = copy.deepcopy(world.objects[kind, name])
    del world.objects[kind, name]
    world.settle(world.serve_all)
    former["metadata"]["labels"]["tacho.dev/revision"] = former["metadata"]["name"] = "smol-former"
    former["metadata"]["deletionTimestamp"] = format_time(world.now)
    world.objects[kind, "smol-former"] = former
    return world


def former_pod(world: World) -> dict[str, Any]:
    """Adds a pod of that revision."""
    left = copy.deepcopy(world.pods("server")[0])
    left["metadata"]["labels"]["tacho.dev/revision"] = "smol-former"
    left["metadata"] |= {"name": "smol-former-x", "uid": "smol-former-x"}
    world.objects["Pod", "smol-former-x"] = left
    return left


@pytest.mark.parametrize("kind", ["Deployment", "ReplicaSet", "Service"])
def test_a_finalizer_that_keeps_a_child_is_named(kind: str) -> None:
    world = leaving(kind, FOREIGN)
    decision = world.reconcile(FINALIZER_SECONDS - 1)
    assert world.brief("Stalled")[0] == "False", "its controller may be at work"
    assert world.brief("Reconciling") == ("True", "Deleting")
    kept = world.condition("Reconciling")["message"]
    assert kept.startswith(f"A finalizer keeps {kind} ")
    assert FOREIGN in kept
    assert "which is being deleted. If it stays, Stalled says what to do." in kept
    assert decision.requeue_after_seconds is not None
    assert decision.requeue_after_seconds < 2
    world.reconcile(decision.requeue_after_seconds)
    assert world.brief("Stalled") == ("True", "DeletionBlocked")
    message = world.condition("Stalled")["message"]
    assert message.startswith(f"A finalizer keeps {kind} ")
    assert FOREIGN in message
    assert f"remove the finalizer from the {kind}." in message
    assert world.brief("Reconciling") == ("False", "Failed")
    assert world.brief("Ready") == ("True", "Serving"), "pods serve on"
    assert ("Warning", "DeletionBlocked") in world.events
    (name,) = world.names(kind)
    del world.objects[kind, name]
    world.settle(world.serve_all)
    assert world.brief("Stalled")[0] == "False"
    assert world.brief("Reconciling") == ("False", "Settled")


@pytest.mark.parametrize("kind", ["Deployment", "ReplicaSet"])
def test_pods_that_kubernetes_deletes_first_have_their_own_time(kind: str) -> None:
    world = leaving(kind, "foregroundDeletion")
    template = world.raw["spec"].setdefault("podTemplate", {}).setdefault("spec", {})
    template["terminationGracePeriodSeconds"] = 3600  # of the next revision's pods
    (pod,) = world.pods("server")
    world.reconcile(GRACE_SECONDS + FINALIZER_SECONDS - 1)
    assert world.brief("Stalled")[0] == "False"
    world.reconcile(2)
    assert world.brief("Stalled") == ("True", "DeletionBlocked")
    message = world.condition("Stalled")["message"]
    assert message.startswith(f"Pod {pod['metadata']['name']} does not end; its {kind} is being deleted")
    world.remove_pod(pod)
    world.reconcile(1)
    assert world.condition("Stalled")["message"].startswith(f"A finalizer keeps {kind} ")


@pytest.mark.parametrize("grace_seconds", [1, 10 * GRACE_SECONDS])
def test_pods_have_the_time_that_their_own_revision_gives_them(grace_seconds: int) -> None:
    pods = {"spec": {"terminationGracePeriodSeconds": grace_seconds}}
    world = leaving("Deployment", "foregroundDeletion", spec=changed(MOCK_SPEC, podTemplate=pods))
    world.reconcile(grace_seconds + FINALIZER_SECONDS - 1)
    assert world.brief("Stalled")[0] == "False"
    world.reconcile(2)
    assert world.brief("Stalled") == ("True", "DeletionBlocked")


@pytest.mark.parametrize("labels", [None, {}, {"tacho.dev/revision": ""}])
def test_a_child_that_names_no_revision_stalls_nothing(labels: dict[str, str] | None) -> None:
    world = leaving("Deployment", FOREIGN)
    (name,) = world.names("Deployment")
    bare = copy.deepcopy(world.objects["Deployment", name])
    del world.objects["Deployment", name]
    world.settle(world.serve_all)
    bare["metadata"] |= {"name": "bare", "labels": labels}
    world.objects["Deployment", "bare"] = bare
    world.reconcile(FINALIZER_SECONDS + 1)
    assert world.brief("Stalled")[0] == "False"


def test_a_pod_that_is_deleted_late_has_its_time_from_then_on() -> None:
    world = leaving("Deployment", "foregroundDeletion")
    (pod,) = world.pods("server")
    ends = world.now + timedelta(seconds=2 * GRACE_SECONDS)
    pod["metadata"]["deletionTimestamp"] = ends.strftime("%Y-%m-%dT%H:%M:%SZ")
    world.reconcile(2 * GRACE_SECONDS + FINALIZER_SECONDS - 1)
    assert world.brief("Stalled")[0] == "False"
    world.reconcile(2)
    assert world.brief("Stalled") == ("True", "DeletionBlocked")


@pytest.mark.parametrize("kind", ["Deployment", "ReplicaSet"])
def test_what_a_former_revision_leaves_behind_stalls_nothing(kind: str) -> None:
    world = with_a_former(kind, FOREIGN)
    decision = world.reconcile(FINALIZER_SECONDS - 1)
    assert world.brief("Reconciling") == ("False", "Settled"), "its controller may be at work"
    assert decision.requeue_after_seconds is not None, "no event says that its time is over"
    assert decision.requeue_after_seconds < 2
    world.reconcile(decision.requeue_after_seconds)
    assert world.brief("Stalled")[0] == "False"
    assert world.brief("Ready") == ("True", "Serving")
    assert world.brief("Reconciling") == ("False", "Deleting"), "it is named, and nothing waits for it"
    message = world.condition("Reconciling")["message"]
    assert message.startswith(f"A finalizer keeps {kind} smol-former, which is being deleted.")
    assert FOREIGN in message
    assert "It is not needed. Let the finalizer's controller finish, or remove the finalizer." in message
    del world.objects[kind, "smol-former"]
    world.reconcile(1)
    assert world.brief("Reconciling") == ("False", "Settled")


@pytest.mark.parametrize("kind", ["Deployment", "ReplicaSet"])
def test_a_former_revision_whose_pods_drain_is_not_told(kind: str) -> None:
    """Whoever removes the finalizer of a foreground deletion leaves its pods without an owner."""
    world = with_a_former(kind, "foregroundDeletion")
    pod = former_pod(world)
    pod["metadata"]["deletionTimestamp"] = format_time(world.now + timedelta(seconds=2 * GRACE_SECONDS))
    world.reconcile(2 * GRACE_SECONDS + FINALIZER_SECONDS - 1)
    assert world.brief("Reconciling") == ("False", "Settled"), "it drains"
    world.reconcile(2)
    assert world.brief("Reconciling") == ("False", "Deleting")
    message = world.condition("Reconciling")["message"]
    assert message.startswith("Pod smol-former-x does not end;")
    assert "Check its node and its finalizers." in message
    assert "remove the finalizer" not in message
    assert world.brief("Stalled")[0] == "False"


def test_a_child_that_is_needed_is_named_first() -> None:
    world = with_a_former("Deployment", FOREIGN)
    world.reconcile(FINALIZER_SECONDS + 1)
    name = delete(world, "Service", FOREIGN)
    world.reconcile(1)
    assert world.brief("Reconciling") == ("True", "Deleting")
    assert world.condition("Reconciling")["message"].startswith(f"A finalizer keeps Service {name}")


def test_one_that_is_not_needed_hides_no_work() -> None:
    world = with_a_former("Deployment", FOREIGN)
    world.reconcile(FINALIZER_SECONDS + 1)
    world.change(replicas=2)
    world.reconcile(1)
    assert world.brief("Reconciling") == ("True", "Scaling")


def test_what_keeps_a_revision_from_its_start_is_named_in_place_of_the_start() -> None:
    world = World()
    world.first_pods()
    assert world.brief("Reconciling") == ("True", "Starting")
    delete(world, "Deployment", FOREIGN)
    world.reconcile(1)
    assert world.brief("Reconciling") == ("True", "Deleting")


def test_pods_of_a_former_revision_that_run_on_are_told() -> None:
    """They held their GPUs for ever, and only their number was told."""
    world = with_a_former("Deployment", FOREIGN)
    left = former_pod(world)
    world.reconcile(1)
    assert world.brief("Reconciling") == ("True", "Deleting")
    kept = world.condition("Reconciling")["message"]
    assert kept.startswith("A finalizer keeps Deployment smol-former")
    assert "deleted. Its pods hold GPUs until it is gone. If it stays, Stalled says what to do." in kept
    assert "successor" not in kept
    world.reconcile(FINALIZER_SECONDS)
    assert world.brief("Stalled") == ("True", "DeletionBlocked")
    assert world.condition("Stalled")["message"].startswith("A finalizer keeps Deployment smol-former")
    assert world.brief("Ready") == ("True", "Serving")
    left["metadata"]["deletionTimestamp"] = format_time(world.now + timedelta(hours=1))
    world.reconcile(1)
    assert world.brief("Stalled")[0] == "False", "it drains"
    del left["metadata"]["deletionTimestamp"]
    world.reconcile(1)
    assert world.brief("Stalled")[0] == "True"
    world.remove_pod(left)
    world.reconcile(1)
    assert world.brief("Stalled")[0] == "False"


def test_without_a_pod_ready_tells_it_too() -> None:
    world = leaving("Deployment", FOREIGN)
    for pod in world.pods("server"):
        world.remove_pod(pod)
    world.reconcile(FINALIZER_SECONDS + 1)
    assert world.brief("Ready") == ("False", "DeletionBlocked")
