"""The gate while the active revision has no ready pod, or others fill in for it.

A moment of it admits nothing, and a fix gets through.
"""

from __future__ import annotations

import json
from typing import Any

from tacho_operator.core.gate.gating import END_SECONDS, OUTAGE_SECONDS
from tacho_operator.core.rollout.record import MIN_READY_SECONDS
from tests.unit.core.gated import OTHER, Gated, figures


def active_pod(world: Gated) -> dict[str, Any]:
    (pod,) = world.pods("server", world.active)
    return pod


def fails(world: Gated) -> None:
    """The only pod of the active revision is not ready any more."""
    world.runs(active_pod(world), "Serving")


def recovers(world: Gated) -> None:
    world.serves(active_pod(world), **figures())


def test_while_the_active_revision_is_down_a_fix_gets_through() -> None:
    world = Gated()
    name = world.candidate()
    world.runs(active_pod(world), "Starting")
    world.measures(name, 0.5)
    assert world.selected() in ("", name), "it answers at once, and is admitted when the outage lasts"
    assert world.verdict() == ""
    world.reconcile(OUTAGE_SECONDS)
    assert world.verdict() == "Unjudged"
    assert world.selected() in ("", name)
    world.goes_on()
    assert world.brief("RolloutAccepted") == ("True", "NotJudged")
    assert f"revision {world.active} had no ready pod" in world.message()
    assert ("Warning", "NotJudged") in world.events


def test_a_moment_without_a_ready_pod_admits_no_slower_candidate() -> None:
    world = Gated()
    name = world.candidate()
    fails(world)
    world.measures(name, 0.7)
    assert world.verdict() == ""
    assert "judged: it is admitted when" in world.message()
    wait = world.decision().requeue_after_seconds
    assert wait is not None
    assert wait <= OUTAGE_SECONDS
    recovers(world)
    world.reconcile(1)
    assert not world.is_asking(), "both answer until the active pod has been ready for a while"
    world.reconcile(MIN_READY_SECONDS)
    assert world.selected() == world.active
    world.reconcile(1)
    world.measures(name, 0.7, again=True)
    assert world.verdict() == "Regression"


def test_while_it_is_judged_nothing_is_asked_during_an_outage() -> None:
    world = Gated()
    name = world.candidate()
    world.measures(name, 0.7)
    request = world.live().again
    fails(world)
    world.reconcile(1)
    assert world.verdict() == ""
    assert not world.is_asking(), "its pod answers the requests"
    assert world.selected() == ""
    recovers(world)
    world.reconcile(1)
    world.reconcile(MIN_READY_SECONDS)
    assert world.selected() == world.active
    world.reconcile(1)
    assert world.live().again == request
    world.measures(name, 0.7, again=True)
    assert world.verdict() == "Regression"


def test_each_outage_has_its_own_time() -> None:
    world = Gated()
    name = world.candidate()
    world.measures(name, 0.7)
    for _ in range(3):
        fails(world)
        world.reconcile(1)
        world.reconcile(OUTAGE_SECONDS - 5)
        assert world.verdict() == ""
        recovers(world)
        world.reconcile(1)
    world.reconcile(MIN_READY_SECONDS)
    world.reconcile(1)
    assert world.asked(world.pods("server", name)[-1])


def test_an_outage_that_ends_while_the_candidate_measures_itself_is_over() -> None:
    world = Gated()
    name = world.candidate()
    world.measures(name, 0.7)
    fails(world)
    world.reconcile(1)
    recovers(world)
    (pod,) = world.pods("server", name)
    world.runs(pod, "Probing")
    world.reconcile(OUTAGE_SECONDS)
    world.serves(pod, **figures(0.7, request="another"))
    world.reconcile(1)
    fails(world)
    world.reconcile(10)
    assert world.verdict() == ""


def test_outages_without_end_do_not_hold_it_for_ever() -> None:
    world = Gated()
    name = world.candidate()
    fails(world)
    world.measures(name, 0.7)
    passed = 0.0
    while world.verdict() == "" and passed < 2 * END_SECONDS:
        recovers(world)
        world.runs(world.pods("server", name)[-1], "Probing")
        world.reconcile(1)
        fails(world)
        world.serves(world.pods("server", name)[-1], **figures(0.7))
        world.reconcile(1)
        world.reconcile(OUTAGE_SECONDS - 10)
        passed += OUTAGE_SECONDS - 8
    assert world.verdict() == "Unjudged"


def test_an_evicted_active_pod_is_an_outage_like_any_other() -> None:
    world = Gated()
    name = world.candidate()
    world.measures(name, 0.7)
    world.remove_pod(active_pod(world))
    world.reconcile(1)
    assert world.verdict() == ""
    world.deployment_controller()
    world.reconcile(OUTAGE_SECONDS - 10)
    assert world.verdict() == ""
    world.reconcile(10)
    assert world.verdict() == "Unjudged"
    assert json.loads(world.record("gate"))["outage"] == ""


def test_one_that_never_stays_ready_does_not_hold_it_for_ever() -> None:
    world = Gated()
    name = world.candidate()
    fails(world)
    world.measures(name, 0.7)
    passed = 0.0
    while world.verdict() == "" and passed < 2 * END_SECONDS:
        recovers(world)
        world.reconcile(1)
        fails(world)
        world.reconcile(OUTAGE_SECONDS - 10)
        passed += OUTAGE_SECONDS - 9
    assert world.verdict() == "Unjudged"
    assert passed > END_SECONDS / 2


def with_leftovers() -> tuple[Gated, str]:
    """Three replicas, a second revision that was admitted, and a third one that replaced it in spec."""
    world = Gated(replicas=3)
    world.goes_on()
    second = world.candidate()
    world.measures(second, 1.0)
    world.deployment_controller()
    world.serve_all()
    world.reconcile(MIN_READY_SECONDS)
    world.deployment_controller()
    world.change(context=OTHER)
    world.reconcile(1)
    world.deployment_controller()
    (third,) = set(world.sizes()) - {world.active, second}
    return world, third


def test_while_a_former_revision_fills_in_nothing_is_asked_of_a_pod_that_answers() -> None:
    world, third = with_leftovers()
    world.measures(third, 0.5)
    assert world.selected() == "", "the Service selects one revision, or all"
    assert not world.is_asking()
    assert "judged: once revision" in world.message()
    assert "serves alone" in world.message()
    world.serve_all()
    for _ in range(5):
        world.reconcile(MIN_READY_SECONDS)
        world.deployment_controller()
        world.serve_all()
    assert world.selected() == world.active
    assert world.asked(world.pods("server", third)[-1])
    world.measures(third, 0.5, again=True)
    assert world.verdict() == "Regression"


def test_a_former_revision_that_fills_in_for_ever_holds_it_an_hour() -> None:
    world, third = with_leftovers()
    world.measures(third, 0.5)
    world.reconcile(END_SECONDS - 2 * MIN_READY_SECONDS)
    assert world.verdict() == ""
    world.reconcile(2 * MIN_READY_SECONDS)
    assert world.verdict() == "Unjudged"
    assert f"revision {world.active} did not serve alone" in world.record("gate")
