"""How long answers are asked to be, and when requests are sent."""

from __future__ import annotations

import itertools
from random import Random

import pytest
from hypothesis import given, strategies as st

from tacho_runtime.probe.load.job import OutputLengths, poisson_times, residual_lives


@given(st.integers(1, 4000), st.floats(0, 0.5), st.integers())
def test_lengths_lie_around_their_mean_and_keep_it(mean: int, spread: float, seed: int) -> None:
    lengths = OutputLengths(mean, spread, Random(seed))
    drawn = [lengths.draw() for _ in range(40)]
    assert sum(drawn) == 40 * mean
    assert all(length >= 1 and abs(length - mean) <= mean * spread for length in drawn)


def test_lengths_are_spread_over_the_whole_range() -> None:
    lengths = OutputLengths(100, 0.25, Random(1))
    drawn = [lengths.draw() for _ in range(4000)]
    assert (min(drawn), max(drawn)) == (75, 125)


@given(st.integers(1, 300), st.integers(2, 1000), st.floats(0, 0.5), st.integers())
def test_residual_lives_are_possible_lengths(count: int, mean: int, spread: float, seed: int) -> None:
    lives = residual_lives(count, mean, spread, Random(seed))
    assert len(lives) == count
    assert all(1 <= life <= mean * (1 + spread) + 1 for life in lives)


@pytest.mark.parametrize("spread", [0.0, 0.25, 0.5])
def test_residual_lives_are_what_is_left_at_a_random_moment(spread: float) -> None:
    """Answers one after the other for a long time, and where a random moment finds them."""
    rng = Random(7)
    lengths = OutputLengths(200, spread, rng)
    ends = list(itertools.accumulate(lengths.draw() for _ in range(20_000)))
    left = []
    for _ in range(20_000):
        moment = rng.uniform(0, ends[-1])
        left.append(ends[_first_above(ends, moment)] - moment)
    lives = residual_lives(20_000, 200, spread, rng)
    for share in (0.1, 0.5, 0.9, 0.99):
        at = int(share * 20_000)
        assert sorted(lives)[at] == pytest.approx(sorted(left)[at], abs=5)


def _first_above(ends: list[int], moment: float) -> int:
    low, high = 0, len(ends) - 1
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if ends[middle] > moment else (middle + 1, high)
    return low


def test_poisson_times_have_their_rate_and_their_scatter() -> None:
    times = poisson_times(50, 200, Random(3))
    gaps = [later - earlier for earlier, later in itertools.pairwise(times)]
    mean = sum(gaps) / len(gaps)
    assert mean == pytest.approx(0.02, rel=0.05)
    assert sum((gap - mean) ** 2 for gap in gaps) / len(gaps) == pytest.approx(mean**2, rel=0.1)
    assert times == sorted(times)
    assert times[-1] < 200
