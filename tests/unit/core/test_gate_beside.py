"""The gate beside what else goes on: autoscaling, probes at each start, and a long history."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from tacho_operator.core.autoscaling.target import desired_replicas, target_of
from tacho_operator.core.children import REVISIONS_KEPT
from tests.unit.core.gated import Gated, figures, rejected
from tests.unit.core.scaling import settled
from tests.unit.core.test_gate_evidence import SAME_PLAN, rates
from tools.harness.world import AUTOSCALING

ALWAYS = {"probe": {"policy": "Always"}}


def scaled_to(world: Gated, replicas: int) -> None:
    world.scaling = dataclasses.replace(settled(), replicas=replicas)
    world.reconcile(1)
    world.deployment_controller()
    for pod in world.pods("server", world.active):
        if "status" not in pod:
            world.serves(pod, kind="Check", **figures())
            pod["status"]["podIP"] = f"10.0.0.{len(world.reports)}"
    world.reconcile(1)


def capacity_pods(world: Gated) -> set[str]:
    """Revisions of the pods whose load the scaler reads."""
    for number, pod in enumerate(world.pods("server")):
        pod["status"]["podIP"] = f"10.0.0.{number}"
    return {pod.revision for pod in target_of(world.observed()).pods}


@pytest.mark.parametrize("replicas", [1, 4])
def test_while_it_is_judged_the_active_revision_follows_the_load_and_it_is_no_capacity(replicas: int) -> None:
    world = Gated(autoscaling=AUTOSCALING)
    name = world.candidate()
    world.measures(name, 0.7)
    for size in (replicas, 3, 2):
        scaled_to(world, size)
        assert world.sizes() == {world.active: size, name: 1}
        assert capacity_pods(world) == {world.active}
        target = target_of(world.observed())
        assert (target.held, target.replicas) == ("", size)
        assert target.capacity.output_tokens_per_second == pytest.approx(204.8)
    world.measures(name, 0.7, again=True)
    world.deployment_controller()
    assert world.sizes() == {world.active: 2}
    scaled_to(world, 3)
    assert world.sizes() == {world.active: 3}


def test_an_operator_that_restarts_while_it_judges_keeps_the_size() -> None:
    world = Gated(autoscaling=AUTOSCALING)
    name = world.candidate()
    world.measures(name, 0.7)
    scaled_to(world, 4)
    world.scaling = None
    world.reconcile(1)
    assert world.sizes() == {world.active: 4, name: 1}
    assert desired_replicas(world.observed()) == 4


def test_an_admitted_one_gets_as_many_replicas_as_the_load_needs() -> None:
    world = Gated(autoscaling=AUTOSCALING)
    name = world.candidate()
    scaled_to(world, 3)
    world.measures(name, 1.0)
    world.goes_on()
    assert world.sizes() == {name: 3}


def test_with_probes_at_each_start_it_is_judged_as_well() -> None:
    world, name = rejected(**ALWAYS)
    assert world.phases()[name] == "Rejected"
    assert rates(world) == {world.active: "204.8"}


def test_with_probes_at_each_start_one_of_the_same_plan_replaces_no_baseline() -> None:
    world = Gated(**ALWAYS)
    name = world.candidate(**SAME_PLAN)
    world.measures(name, 0.7)
    assert world.is_asking()
    world.measures(name, 0.7, again=True)
    assert world.verdict() == "Regression"
    assert rates(world) == {world.active: "204.8"}
    world.deployment_controller()
    world.reconcile(1)
    assert rates(world) == {world.active: "204.8"}


def test_with_probes_at_each_start_the_newest_of_the_active_revision_counts() -> None:
    world = Gated(**ALWAYS)
    (pod,) = world.pods("server", world.active)
    world.reconcile(60)
    world.serves(pod, **figures(0.7))
    world.reconcile(1)
    name = world.candidate()
    world.measures(name, 0.7)
    assert world.verdict() == "Acceptable"


def test_a_long_row_of_rejected_ones_keeps_the_baseline_and_nothing_grows() -> None:
    world = Gated()
    sizes: list[int] = []
    for number in range(2 * REVISIONS_KEPT):
        name = world.candidate(context={"maxModelLen": 1024 - 8 * number, "concurrency": 2})
        world.measures(name, 0.7)
        world.measures(name, 0.7, again=True)
        world.deployment_controller()
        world.reconcile(1)
        assert world.brief("RolloutAccepted") == ("False", "Regression")
        assert f"compared with revision {world.active}" in world.message()
        assert {world.active, name} <= world.names("ControllerRevision")
        assert len(world.names("ControllerRevision")) <= REVISIONS_KEPT
        assert world.phases()[world.active] == "Active"
        assert world.phases()[name] == "Rejected"
        assert rates(world) == {world.active: "204.8"}
        sizes.append(len(world.record("gate")))
    assert max(sizes) < 1024
    assert max(sizes[2:]) <= max(sizes[:2]) + 8


def test_a_long_row_of_admitted_ones_keeps_each_baseline() -> None:
    world = Gated()
    for number in range(REVISIONS_KEPT + 3):
        name = world.candidate(context={"maxModelLen": 1024 - 8 * number, "concurrency": 2})
        world.measures(name, 1.0)
        assert f"compared with revision {world.active}" in world.record("gate")
        world.goes_on()
        assert world.record("active-revision") == name
        world.active = name
        assert len(world.names("ControllerRevision")) <= REVISIONS_KEPT


def test_the_candidate_of_a_long_history_is_judged_while_the_oldest_serves() -> None:
    """The active revision's number is the lowest: only that it serves keeps it."""
    world = Gated()
    changes: list[dict[str, Any]] = [
        {"maxModelLen": 1024 - 8 * number, "concurrency": 2} for number in range(REVISIONS_KEPT + 3)
    ]
    for change in changes:
        world.change(context=change)
        for _ in range(2):  # the former candidate goes first
            world.reconcile(1)
            world.deployment_controller()
    assert world.active in world.names("ControllerRevision")
    (name,) = set(world.sizes()) - {world.active}
    world.measures(name, 0.7)
    world.measures(name, 0.7, again=True)
    assert world.verdict() == "Regression"
