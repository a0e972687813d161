"""A HorizontalPodAutoscaler against the examples of its documentation and sums done by hand."""

from __future__ import annotations

import dataclasses

from tacho_operator.core.autoscaling.algorithm.types import Pace, Rules
from tacho_simulate.policies.autoscaler import Autoscaler, by_average, by_pods, by_ratio
from tests.unit.simulate.policy_views import SETTING, metrics, view

IDLE = metrics()


def test_the_ratio_of_the_documentation() -> None:
    """200m where 100m is wanted doubles, 50m halves, and what is near enough to 1 changes nothing."""
    assert by_pods([200.0] * 4, unready=0, missing=0, replicas=4, target=100.0) == 8
    assert by_pods([50.0] * 4, unready=0, missing=0, replicas=4, target=100.0) == 2
    assert by_pods([109.0] * 4, unready=0, missing=0, replicas=4, target=100.0) == 4
    assert by_pods([111.0] * 4, unready=0, missing=0, replicas=4, target=100.0) == 5


def test_pods_that_start_are_idle_and_missing_ones_hold_back() -> None:
    # Two at 2.0 of 1 would ask for 4; with two more that start the mean is 1: enough.
    assert by_pods([2.0, 2.0], unready=2, missing=0, replicas=4, target=1.0) == 4
    # Three at 3.0 and one that starts: 9 / 4 pods = 2.25, times 4.
    assert by_pods([3.0] * 3, unready=1, missing=0, replicas=4, target=1.0) == 9
    # Three idle ones would ask for none; one of which nothing is known is taken to be full: 1 / 4 x 4.
    assert by_pods([0.0] * 3, unready=0, missing=1, replicas=4, target=1.0) == 1
    # One at 1.5 and one unknown, which is idle for a rise: 0.75 would turn the direction.
    assert by_pods([1.5], unready=0, missing=1, replicas=2, target=1.0) == 2
    assert by_pods([], unready=0, missing=2, replicas=2, target=1.0) is None


def test_totals_are_divided_and_values_multiply() -> None:
    assert by_average(58.0, replicas=1, target=10.0) == 6
    assert by_average(21.0, replicas=2, target=10.0) == 2  # 5 % above: tolerated
    assert by_average(11.0, replicas=10, target=1.0) == 10  # one more of ten is never asked for
    assert by_average(0.0, replicas=3, target=5.0) == 0
    assert by_ratio(2.0, ready=3, replicas=3) == 6
    assert by_ratio(0.5, ready=3, replicas=3) == 2
    assert by_ratio(1.0, ready=1, replicas=3) == 3


def test_fewer_only_when_none_was_needed_for_five_minutes() -> None:
    scaler = Autoscaler(SETTING)
    assert scaler.settle(view(0.0, [IDLE] * 4), [4], "").replicas == 4
    for now in range(15, 300, 15):
        assert scaler.settle(view(float(now), [IDLE] * 4), [1], "").replicas == 4
    assert scaler.settle(view(300.0, [IDLE] * 4), [1], "").replicas == 1


def test_more_are_limited_to_double_or_four() -> None:
    scaler = Autoscaler(SETTING)
    assert scaler.settle(view(0.0, [IDLE]), [20], "").replicas == 5
    assert scaler.settle(view(15.0, [IDLE] * 5), [20], "").replicas == 10
    assert scaler.settle(view(30.0, [IDLE] * 10), [25], "").replicas == 20
    assert scaler.settle(view(45.0, [IDLE] * 20), [25], "").replicas == 20  # the bound


def test_changes_of_the_period_count_against_a_pace() -> None:
    slow = Rules(window_seconds=0.0, paces=(Pace(kind="Pods", value=1, period_seconds=60),))
    scaler = Autoscaler(SETTING, up=slow, down=dataclasses.replace(slow, window_seconds=0.0))
    assert scaler.settle(view(0.0, [IDLE]), [5], "").replicas == 2
    assert scaler.settle(view(15.0, [IDLE] * 2), [5], "").replicas == 2
    assert scaler.settle(view(60.0, [IDLE] * 2), [5], "").replicas == 3


def test_a_rise_waits_for_its_window() -> None:
    rules = Rules(window_seconds=60.0, paces=(Pace(kind="Pods", value=5, period_seconds=15),))
    scaler = Autoscaler(SETTING, up=rules)
    assert scaler.settle(view(0.0, [IDLE]), [1], "").replicas == 1
    assert scaler.settle(view(30.0, [IDLE]), [3], "").replicas == 1
    assert scaler.settle(view(60.0, [IDLE]), [4], "").replicas == 3  # the lowest of the last minute


def test_what_is_not_known_changes_nothing_or_only_upwards() -> None:
    scaler = Autoscaler(SETTING)
    assert scaler.settle(view(0.0, [None]), [None], "").replicas == 1
    assert scaler.settle(view(600.0, [IDLE] * 3), [None, 1], "").replicas == 3
    assert scaler.settle(view(900.0, [IDLE] * 3), [None, 6], "").replicas == 6
