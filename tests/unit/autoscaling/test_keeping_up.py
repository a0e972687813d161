"""Replicas keep up with a need that rises, and go with one that falls: how late at most."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from random import Random

import pytest
from hypothesis import example, given, strategies as st

from benchmarks.autoscaling.bounds import need_of
from tacho_operator.core.autoscaling.algorithm.tuning import RATE_SECONDS
from tacho_operator.core.autoscaling.algorithm.types import Bounds, Policy
from tests.properties import examples
from tests.unit.autoscaling.fleet import PERIOD_SECONDS, RATE, TARGET, Fleet

GRID_SECONDS = 1.0
"""Needs are looked for at each of these."""
WHOLE = 1.0 / (RATE * PERIOD_SECONDS)
"""Replicas that one request in a look fills: what waits is counted in whole ones."""
SMOOTHED_SECONDS = RATE_SECONDS
"""After a window, in which what a fall leaves behind is forgotten."""
WIDE = Policy(bounds=Bounds(least=1, most=200))


def followed(
    fleet: Fleet,
    demand: Callable[[float], float],
    seconds: float,
    counted: Callable[[], int] | None = None,
) -> list[tuple[float, int]]:
    """Replicas that are asked for at each look, or what is ``counted`` then. ``demand`` in replicas, by the
    seconds since now: between two looks its mean is served."""
    begun = fleet.now
    found = []
    while fleet.now < begun + seconds:
        at = fleet.now - begun
        parts = [demand(at + PERIOD_SECONDS * (part + 0.5) / 20) for part in range(20)]
        fleet.serve(sum(parts) / 20 * RATE)
        fleet.look()
        found.append((fleet.now - begun, counted() if counted else fleet.wanted))
    return found


def latest(found: list[tuple[float, int]], demand: Callable[[float], float]) -> float:
    """The longest time (seconds) that a need lasted before so many were asked for, of a demand that does not
    fall."""
    longest = time = 0.0
    while time < found[-1][0] - 60:
        need = need_of(demand(time), 1.0, TARGET)
        longest = max(longest, next(when for when, size in found if when >= time and size >= need) - time)
        time += GRID_SECONDS
    return longest


def even(replicas: int, start_seconds: float) -> Fleet:
    """Whose load is as even as water: what scatters in it is nothing but requests that are whole."""
    fleet = Fleet(WIDE, replicas=replicas, start_seconds=start_seconds, tells_running=False)
    followed(fleet, lambda _: 1.0, 600)
    return fleet


@given(
    st.floats(-3.3, -1.0),
    st.floats(0, PERIOD_SECONDS),
    st.sampled_from([30.0, 60.0, 90.0, 300.0, 600.0]),
)
@example(-1.75, 2.0, 60.0)
@example(-1.8315159223592044, 8.0, 600.0)
@example(-1.4155263336651185, 1.7237973974376408, 60.0)
@example(-1.1534785119845337, 4.216983544767443, 30.0)
@examples(0.12)
def test_an_even_ramp_is_requested_within_the_window_of_the_load(
    power: float, bend: float, start: float
) -> None:
    """From one replica more in half an hour to one in ten seconds."""
    fleet = even(2, start)
    found = followed(fleet, ramp := lambda time: 1.0 + min(15.0, max(0.0, time - bend) * 10**power), 900)
    assert latest(found, ramp) <= RATE_SECONDS


@pytest.mark.parametrize("start", [60.0, 300.0, 600.0])
def test_a_slow_ramp_is_met_before_a_start_would_have_met_it(start: float) -> None:
    """A replica more in a quarter of an hour is seen to come early enough."""
    fleet = Fleet(WIDE, replicas=2, start_seconds=start)
    followed(fleet, lambda _: 1.0, 600)
    ready = followed(
        fleet, ramp := lambda time: 1.0 + min(time, 6000.0) / 900, 7200, counted=lambda: len(fleet.ready)
    )
    assert latest(ready, ramp) <= max(30.0, 0.9 * start)


@given(st.floats(0, PERIOD_SECONDS), st.floats(0.1, 30.0))
@example(0.0, 22.203125)
@examples(0.12)
def test_an_even_step_is_requested_when_it_fills_the_window_of_the_load(at: float, step: float) -> None:
    """The scaling policies add a period."""
    fleet = even(2, 90.0)
    found = followed(fleet, rise := lambda time: 1.0 + (step if time >= 130 + at else 0.0), 300)
    assert latest(found, lambda time: rise(time) - WHOLE) <= RATE_SECONDS + PERIOD_SECONDS


@pytest.mark.parametrize("power", [-2.4, -1.8, -1.2])
@pytest.mark.parametrize("start", [30.0, 90.0, 600.0])
def test_a_ramp_whose_running_requests_are_counted_is_requested_within_the_window(
    power: float, start: float
) -> None:
    fleet = Fleet(WIDE, replicas=2, start_seconds=start)
    followed(fleet, lambda _: 1.0, 600)
    found = followed(fleet, ramp := lambda time: 1.0 + min(15.0, time * 10**power), 600)
    assert latest(found, ramp) <= RATE_SECONDS


@pytest.mark.parametrize("replicas", [4, 8, 16])
def test_a_fall_is_followed_after_the_window_and_that_of_the_load(replicas: int) -> None:
    fleet = Fleet(WIDE, replicas=replicas)
    followed(fleet, lambda _: 0.7 * replicas, 900)
    found = followed(fleet, lambda _: 0.3, 300 + SMOOTHED_SECONDS)
    assert found[-1][1] == 1


@pytest.mark.parametrize(("full", "seed"), [(0.3, 0), (0.7, 0), (0.75, 1), (0.9, 0)])
def test_random_arrivals_of_a_constant_rate_move_two_replicas_at_most(full: float, seed: int) -> None:
    """Three hours of a constant demand."""
    rng = Random(seed)
    fleet = Fleet(WIDE, replicas=10)
    for _ in range(1080):
        arrivals = itertools.accumulate(iter(lambda: rng.expovariate(10 * full * RATE), None))
        fleet.serve(sum(1 for _ in itertools.takewhile(lambda end: end < 10.0, arrivals)) / 10.0)
        fleet.look()
    settled = fleet.sizes[360:]
    assert max(settled) - min(settled) <= 2
    steps = [after - before for before, after in itertools.pairwise(settled) if after != before]
    assert len(steps) <= 24, "in two hours"
