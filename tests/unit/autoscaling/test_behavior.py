"""Scaling policies and tolerance count as those of a HorizontalPodAutoscaler."""

from __future__ import annotations

import dataclasses

import pytest

from tacho_operator.core.autoscaling.algorithm import tuning
from tacho_operator.core.autoscaling.algorithm.behavior import UNLIMITED, limit, recorded, tolerated
from tacho_operator.core.autoscaling.algorithm.types import (
    SCALE_UP,
    Bounds,
    Outcome,
    Pace,
    Policy,
    Rules,
    State,
)
from tests.unit.autoscaling.fleet import PERIOD_SECONDS, Fleet


def rules(*paces: Pace, tolerance: float = 0.0) -> Rules:
    return dataclasses.replace(SCALE_UP, paces=paces, tolerance=tolerance)


@pytest.mark.parametrize(
    ("replicas", "percent", "up", "down"), [(3, 50, 5, 1), (4, 50, 6, 2), (5, 10, 6, 4), (1000, 100, 2000, 0)]
)
def test_a_share_of_the_replicas_is_rounded_to_the_larger_step(
    replicas: int, percent: int, up: int, down: int
) -> None:
    """Else 10 % of five would be no step in either direction."""
    found = rules(Pace(kind="Percent", value=percent, period_seconds=60))
    assert limit(found, replicas, (), 0.0, upwards=True) == up
    assert limit(found, replicas, (), 0.0, upwards=False) == down


def test_without_policies_any_step_is_allowed() -> None:
    assert limit(rules(), 3, (), 0.0, upwards=True) == UNLIMITED
    assert limit(rules(), 3, (), 0.0, upwards=False) == 0


@pytest.mark.parametrize(
    ("need", "replicas", "is_tolerated"),
    [(2.19, 2, True), (2.21, 2, False), (1.81, 2, True), (1.79, 2, False), (1.05, 1, True), (0.0, 0, False)],
)
def test_the_tolerance_is_of_the_ratio_in_both_directions(
    need: float, replicas: int, is_tolerated: bool
) -> None:
    assert tolerated(rules(tolerance=0.1), need, replicas) is is_tolerated


@pytest.mark.parametrize(
    ("pods", "told"),
    [
        (1, [(3, "LowDemand", "ScaleDownLimit"), (3, "Steady", "ScaleDownLimit")]),
        (9, [(1, "LowDemand", ""), (1, "Steady", "")]),
    ],
)
def test_a_policy_that_limits_a_scale_down_is_told_with_it_and_while_it_holds(
    pods: int, told: list[tuple[int, str, str]]
) -> None:
    down = rules(Pace(kind="Pods", value=pods, period_seconds=4 * PERIOD_SECONDS))
    fleet = Fleet(Policy(bounds=Bounds(least=1, most=9), down=down), replicas=4)
    while fleet.wanted == 4:
        fleet.serve(0.1)
        fleet.look()
    fleet.serve(0.1)
    fleet.look()
    assert [(item.replicas, item.cause, item.deviation) for item in fleet.decisions[-2:]] == told


def test_changes_that_status_does_not_show_take_little_memory() -> None:
    """A change at each sampling made 270, whose texts were 70 of a resource's 145 KiB."""
    state = State()
    for number in range(300):
        outcome = Outcome(replicas=number, needed=number, cause="Work")
        changes = recorded(number - 1, state, outcome, "x" * 1000, 10.0 * number)
        state = dataclasses.replace(state, changes=changes)
    assert len(state.changes) == 270
    assert [bool(item.reason) for item in state.changes] == [True] * tuning.CHANGES_KEPT + [False] * 260
    assert [item.after for item in state.changes] == list(range(299, 29, -1))
