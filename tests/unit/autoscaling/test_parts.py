"""The small sums: paces, windows, trends, starts."""

from __future__ import annotations

import dataclasses

import pytest

from tacho_operator.core.autoscaling.algorithm.behavior import down_window, least, most, with_high, with_low
from tacho_operator.core.autoscaling.algorithm.coldstart import (
    UNKNOWN_SECONDS,
    cold_start_seconds,
    with_starts,
)
from tacho_operator.core.autoscaling.algorithm.demand import read
from tacho_operator.core.autoscaling.algorithm.trend import (
    horizon_seconds,
    looked_back_seconds,
    remembered,
    rise,
)
from tacho_operator.core.autoscaling.algorithm.types import (
    Change,
    Pace,
    PodLoad,
    Point,
    Rules,
    Sample,
    Select,
    Track,
)
from tests.unit.autoscaling.fleet import CAPACITY, RATE

TWO_AND_HALF = (
    Pace(kind="Pods", value=2, period_seconds=60),
    Pace(kind="Percent", value=50, period_seconds=60),
)


@pytest.mark.parametrize(
    ("select", "grown", "shrunk"), [("Max", 15, 5), ("Min", 12, 8), ("Disabled", 10, 10)]
)
def test_which_of_several_paces_counts(select: Select, grown: int, shrunk: int) -> None:
    rules = Rules(select=select, paces=TWO_AND_HALF)
    assert most(rules, 10, (), 0.0) == grown
    assert least(rules, 10, (), 0.0, 300) == shrunk


def test_what_changed_within_the_period_counts_towards_it() -> None:
    rules = Rules(paces=(Pace(kind="Pods", value=4, period_seconds=60),))
    grew = (Change(time_seconds=0.0, before=6, after=9),)
    assert most(rules, 9, grew, 59.0) == 10
    assert most(rules, 9, grew, 60.0) == 13
    shrank = (Change(time_seconds=0.0, before=9, after=6),)
    assert least(rules, 6, shrank, 59.0, 300) == 5


def test_a_look_that_comes_milliseconds_early_is_not_too_early_for_the_pace() -> None:
    rules = Rules(paces=(Pace(kind="Pods", value=1, period_seconds=4),))
    fell, grew = Change(time_seconds=8.07, before=5, after=4), Change(time_seconds=8.07, before=4, after=5)
    assert [least(rules, 4, (fell,), now, 300) for now in (10.05, 12.04)] == [4, 3]
    assert [most(rules, 5, (grew,), now) for now in (10.05, 12.04)] == [5, 6]


def test_what_was_given_up_too_early_is_kept_longer_the_next_time() -> None:
    up, down = (Change(time_seconds=at, before=b, after=a) for at, b, a in ((900.0, 3, 6), (600.0, 6, 3)))
    once = (up, down)
    assert down_window(Rules(), 60.0, (down, up), 1000.0) == 300, "first more, then fewer: nothing to regret"
    assert down_window(Rules(), 60.0, once, 1000.0) == 600
    assert down_window(Rules(), 60.0, once * 2, 1000.0) == 1200
    assert down_window(Rules(), 60.0, once * 9, 1000.0) == 1800
    assert down_window(Rules(), 1200.0, once, 1000.0) == 1200, "half a start, and as much again"
    assert down_window(Rules(), 4000.0, once, 1000.0) == 2000, "half a start is not cut short"
    assert down_window(Rules(), 60.0, once, 4600.0) == 300, "that is long ago"
    assert down_window(Rules(window_seconds=60.0), 60.0, once, 1000.0) == 60, "a person said so"


def test_what_quota_or_bounds_moved_was_not_given_up_too_early() -> None:
    up, down = (Change(time_seconds=at, before=b, after=a) for at, b, a in ((900.0, 3, 6), (600.0, 6, 3)))
    refused = dataclasses.replace(down, cause="Quota")
    assert down_window(Rules(), 60.0, (up, refused) * 6, 1000.0) == 300
    scheduled = dataclasses.replace(up, cause="Bounds")
    assert down_window(Rules(), 60.0, (scheduled, down) * 3, 1000.0) == 300
    assert down_window(Rules(), 60.0, (up, refused, up, down), 1000.0) == 600


def test_a_quarter_goes_in_a_window_or_one() -> None:
    assert [least(Rules(), count, (), 0.0, 300) for count in (16, 9, 4, 3, 2)] == [12, 6, 3, 2, 1]
    went = (Change(time_seconds=0.0, before=16, after=12),)
    assert least(Rules(), 12, went, 299.0, 300) == 12
    assert least(Rules(), 12, went, 300.0, 300) == 9


def test_windows_keep_what_decides_and_no_more() -> None:
    low = high = ()
    for now, value in enumerate([3.0, 5.0, 4.0, 4.0, 2.0, 6.0, 1.0]):
        low = with_low(low, Point(now, value), 3)
        high = with_high(high, Point(now, value), 3)
    assert low[0] == Point(6, 1.0)
    assert high == (Point(5, 6.0), Point(6, 1.0))


def test_a_rise_is_told_from_noise() -> None:
    steady = rising = ()
    for index in range(40):
        wild = 3.0 if index % 7 == 3 else 1.0 + 0.1 * (index % 3)
        steady = remembered(steady, Point(index * 10.0, wild), 180.0)
        rising = remembered(rising, Point(index * 10.0, 1.0 + index * 0.1), 180.0)
    assert rise(steady) <= 1e-3
    assert rise(rising) == pytest.approx(0.01)
    assert rise(rising[-3:]) == 0.0


def test_nine_starts_in_ten() -> None:
    assert cold_start_seconds((), None) == UNKNOWN_SECONDS
    assert cold_start_seconds((), 95.0) == 95.0
    pods = [PodLoad(uid=str(index), start_seconds=float(index)) for index in range(1, 11)]
    starts = with_starts((), pods)
    assert cold_start_seconds(starts, 95.0) == 10.0
    assert with_starts(starts, pods) == starts
    assert (
        len(with_starts(starts, [PodLoad(uid=f"x{index}", start_seconds=1.0) for index in range(15)])) == 20
    )


@pytest.mark.parametrize(("running", "waiting"), [(32, 0), (20, 12), (32, None)])
def test_a_first_token_is_none_of_those_after_it(running: int, waiting: int | None) -> None:
    """50 requests/s for ten seconds, each 0.6 s before its first token and four more of 10 ms."""
    before = Sample(
        time_seconds=0.0,
        running=running,
        waiting=waiting,
        generated_tokens=0.0,
        first_tokens=0.0,
        first_token_seconds=0.0,
    )
    after = dataclasses.replace(
        before, time_seconds=10.0, generated_tokens=2500.0, first_tokens=500.0, first_token_seconds=300.0
    )
    found = read({"a": Track(before)}, [PodLoad(uid="a", sample=after)], CAPACITY, 10.0)
    assert found.tpot_seconds == pytest.approx(0.01)
    assert found.ttft_seconds == pytest.approx(0.6)


def test_answers_of_one_token_have_no_time_of_a_token() -> None:
    before = Sample(
        time_seconds=0.0, running=5, generated_tokens=0.0, first_tokens=0.0, first_token_seconds=0.0
    )
    after = dataclasses.replace(
        before, time_seconds=10.0, generated_tokens=50.0, first_tokens=50.0, first_token_seconds=50.0
    )
    assert read({"a": Track(before)}, [PodLoad(uid="a", sample=after)], CAPACITY, 10.0).tpot_seconds is None


def test_requests_that_began_are_counted_by_their_answers_and_crowded_ones_are_not() -> None:
    """Ten at once were measured; a pod that is seen for the first time has begun nothing."""
    before = {uid: Track(Sample(time_seconds=0.0, running=count)) for uid, count in (("a", 4), ("b", 9))}
    after = {"a": 7, "b": 14, "c": 10}
    pods = [PodLoad(uid=uid, sample=Sample(time_seconds=10.0, running=n)) for uid, n in after.items()]
    found = read(before, pods, CAPACITY, 10.0)
    assert (found.begun, found.crowded) == (pytest.approx((3 + 1) / RATE), 4)
    gone = [PodLoad(uid="a", sample=Sample(time_seconds=10.0, running=1))]
    assert read(before, gone, CAPACITY, 10.0).begun == pytest.approx(-3 / RATE)
    unknown = [PodLoad(uid="a", sample=Sample(time_seconds=10.0, generated_tokens=1.0))]
    assert read(before, unknown, CAPACITY, 10.0).begun == 0.0


def test_what_runs_at_the_others_because_a_pod_has_gone_has_not_begun() -> None:
    """One that does not answer is there all the same."""
    before = {uid: Track(Sample(time_seconds=0.0, running=count)) for uid, count in (("a", 2), ("b", 3))}

    def begun(running: int, *more: PodLoad) -> float:
        sample = Sample(time_seconds=10.0, running=running)
        return read(before, [PodLoad(uid="a", sample=sample), *more], CAPACITY, 10.0).begun * RATE

    assert [round(begun(running), 6) for running in (1, 2, 5, 6)] == [-1, 0, 0, 1]
    assert begun(5, PodLoad(uid="b", sample=None)) == pytest.approx(3)


@pytest.mark.parametrize(
    ("start", "ahead", "back"), [(20.0, 20, 180), (90.0, 90, 180), (400.0, 400, 400), (3600.0, 600, 600)]
)
def test_a_rise_is_followed_as_far_as_a_start_takes_and_looked_for_as_far_back(
    start: float, ahead: float, back: float
) -> None:
    assert (horizon_seconds(start), looked_back_seconds(start)) == (ahead, back)
