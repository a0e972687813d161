"""How often a resource is looked at: soon while it moves, seldom when it cannot or takes hours."""

from __future__ import annotations

from tacho_contract.failure import Failure, FailureClass
from tacho_operator.core.names import REVISION_LABEL
from tacho_operator.core.status.look_again import LONG_SECONDS, MOVING_SECONDS, SLOW_SECONDS
from tests.unit.core.builders import CLAIM_SPEC, facts
from tests.unit.core.world import World, insufficient


def starting() -> World:
    world = World()
    world.turn()
    world.inspected(facts())
    world.turn()
    world.deployment_controller()
    return world


def test_what_has_just_begun_is_looked_at_soon() -> None:
    assert starting().turn().requeue_after_seconds == MOVING_SECONDS


def test_what_has_moved_for_minutes_is_looked_at_less_often() -> None:
    world = starting()
    world.turn()
    (pod,) = world.pods("server")
    world.runs(pod, "WaitingForModel")
    assert world.turn().requeue_after_seconds == MOVING_SECONDS
    assert world.turn(LONG_SECONDS + 1).requeue_after_seconds == SLOW_SECONDS


def test_a_pod_that_waits_for_room_is_left_to_the_watch() -> None:
    world = starting()
    (pod,) = world.pods("server")
    insufficient(pod)
    assert world.turn().requeue_after_seconds == SLOW_SECONDS


def test_a_file_missing_on_a_claim_is_looked_for_each_minute() -> None:
    world = World(CLAIM_SPEC)
    world.claims = {"models": {"metadata": {"name": "models"}, "spec": {"accessModes": ["ReadWriteMany"]}}}
    world.turn()
    world.inspected(
        Failure(failure_class=FailureClass.MODEL_NOT_FOUND, message="Not there.", next_step="Copy it.")
    )
    waits = world.turn().requeue_after_seconds
    assert waits is not None
    assert waits <= 60


def test_an_unreadable_record_of_the_wanted_revision_is_never_planned_over() -> None:
    """An operator of old meets the record of a newer one: its pods must not change under it."""
    world = World()
    world.come_up()
    (record,) = [item for (kind, _), item in world.objects.items() if kind == "ControllerRevision"]
    record["data"]["schema"] = 99
    before = world.names("Deployment")
    decision = world.turn()
    assert world.names("Deployment") == before
    assert not [item for item in decision.apply if item["kind"] in ("ControllerRevision", "Deployment")]
    assert world.brief("Stalled") == ("True", "InvalidConfig")
    assert record["metadata"]["labels"][REVISION_LABEL] in world.condition("Stalled")["message"]
