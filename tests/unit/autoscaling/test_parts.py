"""The parts of the algorithm: windows, scaling policies, trend, level, attainment, cold starts."""

from __future__ import annotations

import dataclasses
import math

import pytest
from hypothesis import given, strategies as st

from tacho_contract.report import LatencyHistogram, latency_histogram
from tacho_operator.core.autoscaling.algorithm import demand
from tacho_operator.core.autoscaling.algorithm.behavior import (
    cold_start,
    down_window,
    limit,
    recurring,
    with_bursts,
    with_high,
    with_low,
    with_starts,
)
from tacho_operator.core.autoscaling.algorithm.need import Sum, sum_of
from tacho_operator.core.autoscaling.algorithm.request_cost import cost_of, measured_mix
from tacho_operator.core.autoscaling.algorithm.tuning import UNKNOWN_START_SECONDS
from tacho_operator.core.autoscaling.algorithm.types import (
    SCALE_DOWN,
    Bounds,
    Change,
    Interval,
    Mix,
    Pace,
    PodLoad,
    Point,
    Policy,
    Rules,
    Sample,
    ScalingInput,
    Select,
    Track,
)
from tests.unit.autoscaling.fleet import CAPACITY, RATE

TWO_AND_HALF = (
    Pace(kind="Pods", value=2, period_seconds=60),
    Pace(kind="Percent", value=50, period_seconds=60),
)
COST = cost_of(CAPACITY, measured_mix(CAPACITY, 30))


@pytest.mark.parametrize(
    ("select", "grown", "shrunk"), [("Max", 15, 5), ("Min", 12, 8), ("Disabled", 10, 10)]
)
def test_which_of_several_paces_counts(select: Select, grown: int, shrunk: int) -> None:
    rules = Rules(select=select, paces=TWO_AND_HALF)
    assert limit(rules, 10, (), 0.0, upwards=True) == grown
    assert limit(rules, 10, (), 0.0, upwards=False) == shrunk


def test_changes_of_both_directions_within_the_period_count() -> None:
    rules = Rules(paces=(Pace(kind="Pods", value=4, period_seconds=60),))
    grew = (Change(time_seconds=0.0, before=6, after=9),)
    assert limit(rules, 9, grew, 59.0, upwards=True) == 10
    assert limit(rules, 9, grew, 60.0, upwards=True) == 13
    shrank = (Change(time_seconds=0.0, before=9, after=6),)
    assert limit(rules, 6, shrank, 59.0, upwards=False) == 5


def test_a_decision_that_comes_milliseconds_early_is_not_too_early_for_the_pace() -> None:
    rules = Rules(paces=(Pace(kind="Pods", value=1, period_seconds=4),))
    fell, grew = Change(time_seconds=8.07, before=5, after=4), Change(time_seconds=8.07, before=4, after=5)
    assert [limit(rules, 4, (fell,), now, upwards=False) for now in (10.05, 12.04)] == [4, 3]
    assert [limit(rules, 5, (grew,), now, upwards=True) for now in (10.05, 12.04)] == [5, 6]


def test_each_reversed_scale_down_doubles_the_window() -> None:
    up, down = (Change(time_seconds=at, before=b, after=a) for at, b, a in ((900.0, 3, 4), (600.0, 4, 3)))
    once = (up, down)
    assert down_window(SCALE_DOWN, (down, up), 1000.0) == 300, "first more, then fewer: no reversal"
    assert down_window(SCALE_DOWN, once, 1000.0) == 600
    assert down_window(SCALE_DOWN, once * 2, 1000.0) == 1200
    assert down_window(SCALE_DOWN, once * 9, 1000.0) == 1800
    assert down_window(SCALE_DOWN, once, 4600.0) == 300, "that is long ago"
    assert down_window(Rules(window_seconds=60.0), once, 1000.0) == 120, "also of a window that is set"
    assert down_window(Rules(window_seconds=3600.0), once, 1000.0) == 3600, "which is never shortened"


def test_a_change_by_quota_or_bounds_is_no_reversal() -> None:
    up, down = (Change(time_seconds=at, before=b, after=a) for at, b, a in ((900.0, 3, 4), (600.0, 4, 3)))
    refused = dataclasses.replace(down, cause="Quota")
    assert down_window(SCALE_DOWN, (up, refused) * 6, 1000.0) == 300
    scheduled = dataclasses.replace(up, cause="Bounds")
    assert down_window(SCALE_DOWN, (scheduled, down) * 3, 1000.0) == 300
    assert down_window(SCALE_DOWN, (up, refused, up, down), 1000.0) == 600


def test_by_default_all_that_the_window_allows_goes_at_once() -> None:
    assert limit(SCALE_DOWN, 16, (), 0.0, upwards=False) == 0


def needs(*values: float, seconds: float = 300.0) -> float:
    """What recurs in loads that are so many seconds apart."""
    bursts: tuple[Point, ...] = ()
    low: float | None = None
    for number, value in enumerate(values):
        bursts, low = with_bursts(bursts, low, Point(number * seconds, value))
    return recurring(bursts, (len(values) - 1) * seconds)


def test_what_two_bursts_have_reached_recurs_for_half_an_hour() -> None:
    assert needs(2, 8, 9, 2, 2) == 0, "one burst may be the only one"
    assert needs(2, 8, 9, 2, 2, 6) == 6
    assert needs(2, 8, 2, 9, 2, 4) == 8, "the next one begins, and may rise"
    assert needs(2, 8, 2, 9, *[2] * 6) == 8
    assert needs(2, 8, 2, 9, *[2] * 7) == 0, "too long ago"
    assert needs(2, 8, *[2] * 7, 8, 2) == 0, "starting replicas anew costs less"
    assert needs(2, 3, 2, 3, 2) == 0, "noise"
    assert needs(0.1, 0.9, 0.1, 0.9, 0.1) == 0, "of less than one replica"
    assert needs(2, 8, 2, 8, 2, 2, seconds=-60.0) == 0, "a clock that was set back"


def test_bursts_recur_that_end_within_half_an_hour_of_each_other() -> None:
    """Of four minutes, of which the highest load comes first."""
    assert needs(2, *([6, *[5.8] * 3, *[2] * 26] * 2), seconds=60.0) == 6
    assert needs(2, *([6, *[5.8] * 3, *[2] * 27] * 2), seconds=60.0) == 0
    assert needs(2, 10, 2, 10, *[6] * 4) == 10
    assert needs(2, 10, 2, 10, *[6] * 5) == 0, "a burst that does not end is a new level"


def test_small_bursts_between_two_that_recur_do_not_hide_them() -> None:
    big, small = [2, *[10] * 2, *[2] * 8], [2, 4.5, *[1] * 3]
    assert needs(*big, *small, *big, seconds=60.0) == 10
    assert needs(*big, *small, *big, *small, *small, seconds=60.0) == 10
    assert needs(*big, *small, *big, *small, *[1] * 20, *small, seconds=60.0) == 4.5, "the big ones ended"


@given(st.lists(st.floats(0, 100), max_size=60))
def test_no_more_recurs_than_the_second_highest_load(values: list[float]) -> None:
    assert needs(*values, seconds=10.0) <= sorted([0.0, 0.0, *values])[-2]


def test_the_back_off_is_for_single_replicas() -> None:
    up, down = (Change(time_seconds=at, before=b, after=a) for at, b, a in ((900.0, 3, 6), (600.0, 6, 3)))
    assert down_window(SCALE_DOWN, (up, down), 1000.0) == 300


def test_windows_keep_what_decides_and_no_more() -> None:
    low: tuple[Point, ...] = ()
    high: tuple[Point, ...] = ()
    for now, value in enumerate([3.0, 5.0, 4.0, 4.0, 2.0, 6.0, 1.0]):
        low = with_low(low, Point(now, value), 3)
        high = with_high(high, Point(now, value), 3)
    assert low[0] == Point(6, 1.0)
    assert high == (Point(5, 6.0), Point(6, 1.0))


def intervals(*values: float) -> tuple[Interval, ...]:
    """Newest first; the last value is the present one."""
    return tuple(Interval(10.0 * at, 10.0, value) for at, value in reversed(list(enumerate(values, start=1))))


def test_a_line_is_a_trend_and_a_step_is_none() -> None:
    assert demand.slope(intervals(*(1 + 0.1 * at for at in range(9)))) == pytest.approx(0.01)
    for at in range(1, 9):
        assert demand.slope(intervals(*([1.0] * at + [4.0] * (9 - at)))) == 0
    assert demand.slope(intervals(0, 1, 2, 3, 13)) == 0, "the last sample alone is a step as well"
    assert demand.slope(intervals(*(3 - 0.1 * at for at in range(9)))) == 0
    assert demand.slope(intervals(1, 2, 3)) == 0, "too few"


@given(st.floats(0.0, 50.0), st.floats(0.5, 100.0))
def test_a_constant_load_is_its_own_level_and_no_trend(load: float, request_seconds: float) -> None:
    offered = intervals(*([load] * 9))
    assert demand.level(offered, request_seconds) == pytest.approx(load)
    assert demand.slope(offered) == pytest.approx(0, abs=1e-9)


def test_a_burst_counts_before_the_window_is_full_less_two_deviations() -> None:
    """40 requests of half a second in 10 s: 2 replicas, less twice the root of 40 requests."""
    offered = intervals(0, 0, 0, 0, 0, 2.0)
    assert demand.level(offered, 0.5) == pytest.approx((40 - 2 * math.sqrt(40)) * 0.5 / 10)


def track(**fields: object) -> Track:
    return Track(Sample(time_seconds=0.0, **fields))  # type: ignore[arg-type]


def test_requests_in_the_pods_count_by_what_is_left_of_them() -> None:
    """Ten at the same time were measured: two of twelve running ones wait."""
    assert COST is not None
    tracks = {"a": track(running=12, waiting=3), "b": track(running=4)}
    assert demand.in_progress(tracks, COST) == pytest.approx((5 + 14 / 2) / RATE)


TARGETS = Policy(bounds=Bounds(least=1, most=9), ttft_seconds=3.0, tpot_seconds=0.012)


def histogram(counts: dict[float, int], total: int) -> LatencyHistogram:
    """As a pod sends it: ``counts`` are requests up to each edge."""
    return latency_histogram(list(counts), list(counts.values()), total)


def test_a_request_has_at_least_one_answer_token() -> None:
    """Embeddings and refused answers have none: their cost is of their prompts and one step."""
    one, none = (cost_of(CAPACITY, Mix(30.0, 300.0, tokens, tokens)) for tokens in (30.0, 0.0))
    assert one == none
    assert one is not None
    silent = demand.mixed(Mix(30.0, 300.0, 0.0, 0.0), Mix(0.0, 0.0, 2.0, 2.0), 10.0)
    assert silent.requests == pytest.approx(30 * math.exp(-10 / 300) + 10 * 2 * 30), "no division by zero"


def summed(
    offered: tuple[Interval, ...], cold_start_seconds: float, ttft_seconds: float | None = None
) -> Sum:
    """Of a pod with half of its KV cache of 1,000 tokens in use, and four waiting requests."""
    sample = Sample(time_seconds=0.0, running=0, waiting=4, generated_tokens=0.0, kv_cache_usage=0.5)
    pods = (PodLoad(uid="a", sample=sample),)
    policy = dataclasses.replace(TARGETS, ttft_seconds=ttft_seconds)
    capacity = dataclasses.replace(CAPACITY, kv_cache_tokens=1000)
    at = ScalingInput(replicas=1, pods=pods, capacity=capacity, policy=policy)
    return sum_of(at, demand.read({}, pods, 0.0), COST, offered, cold_start_seconds, 1.0)


def test_waiting_requests_need_their_tokens_in_the_kv_cache() -> None:
    assert summed(intervals(1.0), 60).kv_cache == pytest.approx(0.5 + 4 * 100 / 1000)


def test_growth_at_most_doubles_the_load_and_ends_at_the_horizon() -> None:
    steep = summed(intervals(*(0.1 * at for at in range(9))), 600)
    assert steep.growth == steep.offered
    flat = summed(intervals(*(2 + 0.001 * at for at in range(9))), 1200)
    assert flat.growth == pytest.approx(0.0001 * 600)


def test_an_unknown_concurrency_needs_no_zero_replicas() -> None:
    capacity = dataclasses.replace(CAPACITY, concurrency=None)
    pods = (PodLoad(uid="a", sample=Sample(time_seconds=0.0, running=900, waiting=45)),)
    at = ScalingInput(replicas=9, pods=pods, capacity=capacity, policy=TARGETS)
    cost = cost_of(capacity, measured_mix(capacity, 30))
    assert sum_of(at, demand.read({}, pods, 0.0), cost, (), 60, 1.0).terms == {}


def test_the_requests_of_an_interval_are_the_mean_of_its_ends() -> None:
    law = dataclasses.replace(CAPACITY, gap_seconds=0.05, gap_seconds_per_request=1e-9)
    pods = (PodLoad(uid="a", sample=Sample(time_seconds=10.0, running=8, generated_tokens=9.0)),)
    former = {"a": track(running=4, generated_tokens=0.0)}
    found = demand.read(former, pods, 10.0, cost_of(law, measured_mix(law, 30))).counted
    assert found
    assert found.expected_tokens == pytest.approx(6 / 0.05)


def test_the_cold_start_is_that_of_nine_starts_in_ten() -> None:
    assert cold_start((), None) == UNKNOWN_START_SECONDS
    assert cold_start((), 95.0) == 95.0
    pods = [PodLoad(uid=str(index), start_seconds=float(index)) for index in range(1, 11)]
    starts = with_starts((), pods)
    assert cold_start(starts, 95.0) == 10.0
    assert with_starts(starts, pods) == starts
    assert (
        len(with_starts(starts, [PodLoad(uid=f"x{index}", start_seconds=1.0) for index in range(15)])) == 20
    )


def test_bursts_of_a_time_to_come_keep_nothing() -> None:
    bursts = (Point(5000.0, 4.0), Point(4000.0, 4.0))
    assert recurring(bursts, 5000.0) == 4.0
    assert recurring(bursts, 3000.0) == 0.0
