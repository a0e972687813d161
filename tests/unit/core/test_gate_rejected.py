"""What goes on while a candidate stays rejected, and while a measurement is awaited."""

from __future__ import annotations

import dataclasses

import pytest

from tacho_operator.core import names
from tacho_operator.core.rollout.decision import PodCount, RolloutInput, next_step
from tacho_operator.core.rollout.record import Gating, RollbackRecord, Serving
from tacho_operator.core.status.build import REVISIONS_SHOWN
from tacho_operator.core.status.requeue import MOVING_SECONDS
from tests.unit.core.gated import Gated, rejected
from tests.unit.core.test_rollout import FELL, ON_A
from tools.harness.resources import NOW
from tools.harness.world import copied

SLOW = {"expectedDecodeTokensPerSecond": 1.0, "expectedCapacityConcurrency": 4}


def test_the_active_revision_is_measured_by_its_own_plan() -> None:
    world = Gated()
    world.objects["ControllerRevision", world.active]["data"]["plan"]["predicted"] |= SLOW
    world.reconcile(1)
    name = world.candidate()
    assert world.live().probe.budget_seconds == 45, "the candidate is measured in full"
    world.measures(name, 0.7)
    world.measures(name, 0.7, again=True)
    assert world.verdict() == "Regression"
    assert world.live().probe.budget_seconds == 120


def test_a_person_who_asks_gets_a_measurement_of_the_active_revision() -> None:
    world, name = rejected()
    world.raw["metadata"]["annotations"] = {names.MEASURE_AGAIN_ANNOTATION: "please"}
    world.reconcile(1)
    world.deployment_controller()
    assert not world.pods("probe"), "not while the candidate is judged anew"
    world.measures(name, 0.7)
    world.measures(name, 0.7, again=True)
    assert world.verdict() == "Regression"
    assert world.events.count(("Warning", "Regression")) == 2
    world.deployment_controller()
    world.reconcile(1)
    (pod,) = world.pods("probe")
    assert pod["metadata"]["labels"][names.REVISION_LABEL] == world.active


def test_a_rejected_revision_is_shown_among_newer_ones_that_cannot_be_deleted() -> None:
    world, name = rejected()
    for number in range(REVISIONS_SHOWN):
        newer = copied(world.objects["ControllerRevision", name])
        newer["metadata"] |= {"name": f"smol-newer{number}", "uid": f"newer-{number}"}
        newer["revision"] = 100 + number
        del newer["data"]["ofSpec"]
        world.objects["ControllerRevision", newer["metadata"]["name"]] = newer
    status = world.decision().status
    assert status
    phases = {item.name: item.phase for item in status.revisions or ()}
    assert len(phases) == REVISIONS_SHOWN
    assert phases[name] == "Rejected"
    assert phases[world.active] == "Active"


def test_a_pod_that_was_asked_is_looked_at_often() -> None:
    world = Gated()
    name = world.candidate()
    world.measures(name, 0.7)
    assert world.is_asking()
    assert world.decision().requeue_after_seconds == MOVING_SECONDS


def judged(serving: Serving, gating: Gating) -> RolloutInput:
    return RolloutInput(
        desired="b",
        known=("a", "b"),
        replicas=1,
        pods={"a": PodCount(ready=1, available=1), "b": PodCount(ready=1, available=1)},
        deployments={"a": 1, "b": 1},
        serving=serving,
        gating=gating,
        now=NOW,
    )


def test_a_wait_of_the_gate_is_a_wait_of_the_rollout() -> None:
    waits = Gating(admits=False, requeue_after_seconds=123.0)
    assert next_step(judged(ON_A, waits)).requeue_after_seconds == 123.0
    admitted = dataclasses.replace(ON_A, admitted="b", selected="")
    assert next_step(judged(admitted, dataclasses.replace(waits, admits=True))).requeue_after_seconds != 123.0


@pytest.mark.parametrize("rollback", [None, RollbackRecord(revision="b", time="soon"), FELL.rollback])
def test_what_is_rejected_is_not_tried_again_after_a_rollback(rollback: RollbackRecord | None) -> None:
    found = next_step(judged(dataclasses.replace(ON_A, rollback=rollback), Gating(rejects=True)))
    assert found.rejected == "b"
    assert found.drop == ("b",)
    assert not found.rolled_back
