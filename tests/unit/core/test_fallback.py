"""A candidate that falls after it was let in, as the user sees it, and which pods count as available."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from tacho_contract.failure import termination_message
from tacho_contract.units import format_time
from tacho_operator.core import names
from tacho_operator.core.pods.view import PodView
from tacho_operator.core.rollout.decision import PodCount
from tacho_operator.core.rollout.reading import pod_counts
from tacho_operator.core.rollout.record import FIRST_PAUSE_SECONDS, MIN_READY_SECONDS, SETTLE_SECONDS
from tacho_runtime.probe.load.first_answer import NeverAnswered
from tacho_runtime.supervisor.measuring import unanswered_failure
from tools.harness.pod_states import container_state
from tools.harness.resources import NOW, changed
from tools.harness.world import MOCK_SPEC, World


def let_in(replicas: int = 1) -> tuple[World, str, str]:
    """A candidate serves beside the active revision: the world, the old one's name, the new one's."""
    world = World(changed(MOCK_SPEC, replicas=replicas))
    world.come_up()
    world.settle(world.serve_all)
    (old,) = world.names("Deployment")
    world.roll_out()
    (new,) = world.names("Deployment") - {old}
    world.serve_all()
    world.reconcile(MIN_READY_SECONDS)
    world.deployment_controller()
    assert world.selected() == ""
    return world, old, new


def test_one_that_falls_leaves_the_old_one_alone_and_is_tried_again() -> None:
    world, old, new = let_in()
    (pod,) = world.pods("server", new)
    world.crash(pod)
    decision = world.reconcile(1)
    assert world.selected() == old
    assert world.sizes() == {old: 1, new: 1}
    assert world.brief("Ready") == ("True", "Serving")
    assert world.brief("Reconciling") == ("True", "RollingOut")
    assert world.brief("Stalled") == ("False", "Progressing")
    assert world.brief("RolloutAccepted") == ("False", "RolledBack")
    message = world.condition("RolloutAccepted")["message"]
    assert "EngineCrashed" in message
    assert f"Retry after {format_time(world.now + timedelta(seconds=FIRST_PAUSE_SECONDS))}" in message
    assert ("Warning", "RolledBack") in world.events
    assert world.status["plan"]["revision"] == old
    assert decision.requeue_after_seconds is not None

    world.serves(pod)
    world.reconcile(SETTLE_SECONDS)
    assert world.selected() == old, "it pauses, ready or not"
    assert world.condition("RolloutAccepted")["message"] == message, "what it died of is still told"
    world.reconcile(FIRST_PAUSE_SECONDS - SETTLE_SECONDS)
    assert world.selected() == "", "the next try"
    assert world.brief("RolloutAccepted") == ("Unknown", "Judging")
    world.reconcile(SETTLE_SECONDS)
    world.deployment_controller()
    world.settle(world.serve_all)
    assert (world.names("Deployment"), world.selected()) == ({new}, new)
    assert world.brief("RolloutAccepted") == ("True", "Accepted")
    assert names.ROLLBACK_ANNOTATION not in world.service()["metadata"]["annotations"]


def test_one_that_still_serves_while_a_third_is_asked_for_is_not_said_to_be_replaced() -> None:
    world, _, between = let_in(replicas=3)
    for _ in range(3):  # the old one shrinks as the new one has its pods
        world.serve_all()
        world.reconcile(MIN_READY_SECONDS - 1)
        world.deployment_controller()
    world.change(context={"maxModelLen": 512, "concurrency": 2})
    world.reconcile(1)
    named = {item["name"]: item for item in world.status["revisions"]}
    assert (named[between]["phase"], named[between]["message"]) == (
        "Retired",
        "It serves until its successor has all replicas.",
    )


def test_one_that_falls_again_and_again_needs_a_person_and_the_old_one_serves_on() -> None:
    world, old, new = let_in()
    world.crash(world.pods("server", new)[0], restarts=5)
    world.reconcile(1)
    assert world.selected() == old
    assert world.brief("Ready") == ("True", "Serving")
    assert world.brief("Stalled") == ("True", "EngineCrashed")
    assert world.brief("RolloutAccepted") == ("False", "EngineCrashed")
    assert "Retry after" in world.condition("RolloutAccepted")["message"]


def test_time_alone_never_takes_the_old_one_away() -> None:
    """The outage this is about: ready once, let in, dead; and the clock goes on."""
    world, old, new = let_in()
    world.reconcile(SETTLE_SECONDS - 1)
    world.crash(world.pods("server", new)[0])
    for _ in range(5):
        world.reconcile(3600)
        assert old in world.names("Deployment")
        assert world.brief("Ready") == ("True", "Serving")
        assert world.selected() == old


def test_a_pod_lost_in_the_middle_gives_the_old_one_its_place_back() -> None:
    world, old, new = let_in(replicas=3)
    world.reconcile(1)
    world.reconcile(1)
    assert world.sizes() == {old: 2, new: 2}
    for _ in range(3):
        world.serve_all()
        world.reconcile(MIN_READY_SECONDS)
        world.deployment_controller()
    assert world.sizes() == {old: 1, new: 3}, "the last one starts"
    world.crash(world.pods("server", new)[0])
    world.reconcile(1)
    world.reconcile(1)
    assert world.sizes() == {old: 2, new: 2}
    assert world.selected() == ""
    for pod in world.pods("server", new):
        world.crash(pod)
    world.reconcile(1)
    world.reconcile(1)
    assert world.sizes() == {old: 3, new: 1}
    assert world.selected() == old


def ready_pod(seconds_ago: float, **status: Any) -> PodView:
    since = format_time(NOW - timedelta(seconds=seconds_ago))
    conditions = [{"type": "Ready", "status": "True", "lastTransitionTime": since} | status]
    metadata = {"name": "p", "labels": names.server_selector("smol", "r")}
    running = {"phase": "Running", "podIP": "10.0.0.1", "conditions": conditions}
    return PodView({"metadata": metadata, "status": running})


@pytest.mark.parametrize(
    ("seconds_ago", "available", "look_again"),
    [(0, 0, 10), (9, 0, 1), (10, 1, None), (3600, 1, None), (-10, 0, 20), (-11, 1, None), (-3600, 1, None)],
)
def test_available_is_who_has_been_ready_for_a_while_by_the_nodes_clock(
    seconds_ago: float, available: int, look_again: float | None
) -> None:
    found = pod_counts([ready_pod(seconds_ago)], NOW)
    assert found == {"r": PodCount(ready=1, available=available, requeue_after_seconds=look_again)}


def test_several_pods_are_counted_together_and_the_next_one_is_waited_for() -> None:
    pods = [ready_pod(3), ready_pod(7), ready_pod(30), ready_pod(30, status="False")]
    assert pod_counts(pods, NOW) == {"r": PodCount(ready=3, available=1, requeue_after_seconds=3)}
    assert pod_counts([ready_pod(3, lastTransitionTime=None)], NOW)["r"].available == 0


def test_one_that_answers_no_request_is_never_let_in_and_says_why() -> None:
    """It is healthy, so only its first requests tell: its pod never gets ready."""
    world = World()
    world.come_up()
    world.settle(world.serve_all)
    (old,) = world.names("Deployment")
    world.roll_out()
    (new,) = world.names("Deployment") - {old}
    (pod,) = world.pods("server", new)
    error = NeverAnswered("POST /v1/completions: HTTP 500: CUDA error: device-side assert", seconds=45)
    ended = {"exitCode": 1, "message": termination_message(unanswered_failure(error, ("a last line",)))}
    for restarts in range(1, 5):
        world.runs(pod, "Probing", message="detecting the engine's API")
        world.reconcile(60)
        world.deployment_controller()
        again = {"waiting": {"reason": "CrashLoopBackOff"}}
        container_state(pod, restartCount=restarts, state=again, lastState={"terminated": ended})
        world.reconcile(60)
        world.deployment_controller()
        assert (world.selected(), world.sizes()) == (old, {old: 1, new: 1})
        assert world.brief("Ready") == ("True", "Serving")
    assert world.brief("RolloutAccepted") == ("False", "EngineCrashed")
    assert world.brief("Stalled") == ("True", "EngineCrashed")
    message = world.condition("RolloutAccepted")["message"]
    assert f"Revision {new}: the engine answered no request in 45 s" in message
    assert "if it is only slow, raise probe.timeoutSeconds." in message
    assert message.endswith("a last line | POST /v1/completions: HTTP 500: CUDA error: device-side assert")
