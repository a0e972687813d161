"""How often a resource is looked at: soon while it moves, seldom when it cannot or takes hours."""

from __future__ import annotations

from tacho_contract.failure import Failure, FailureClass
from tacho_contract.units import format_time
from tacho_operator.core.names import REVISION_LABEL
from tacho_operator.core.pods.deadlines import READY_SECONDS, RECENT_SECONDS
from tacho_operator.core.revisions.inspection import SCHEDULE_LIMIT_SECONDS
from tacho_operator.core.rollout.reading import SCHEDULE_TIMEOUT_SECONDS
from tacho_operator.core.status.requeue import (
    SLOW_SECONDS,
    UNANSWERED_SECONDS,
)
from tools.harness.pod_states import insufficient
from tools.harness.resources import CLAIM_SPEC, facts
from tools.harness.world import World


def starting() -> World:
    world = World()
    world.reconcile()
    world.inspected(facts())
    world.reconcile()
    world.deployment_controller()
    return world


def test_what_has_just_begun_is_left_to_the_watch_until_its_deadline() -> None:
    """A pod that waits for a node has nothing to tell; after its time it is called unschedulable."""
    world = starting()
    waits = world.reconcile().requeue_after_seconds
    assert waits is not None
    assert SCHEDULE_TIMEOUT_SECONDS - 1 < waits < SCHEDULE_TIMEOUT_SECONDS + 1
    (pod,) = world.pods("server")
    insufficient(pod)
    world.reconcile(waits)
    assert world.brief("Stalled") == ("True", "Unschedulable")


def test_an_inspection_is_left_to_the_watch_until_its_deadline() -> None:
    world = World()
    world.reconcile()
    waits = world.reconcile(1).requeue_after_seconds
    assert waits is not None
    assert waits > SCHEDULE_LIMIT_SECONDS - 2


def test_a_pod_that_waits_for_room_is_left_to_the_watch() -> None:
    world = starting()
    (pod,) = world.pods("server")
    insufficient(pod)
    waits = world.reconcile().requeue_after_seconds
    assert waits is not None
    assert waits > SLOW_SECONDS


def test_that_the_cluster_took_a_pod_away_is_told_for_a_while_and_no_longer() -> None:
    world = World()
    world.come_up()
    (pod,) = world.pods("server")
    taken = {"type": "DisruptionTarget", "status": "True", "reason": "EvictionByEvictionAPI"}
    pod["status"]["conditions"].append({**taken, "lastTransitionTime": format_time(world.now)})
    waits = world.reconcile().requeue_after_seconds
    assert waits is not None
    assert RECENT_SECONDS <= waits < RECENT_SECONDS + 1
    assert world.reconcile(waits).requeue_after_seconds is None


def test_a_pod_that_does_not_answer_is_asked_seldom() -> None:
    world = World()
    world.come_up()
    world.reports.clear()
    world.raw["status"].pop("measurements", None)
    assert world.reconcile(READY_SECONDS + 1).requeue_after_seconds == UNANSWERED_SECONDS


def test_a_file_missing_on_a_claim_is_looked_for_each_minute() -> None:
    world = World(CLAIM_SPEC)
    world.claims = {"models": {"metadata": {"name": "models"}, "spec": {"accessModes": ["ReadWriteMany"]}}}
    world.reconcile()
    world.inspected(
        Failure(failure_class=FailureClass.MODEL_NOT_FOUND, message="Not there.", next_step="Copy it.")
    )
    waits = world.reconcile().requeue_after_seconds
    assert waits is not None
    assert waits <= 60


def test_an_unreadable_record_of_the_wanted_revision_is_never_planned_over() -> None:
    """An operator of old meets the record of a newer one: its pods must not change under it."""
    world = World()
    world.come_up()
    (record,) = [item for (kind, _), item in world.objects.items() if kind == "ControllerRevision"]
    record["data"]["schema"] = 99
    before = world.names("Deployment")
    decision = world.reconcile()
    assert world.names("Deployment") == before
    assert not [item for item in decision.apply if item["kind"] in ("ControllerRevision", "Deployment")]
    assert world.brief("Stalled") == ("True", "InvalidConfig")
    assert record["metadata"]["labels"][REVISION_LABEL] in world.condition("Stalled")["message"]
