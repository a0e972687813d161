"""The gate before a revision serves: one that is about to be ready is compared with, others block nothing."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from tacho_contract.units import format_time
from tacho_operator.core.gate.first import READY_SECONDS
from tacho_operator.core.reconcile import plan_reconcile
from tacho_operator.core.rollout.record import MIN_READY_SECONDS
from tests.unit.core.gated import OTHER, SMALLER, Gated, figures
from tools.harness.world import MOCK_SPEC, World, changed


class First(Gated):
    """A resource with a gate whose first pod starts."""

    def __init__(self, **fields: Any) -> None:
        World.__init__(self, changed(MOCK_SPEC, **{"rollout": {"gate": {}}, **fields}))
        self.first_pods()
        (self.active,) = self.sizes()

    def pod(self, revision: str) -> dict[str, Any]:
        (found,) = self.pods("server", revision)
        return found

    def measured(self, share: float = 1.0, **fields: Any) -> None:
        """The first pod has measured itself; its readiness is not seen yet."""
        measurement = self.measurement(self.active, **figures(share, **fields))
        self.runs(self.pod(self.active), "Serving", measurement=measurement)

    def change_of_spec(self, **fields: Any) -> str:
        """Another revision, and its pod."""
        before = set(self.sizes())
        self.change(**(fields or {"context": SMALLER}))
        for _ in range(2):  # a former candidate goes first
            self.reconcile(1)
            self.deployment_controller()
        (name,) = set(self.sizes()) - before
        return name


def about_to_serve() -> First:
    world = First()
    world.measured()
    world.reconcile(1)
    assert world.brief("Measured")[0] == "True"
    assert world.brief("Ready")[0] == "False"
    return world


def test_changed_between_measured_and_ready_it_is_compared_with_the_first_revision() -> None:
    """It was dropped before its pod was ready, and the slower one was the first."""
    world = about_to_serve()
    name = world.change_of_spec()
    assert world.sizes() == {world.active: 1, name: 1}
    assert world.selected() == world.active
    world.serves(world.pod(world.active), **figures())
    world.reconcile(1)
    assert world.record("active-revision") == world.active
    world.measures(name, 0.7)
    world.measures(name, 0.7, again=True)
    assert world.brief("RolloutAccepted") == ("False", "Regression")
    assert f"compared with revision {world.active}" in world.message()
    world.deployment_controller()
    assert world.sizes() == {world.active: 1}


def test_one_that_does_not_get_ready_blocks_no_fix_and_its_successor_says_so() -> None:
    world = about_to_serve()
    name = world.change_of_spec()
    decision = world.reconcile(1)
    assert decision.requeue_after_seconds is not None
    assert 0 < decision.requeue_after_seconds <= READY_SECONDS
    world.reconcile(READY_SECONDS)
    assert world.sizes() == {name: 1}
    assert world.selected() == name
    world.serves(world.pod(name), **figures(0.5))
    world.goes_on()
    assert world.record("active-revision") == name
    assert world.brief("Ready") == ("True", "Serving")
    assert world.brief("RolloutAccepted") == ("True", "NotJudged")
    assert f"revision {world.active} was measured, and had no ready pod" in world.message()
    assert world.events.count(("Warning", "NotJudged")) == 1


def test_the_successor_that_is_ready_earlier_serves() -> None:
    world = about_to_serve()
    name = world.change_of_spec()
    world.serves(world.pod(name), **figures(0.5))
    world.reconcile(1)
    assert world.selected() == name
    world.goes_on()
    assert world.record("active-revision") == name


@pytest.mark.parametrize("phase", ["Starting", "Probing"])
def test_one_that_has_not_measured_itself_is_no_baseline(phase: str) -> None:
    world = First()
    world.runs(world.pod(world.active), phase)
    world.reconcile(1)
    name = world.change_of_spec()
    assert world.sizes() == {name: 1}
    world.serves(world.pod(name), **figures(0.5))
    world.goes_on()
    assert world.brief("RolloutAccepted") == ("True", "Accepted")
    assert world.message() == f"Revision {name} serves."
    assert world.record("gate") == ""


def test_one_whose_pod_has_failed_since_is_not_awaited() -> None:
    world = about_to_serve()
    world.reports.clear()
    world.crash(world.pod(world.active))
    name = world.change_of_spec()
    assert world.sizes() == {name: 1}
    world.serves(world.pod(name), **figures())
    world.goes_on()
    assert world.brief("RolloutAccepted") == ("True", "NotJudged")


@pytest.mark.parametrize("phase", ["Draining", "Failed"])
def test_one_that_has_measured_itself_and_ends_is_not_awaited(phase: str) -> None:
    world = about_to_serve()
    world.runs(world.pod(world.active), phase, measurement=world.measurement(world.active, **figures()))
    name = world.change_of_spec()
    assert world.sizes() == {name: 1}


def test_one_that_is_deleted_is_not_awaited() -> None:
    world = about_to_serve()
    world.pod(world.active)["metadata"]["deletionTimestamp"] = format_time(world.now)
    name = world.change_of_spec()
    assert world.sizes() == {name: 1}


def test_one_that_serves_by_its_report_without_a_measurement_is_not_awaited() -> None:
    world = First()
    world.runs(world.pod(world.active), "Serving")
    world.reconcile(1)
    name = world.change_of_spec()
    assert world.sizes() == {name: 1}


def test_the_pod_of_a_deployment_that_is_gone_is_not_awaited() -> None:
    world = about_to_serve()
    world.objects.pop(("Deployment", world.active))
    world.change(context=SMALLER)
    world.reconcile(1)
    (name,) = world.sizes()
    assert world.selected() == name != world.active


def test_it_is_awaited_also_when_its_successor_has_measured_itself() -> None:
    world = about_to_serve()
    name = world.change_of_spec()
    world.reconcile(20)
    world.runs(world.pod(name), "Serving", measurement=world.measurement(name, **figures(0.5)))
    world.reconcile(1)
    assert world.sizes() == {world.active: 1, name: 1}
    assert world.selected() == world.active


def test_the_rollout_goes_on_when_its_time_is_over() -> None:
    world = about_to_serve()
    world.change_of_spec()
    rollout = plan_reconcile(world.observed(), world.config, world.now, None).rollout
    assert rollout.requeue_after_seconds is not None
    assert READY_SECONDS - 5 < rollout.requeue_after_seconds <= READY_SECONDS


def test_figures_for_another_slo_are_nothing_that_is_passed_over() -> None:
    world = about_to_serve()
    name = world.change_of_spec(context=SMALLER, slo={"ttftMilliseconds": 5000})
    world.reconcile(READY_SECONDS)
    world.serves(world.pod(name), **figures())
    world.goes_on()
    assert world.brief("RolloutAccepted") == ("True", "Accepted")


def test_what_was_passed_over_is_said_also_when_its_figures_are_gone() -> None:
    world = about_to_serve()
    name = world.change_of_spec()
    world.reconcile(READY_SECONDS)
    world.raw["status"]["measurements"] = []
    world.reconcile(1)
    world.serves(world.pod(name), **figures())
    world.goes_on()
    assert world.brief("RolloutAccepted") == ("True", "NotJudged")


def test_a_disturbed_measurement_of_one_that_never_served_is_nothing_that_is_passed_over() -> None:
    world = First()
    world.measured(flags=("Contended",))
    world.reconcile(1)
    name = world.change_of_spec()
    assert world.active in world.sizes()
    world.reconcile(READY_SECONDS)
    world.serves(world.pod(name), **figures())
    world.goes_on()
    assert world.brief("RolloutAccepted") == ("True", "Accepted")


def test_it_stays_while_its_successor_has_no_plan() -> None:
    world = about_to_serve()
    world.change(model={"uri": "pvc://models/another"})
    world.reconcile(1)
    assert world.sizes() == {world.active: 1}
    assert world.selected() == world.active
    world.serves(world.pod(world.active), **figures())
    world.reconcile(1)
    assert world.brief("Ready") == ("True", "Serving")
    assert world.record("active-revision") == world.active


def test_without_a_plan_it_is_not_awaited_for_ever() -> None:
    world = about_to_serve()
    world.change(model={"uri": "pvc://models/another"})
    assert world.reconcile(1).requeue_after_seconds is not None
    world.reconcile(READY_SECONDS)
    assert world.sizes() == {}


@pytest.mark.parametrize("days", [-400, 400])
def test_a_pod_whose_clock_is_wrong_is_not_awaited(days: int) -> None:
    world = First()
    world.measured(observed_time=format_time(world.now + timedelta(days=days)))
    world.reconcile(1)
    name = world.change_of_spec()
    assert world.sizes() == {name: 1}


def test_two_changes_before_the_first_is_ready() -> None:
    world = about_to_serve()
    second = world.change_of_spec()
    third = world.change_of_spec(context=OTHER)
    assert world.sizes() == {world.active: 1, third: 1}
    assert second not in world.sizes()
    world.serves(world.pod(world.active), **figures())
    world.reconcile(1)
    world.measures(third, 0.7)
    assert world.brief("RolloutAccepted") == ("Unknown", "Judging")


def test_reverted_before_it_is_ready() -> None:
    world = about_to_serve()
    world.change_of_spec()
    world.change(context={"maxModelLen": 2048, "concurrency": 4})
    world.reconcile(1)
    assert world.sizes() == {world.active: 1}
    world.serves(world.pod(world.active), **figures())
    world.goes_on()
    assert world.brief("Ready") == ("True", "Serving")
    assert world.record("gate") == ""


def test_at_zero_replicas_nothing_is_awaited() -> None:
    world = about_to_serve()
    world.change(context=SMALLER, replicas=0)
    world.reconcile(1)
    world.deployment_controller()
    assert world.active not in world.sizes()
    assert not world.pods("server")


def test_without_a_gate_the_first_revision_is_replaced_at_once() -> None:
    world = First(rollout={"scheduleTimeoutSeconds": 600})
    world.measured()
    world.reconcile(1)
    name = world.change_of_spec()
    assert world.sizes() == {name: 1}
    world.serves(world.pod(name), **figures(0.5))
    world.reconcile(MIN_READY_SECONDS)
    world.goes_on()
    assert world.brief("RolloutAccepted") == ("True", "Accepted")
    assert world.record("gate") == ""
