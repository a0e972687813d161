"""The parts of the algorithm: windows, scaling policies, trend, level, attainment, cold starts."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import pytest
from hypothesis import given, strategies as st

from tacho_contract.report import LatencyHistogram, latency_histogram
from tacho_operator.core.autoscaling.algorithm import demand
from tacho_operator.core.autoscaling.algorithm.behavior import limit, with_high, with_low
from tacho_operator.core.autoscaling.algorithm.bursts import ended, with_bursts
from tacho_operator.core.autoscaling.algorithm.need import ReplicaNeed, replica_need
from tacho_operator.core.autoscaling.algorithm.request_cost import cost_of, measured_mix
from tacho_operator.core.autoscaling.algorithm.tuning import (
    BURSTS_KEPT,
    MEMORY_SECONDS,
    UNKNOWN_START_SECONDS,
)
from tacho_operator.core.autoscaling.algorithm.types import (
    SCALE_DOWN,
    Bounds,
    Burst,
    Change,
    Correction,
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
    State,
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


def test_by_default_all_that_the_window_allows_goes_at_once() -> None:
    assert limit(SCALE_DOWN, 16, (), 0.0, upwards=False) == 0


def kept(*values: float, seconds: float = 300.0, memory: float = MEMORY_SECONDS) -> float:
    """What bursts keep after loads that are so many seconds apart, and scatter by nothing."""
    bursts: tuple[Burst, ...] = ()
    low: float | None = None
    for number, value in enumerate(values):
        bursts, low = with_bursts(bursts, low, number * seconds, value, value)
    found = ended(bursts, low, (len(values) - 1) * seconds, memory)
    return max((item.load for item in found), default=0.0)


def test_what_a_burst_filled_is_kept_for_three_quarters_of_an_hour() -> None:
    assert kept(2, 8) == 0, "it lasts, and may be a new level"
    assert kept(2, 8, 2) == 8
    assert kept(2, 8, *[2] * 9) == 8
    assert kept(2, 8, *[2] * 10) == 0, "too long ago"
    assert kept(2, 3, 2, 3, 2) == 0, "noise"
    assert kept(0.1, 0.9, 0.1, 0.9, 0.1) == 0, "one replica carries it"
    assert kept(0.4, 1.6, 0.4) == 1.6
    assert kept(2, 8, 2, 8, 2, 2, seconds=-60.0) == 0, "a clock that was set back"


@pytest.mark.parametrize("minutes", [0, 9, 21, 45])
def test_a_burst_is_kept_for_as_long_as_the_user_says(minutes: int) -> None:
    held = [kept(2, 8, *[2] * (after + 1), seconds=60.0, memory=60.0 * minutes) for after in range(60)]
    assert held == [8] * minutes + [0] * (60 - minutes)


@given(
    st.lists(st.floats(0, 100), max_size=60), st.integers(0, 2700), st.integers(0, 2700), st.floats(10, 900)
)
def test_bursts_keep_no_less_by_a_longer_memory(
    values: list[float], one: int, other: int, seconds: float
) -> None:
    shorter, longer = (kept(*values, seconds=seconds, memory=memory) for memory in sorted((one, other)))
    assert shorter <= longer <= kept(*values, seconds=seconds)


def test_the_highest_of_several_bursts_is_kept() -> None:
    assert kept(2, 8, 2, 6, 2) == 8
    assert kept(2, 8, 2, 9, 2, 4) == 9, "the next one begins, and may rise"


def test_a_load_that_may_have_grown_by_chance_begins_no_burst() -> None:
    """It has doubled where what it surely is, is twice the lowest that was seen."""
    bursts, low = with_bursts((), None, 0.0, 0.9, 1.5)
    assert with_bursts(bursts, low, 60.0, 2.9, 4.0) == ((), 1.5)
    assert with_bursts(bursts, low, 60.0, 3.0, 4.0) == ((Burst(60.0, 60.0, 3.0),), None)


@pytest.mark.parametrize("lasting", [90, 240, 360])
@pytest.mark.parametrize("every", [33, 40])
def test_short_bursts_recur_after_40_minutes(lasting: int, every: int) -> None:
    high, low = lasting // 30, (60 * every - lasting) // 30
    assert kept(2, *[6] * high, *[2] * low, *[6] * high, *[2] * low, seconds=30.0) == 6


def test_a_load_that_lasts_is_a_new_level_and_no_burst() -> None:
    assert kept(2, *[8] * 3, 2) == 8
    assert kept(2, *[8] * 4, 2) == 0
    assert kept(2, 10, 2, 10, *[6] * 3) == 10
    assert kept(2, 10, 2, 10, *[6] * 4) == 0, "bursts of the former level are forgotten"


def test_small_bursts_between_two_large_ones_do_not_hide_them() -> None:
    big, small = [2, *[10] * 2, *[2] * 8], [2, 4.5, *[1] * 3]
    assert kept(*big, *small, *big, seconds=60.0) == 10
    assert kept(*big, *small, *big, *small, *small, seconds=60.0) == 10


@given(st.lists(st.floats(0, 100), max_size=60))
def test_bursts_keep_no_more_than_the_highest_load(values: list[float]) -> None:
    assert kept(*values, seconds=10.0) <= max([0.0, *values])


@given(st.lists(st.floats(0, 100), max_size=60), st.integers(0, 60))
def test_a_restart_forgets_no_burst(values: list[float], at: int) -> None:
    """Bursts and the lowest load are all that it needs."""
    whole: tuple[tuple[Burst, ...], float | None] = (), None
    for number, value in enumerate(values):
        if number == at:
            whole = tuple(dataclasses.replace(item) for item in whole[0]), whole[1]
        whole = with_bursts(*whole, 10.0 * number, value, value)
        assert len(whole[0]) <= BURSTS_KEPT
        assert whole[1] is not None or whole[0], "one that lasts is among them"


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
    assert demand.slope(intervals(0, 0, 0, 0, 0, 0, 0, 13)) == 0, "nor is the last sample alone"
    assert demand.slope(intervals(*(3 - 0.1 * at for at in range(9)))) == 0
    assert demand.slope(intervals(1, 2, 3, 4, 5, 6, 7)) == 0, "too few"
    assert demand.slope(intervals(0, 0, 1, 1, 3, 3, 4, 4)) == pytest.approx(1 / 20), "the least growth"


@given(st.floats(0.0, 50.0), st.floats(0.5, 100.0))
def test_a_constant_load_is_its_own_level_and_no_trend(load: float, request_seconds: float) -> None:
    offered = intervals(*([load] * 9))
    assert demand.level(offered, request_seconds) == pytest.approx(load)
    assert demand.slope(offered) == pytest.approx(0, abs=1e-9)


def test_a_burst_counts_before_the_window_is_full_less_two_deviations() -> None:
    """40 requests of half a second in 10 s: 2 replicas, less twice the root of 40 requests."""
    offered = intervals(0, 0, 0, 0, 0, 2.0)
    assert demand.level(offered, 0.5) == pytest.approx((40 - 2 * math.sqrt(40)) * 0.5 / 10)


def track(**fields: Any) -> Track:
    return Track(Sample(time_seconds=0.0, **fields))


def test_requests_in_the_pods_count_by_what_is_left_of_them() -> None:
    """Twenty at the same time were measured: two of 22 running ones wait."""
    assert COST is not None
    tracks = {"a": track(running=22, waiting=3), "b": track(running=4)}
    assert demand.in_progress(tracks, COST) == pytest.approx((5 + 24 / 2) / RATE)


TARGETS = Policy(bounds=Bounds(least=1, most=9), ttft_seconds=3.0, tpot_seconds=0.012)


def histogram(counts: dict[float, int], total: int) -> LatencyHistogram:
    """As a pod sends it: ``counts`` are requests up to each edge."""
    return latency_histogram(list(counts), list(counts.values()), total)


def test_a_request_has_at_least_one_answer_token() -> None:
    """Embeddings and refused answers have none: their cost is of their prompts and one step."""
    one, none = (cost_of(CAPACITY, Mix(30.0, 300.0, tokens)) for tokens in (30.0, 0.0))
    assert one == none
    assert one is not None
    silent = demand.mixed(Mix(30.0, 300.0, 0.0), Mix(0.0, 0.0, 2.0), 10.0)
    assert silent.requests == pytest.approx(30 * math.exp(-10 / 300) + 10 * 2 * 30), "no division by zero"


def summed(offered: tuple[Interval, ...], cold_start_seconds: float, speed: float = 1.0) -> ReplicaNeed:
    """Of a pod with half of its KV cache of 1,000 tokens in use, and four waiting requests."""
    sample = Sample(time_seconds=0.0, running=0, waiting=4, generated_tokens=0.0, kv_cache_usage=0.5)
    pods = (PodLoad(uid="a", sample=sample),)
    capacity = dataclasses.replace(CAPACITY, kv_cache_tokens=1000, trust=0.9)
    at = ScalingInput(replicas=1, pods=pods, capacity=capacity, policy=TARGETS)
    reading = demand.read({}, pods, 0.0)
    state = State(offered=offered, correction=Correction(speed), cold_start_seconds=cold_start_seconds)
    return replica_need(at, state, reading, COST)


def test_waiting_requests_need_their_tokens_in_the_kv_cache() -> None:
    assert summed(intervals(1.0), 60).kv_cache == pytest.approx(0.5 + 4 * 100 / 1000)


def test_growth_at_most_doubles_the_load_and_is_that_of_a_whole_cold_start() -> None:
    steep = summed(intervals(*(0.1 * at for at in range(9))), 600)
    assert steep.growth == steep.offered
    flat = summed(intervals(*(2 + 0.001 * at for at in range(9))), 1200)
    assert flat.growth == pytest.approx(0.0001 * 1200)


@pytest.mark.parametrize(("cold_start", "kept"), [(0.0, 18), (60.0, 18), (1800.0, 180)])
def test_the_trend_is_that_of_a_cold_start_and_of_three_minutes_at_least(
    cold_start: float, kept: int
) -> None:
    assert len(demand.kept(intervals(*[1.0] * 400), cold_start, 4000.0)) == kept


def test_an_unknown_concurrency_needs_no_zero_replicas() -> None:
    capacity = dataclasses.replace(CAPACITY, concurrency=None)
    pods = (PodLoad(uid="a", sample=Sample(time_seconds=0.0, running=900, waiting=45)),)
    at = ScalingInput(replicas=9, pods=pods, capacity=capacity, policy=TARGETS)
    cost = cost_of(capacity, measured_mix(capacity, 30))
    assert replica_need(at, State(), demand.read({}, pods, 0.0), cost).terms == {}


def test_the_requests_of_an_interval_are_the_mean_of_its_ends() -> None:
    law = dataclasses.replace(CAPACITY, gap_seconds=0.05, gap_seconds_per_request=1e-9)
    pods = (PodLoad(uid="a", sample=Sample(time_seconds=10.0, running=8, generated_tokens=9.0)),)
    former = {"a": track(running=4, generated_tokens=0.0)}
    found = demand.read(former, pods, 10.0, cost_of(law, measured_mix(law, 30)))
    assert found.tracks["a"].expected == pytest.approx(10 * 6 / 0.05)


def test_the_cold_start_is_that_of_nine_starts_in_ten() -> None:
    assert State().cold_start_seconds == UNKNOWN_START_SECONDS
    observed = [float(seconds) for seconds in range(1, 11)]
    assert demand.cold_start(observed, 95.0) == 10.0
    assert demand.cold_start([*observed, 900.0], 95.0) == 10.0
    assert demand.cold_start([None], 95.0) == 95.0, "as of the pods before"
    assert demand.cold_start([7 * 86400.0], 95.0) == 3600.0, "the load of a week is not kept"


def test_bursts_of_a_time_to_come_keep_nothing() -> None:
    bursts = (Burst(4900.0, 5000.0, 4.0), Burst(3900.0, 4000.0, 4.0))
    assert len(ended(bursts, 1.0, 5000.0, MEMORY_SECONDS)) == 2
    assert ended(bursts, 1.0, 3000.0, MEMORY_SECONDS) == ()
    assert ended(bursts, 1.0, 5000.0, 0) == (), "burstMemorySeconds: 0 remembers none, not even one just over"


def test_a_burst_counts_by_what_it_surely_fills() -> None:
    """Without the doubt of the measurement. 120 requests in 60 s are 98 at least."""
    assert COST is not None
    level = 120 / RATE / 60
    assert demand.chance(level, COST) == pytest.approx(2 * math.sqrt(120) / RATE / 60)
    doubted = summed(intervals(*[1.0] * 6), 60, speed=0.5)
    assert (doubted.trust, doubted.chance) == (0.45, demand.chance(1.0, COST))
    assert doubted.filled(-doubted.chance) == pytest.approx((1 - doubted.chance) / 0.5)


def test_headroom_is_the_root_of_the_requests_at_the_same_time() -> None:
    """Of 20, 4 are the root of the other 16; of 110, 10 are that of 100."""
    one = ReplicaNeed(offered=1.0, concurrency=20)
    assert one.target == pytest.approx(16 / 20)
    assert ReplicaNeed(offered=0.1, concurrency=110).target == pytest.approx(100 / 110)
    five = dataclasses.replace(one, offered=5.5)
    assert five.target == one.target, "each pod has its own"
    assert dataclasses.replace(one, speed=5.5).target == pytest.approx(100 / 110), "faster ones"
    assert ReplicaNeed(offered=1.0).target == one.target, "not known: 20"


@pytest.mark.parametrize(
    ("ttft", "percentile", "target"),
    [(3.0, 0.95, 0.05**0.2), (2.0, 0.99, 0.4), (30.0, 0.99, 0.8), (0.4, 0.99, 0.8), (None, 0.99, 0.8)],
)
def test_prompts_that_wait_for_each_other_leave_less(
    ttft: float | None, percentile: float, target: float
) -> None:
    """Prompts of half a second, which are all of a request's work. Five others fit into 3 s, and three into
    2 s: 0.01 ** (1 / 3) is below half of the usual target. A prompt that is late by itself is no matter of
    replicas."""
    capacity = dataclasses.replace(CAPACITY, input_tokens=500, prefill_tokens_per_second=1000.0)
    policy = dataclasses.replace(TARGETS, ttft_seconds=ttft, percentile=percentile)
    at = ScalingInput(replicas=1, pods=(), capacity=capacity, policy=policy)
    cost = cost_of(capacity, measured_mix(capacity, 30))
    assert cost is not None
    assert cost.prompt_seconds == cost.request_seconds == 0.5
    found = replica_need(at, State(offered=intervals(1.0)), demand.read({}, (), 0.0), cost)
    assert found.target == pytest.approx(target)
