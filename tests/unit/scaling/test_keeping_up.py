"""Replicas keep up with a need that rises, and go with one that falls: how late at most."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from random import Random

import pytest
from hypothesis import given, settings, strategies as st

from tacho_operator.core.scaling.law.need import UP
from tacho_operator.core.scaling.law.types import Bounds, Policy
from tests.scaling_bounds import Allowed, Moment, need_of, violations

from .fleet import PERIOD_SECONDS, RATE, Fleet

LOOKS = 5
"""After a start, in which a need is met: it must be seen to rise before it is followed."""
SMOOTHED_SECONDS = 40.0
"""After a window, in which what a fall leaves behind is forgotten."""
WIDE = Policy(bounds=Bounds(least=1, most=200))


def followed(fleet: Fleet, demand: Callable[[float], float], seconds: float) -> list[Moment]:
    """``demand`` in replicas, by the seconds since now."""
    begun = fleet.now
    moments = []
    while fleet.now < begun + seconds:
        fleet.serve(demand(fleet.now - begun) * RATE)
        fleet.look()
        at = fleet.now - begun
        moments.append(Moment(time_s=at, replicas=fleet.wanted, ready=len(fleet.ready), arrivals=1))
    return moments


def late(moments: list[Moment], demand: Callable[[float], float], seconds: float) -> list[str]:
    """Where a need of ``seconds`` was not met."""
    allowed = Allowed(rise_seconds=seconds, fall_seconds=1e6, at_once=1e6, spare=1000)
    return violations(moments, lambda time: need_of(demand(time), 1.0, UP), allowed)


@given(st.floats(-3.3, -1.0), st.sampled_from([30.0, 60.0, 90.0, 300.0, 600.0]))
@settings(max_examples=12, deadline=None)
def test_a_ramp_is_met_a_start_and_five_looks_after_it_was_needed(power: float, start: float) -> None:
    """From one replica more in half an hour to one in ten seconds."""
    fleet = Fleet(WIDE, replicas=2, start_seconds=start)
    followed(fleet, lambda _: 1.0, 600)
    moments = followed(fleet, ramp := lambda time: 1.0 + min(15.0, time * 10**power), 2400)
    assert late(moments, ramp, start + LOOKS * PERIOD_SECONDS) == []


@pytest.mark.parametrize("start", [60.0, 300.0, 600.0])
def test_a_slow_ramp_is_met_before_a_start_would_have_met_it(start: float) -> None:
    """A replica more in a quarter of an hour is seen to come early enough."""
    fleet = Fleet(WIDE, replicas=2, start_seconds=start)
    followed(fleet, lambda _: 1.0, 600)
    moments = followed(fleet, ramp := lambda time: 1.0 + time / 900, 7200)
    assert late(moments, ramp, max(30.0, 0.9 * start)) == []


@pytest.mark.parametrize(("before", "after"), [(1, 2.0), (2, 4.0), (4, 6.0), (8, 12.0)])
def test_a_leap_of_no_more_than_a_doubling_is_met_a_start_and_two_looks_later(
    before: int, after: float
) -> None:
    fleet = Fleet(WIDE, replicas=before + 1)
    followed(fleet, lambda _: 0.7 * before, 600)
    moments = followed(fleet, leap := lambda time: after * UP if time > PERIOD_SECONDS else 0.7 * before, 300)
    assert late(moments, leap, fleet.start_seconds + 2 * PERIOD_SECONDS) == []


@pytest.mark.parametrize("replicas", [4, 8, 16])
def test_a_fall_is_followed_a_window_later_and_not_a_window_and_what_is_smoothed(replicas: int) -> None:
    fleet = Fleet(WIDE, replicas=replicas)
    followed(fleet, lambda _: 0.7 * replicas, 900)
    kept = fleet.wanted
    moments = followed(fleet, lambda _: 0.3, 300 + SMOOTHED_SECONDS)
    assert moments[-1].replicas == kept - max(1, kept // 4), "a quarter in a window"


@pytest.mark.parametrize(("full", "seed"), [(0.3, 0), (0.7, 0), (0.75, 1), (0.9, 0)])
def test_requests_that_come_by_chance_move_one_replica_now_and_then(full: float, seed: int) -> None:
    """Three hours of a constant demand."""
    rng = Random(seed)
    fleet = Fleet(WIDE, replicas=10)
    for _ in range(1080):
        arrivals = itertools.accumulate(iter(lambda: rng.expovariate(10 * full * RATE), None))
        fleet.serve(sum(1 for _ in itertools.takewhile(lambda end: end < 10.0, arrivals)) / 10.0)
        fleet.look()
    settled = fleet.sizes[360:]
    assert max(settled) - min(settled) <= 1
    steps = [after - before for before, after in itertools.pairwise(settled) if after != before]
    assert len(steps) <= 4, "in two hours"
