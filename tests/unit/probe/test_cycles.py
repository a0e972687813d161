"""Throughput from whole cycles, against loops whose rate is known."""

from __future__ import annotations

import math
from random import Random

import pytest
from hypothesis import given, strategies as st

from tacho_runtime.probe.rates import MAX_CYCLES, MIN_CYCLES, Cycle, cycle_rate, find_cycles

PROMPT_SECONDS, TOKEN_SECONDS, LENGTH = 0.4, 0.004, 64
RATE = LENGTH / (PROMPT_SECONDS + LENGTH * TOKEN_SECONDS)


def drawn(count: int, rng: Random, *, noise: float = 0.0) -> list[Cycle]:
    found = []
    for _ in range(count):
        tokens = rng.randint(20, 110)
        seconds = (PROMPT_SECONDS + tokens * TOKEN_SECONDS) * (1 + rng.gauss(0, noise))
        found.append(Cycle(seconds, tokens, 1))
    return found


def test_cycles_end_with_first_tokens_and_hold_what_came_between() -> None:
    bins = [5.0, 1, 0, 0, 4, 1, 2, 0, 3, 9]
    started = [0, 1, 0, 0, 0, 1, 0, 0, 2, 0]
    assert find_cycles(bins, started, 0.5) == [Cycle(2.0, 5.0, 1), Cycle(1.5, 5.0, 2)]
    assert find_cycles(bins, [0] * 10, 0.5) == []
    assert find_cycles(bins, (), 0.5) == []
    assert find_cycles(bins, [1] + [0] * 9, 0.5) == []


def test_very_many_are_joined() -> None:
    found = find_cycles([3.0] * 1000, [1] * 1000, 0.01)
    assert MAX_CYCLES / 2 < len(found) <= MAX_CYCLES
    assert all(one.prompts == found[0].prompts for one in found)


def test_a_rate_is_that_of_requests_of_the_length_asked_for() -> None:
    """Whatever the tokens between two first ones happened to be."""
    found = cycle_rate(drawn(8, Random(1)), LENGTH)
    assert found is not None
    assert found.tokens_per_second == pytest.approx(RATE)
    assert found.ci_percent == pytest.approx(0, abs=1e-5)


@pytest.mark.parametrize("count", [5, 8, 30])
def test_intervals_hold_the_truth(count: int) -> None:
    held = 0
    for seed in range(400):
        found = cycle_rate(drawn(count, Random(seed), noise=0.1), LENGTH)
        assert found is not None
        held += abs(found.tokens_per_second / RATE - 1) <= found.ci_percent / 100
    assert 0.9 <= held / 400 <= 0.995


def test_neighbours_that_are_slow_together_count_for_fewer() -> None:
    slow = [Cycle(one.seconds * (1.2 if place < 15 else 0.8), one.tokens, 1) for place, one in
            enumerate(drawn(30, Random(2)))]  # fmt: skip
    mixed = [one for pair in zip(slow[:15], slow[15:], strict=True) for one in pair]
    together, apart = cycle_rate(slow, LENGTH), cycle_rate(mixed, LENGTH)
    assert together is not None
    assert apart is not None
    assert together.ci_percent > 1.5 * apart.ci_percent


def test_equal_cycles_are_their_ratio() -> None:
    found = cycle_rate([Cycle(0.5, 50.0, 1)] * 6, 80)
    assert found is not None
    assert (found.tokens_per_second, found.ci_percent) == (pytest.approx(100), pytest.approx(0))


def test_few_or_empty_cycles_tell_nothing() -> None:
    assert cycle_rate(drawn(MIN_CYCLES - 1, Random(3)), LENGTH) is None
    assert cycle_rate([Cycle(1.0, 0.0, 1)] * 9, LENGTH) is None


@given(
    st.lists(st.builds(Cycle, st.floats(0.001, 100), st.floats(0, 1e5), st.integers(1, 500)), max_size=50),
    st.floats(1, 1e5),
)
def test_whatever_cycles_there_are_a_rate_is_a_number(found: list[Cycle], length: float) -> None:
    rate = cycle_rate(found, length)
    if rate is not None:
        assert 0 < rate.tokens_per_second < math.inf
        assert rate.ci_percent >= 0
        assert not math.isnan(rate.ci_percent)


def test_a_step_is_the_least_that_is_not_known() -> None:
    exact = [Cycle(0.5, 50.0, 1)] * 6
    found = cycle_rate(exact, 80, step_seconds=0.15)
    assert found is not None
    assert found.ci_percent == pytest.approx(100 * 0.15 / 3)
    wide, floored = (cycle_rate(drawn(8, Random(4), noise=0.2), LENGTH, step_seconds=s) for s in (0.0, 0.01))
    assert wide == floored
