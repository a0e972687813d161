"""Throughput with prompts set apart, against loops whose rate is known."""

from __future__ import annotations

import math
from random import Random

import pytest
from hypothesis import given, strategies as st

from tacho_runtime.probe.rates import MAX_SEGMENTS, MIN_SEGMENTS, Segment, find_segments, loop_rate

PROMPT_SECONDS, TOKEN_SECONDS, LENGTH = 0.4, 0.004, 64
RATE = LENGTH / (PROMPT_SECONDS + LENGTH * TOKEN_SECONDS)


def drawn(count: int, rng: Random, *, noise: float = 0.0) -> list[Segment]:
    """A quarter of a second of tokens each, and in some a prompt."""
    found = []
    for _ in range(count):
        prompts, running = rng.randint(0, 1), 0.25 * (1 + rng.gauss(0, noise))
        found.append(Segment(0.25 + prompts * PROMPT_SECONDS, running / TOKEN_SECONDS, prompts))
    return found


def test_segments_end_with_steps_and_hold_what_came_between() -> None:
    bins = [0.0, 2, 0, 2, 0, 2, 0, 0, 3, 0, 3, 0, 3] * 4
    started = [0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0] * 4
    found = find_segments(bins, started, 0.5, 1.0)
    assert found[:3] == [Segment(1.0, 2.0, 0), Segment(2.5, 5.0, 1), Segment(1.0, 3.0, 0)]
    assert find_segments([0.0] * 10, [0] * 10, 0.5, 1.0) == []
    assert find_segments(bins, (), 0.5, 1.0) == []


def test_no_segment_ends_before_a_first_token_that_comes_after_its_step() -> None:
    """A client that had to wait for a CPU saw it a hundredth of a second later than the other streams did."""
    each = [3.0, 0, 3, 0, 3, 0, 3, 0, 0, 0, 0, 0, 0, 3, 1, 0, 4, 0]
    started = [0] * 14 + [1] + [0] * 3
    found = find_segments(each * 20, started * 20, 0.01, 0.02)
    late = [one for one in found if one.prompts]
    assert len(late) >= 15
    assert all(one.seconds > 0.07 for one in late)


def test_very_many_are_joined() -> None:
    found = find_segments([3.0] * 1000, [1] * 1000, 0.01, 0.02)
    assert MAX_SEGMENTS / 2 < len(found) <= MAX_SEGMENTS
    assert all(one.prompts == found[0].prompts for one in found)


def test_a_rate_is_that_of_requests_of_the_length_asked_for() -> None:
    """However many prompts the window happened to hold."""
    for seed in range(20):
        found = loop_rate(drawn(12, Random(seed)), LENGTH)
        assert found is not None
        assert found.tokens_per_second == pytest.approx(RATE)
        assert found.ci_percent == pytest.approx(0, abs=1e-5)


@pytest.mark.parametrize("count", [8, 12, 30])
def test_intervals_hold_the_truth(count: int) -> None:
    held, known = 0, []
    for seed in range(400):
        found = loop_rate(drawn(count, Random(seed), noise=0.1), LENGTH)
        assert found is not None
        held += abs(found.tokens_per_second / RATE - 1) <= found.ci_percent / 100
        known.append(found.ci_percent)
    assert held / 400 >= 0.9
    assert sorted(known)[200] < 15


def test_neighbours_that_are_slow_together_count_for_fewer() -> None:
    slow = [Segment(one.seconds, one.tokens * (1.2 if place < 15 else 0.8), one.prompts) for place, one in
            enumerate(drawn(30, Random(2)))]  # fmt: skip
    mixed = [one for pair in zip(slow[:15], slow[15:], strict=True) for one in pair]
    together, apart = loop_rate(slow, LENGTH), loop_rate(mixed, LENGTH)
    assert together is not None
    assert apart is not None
    assert together.ci_percent > 1.5 * apart.ci_percent


def test_equal_segments_are_their_ratio() -> None:
    found = loop_rate([Segment(0.5, 50.0, 1)] * 8, 80)
    assert found is not None
    assert (found.tokens_per_second, found.ci_percent) == (pytest.approx(100), pytest.approx(0))


def test_few_or_empty_segments_tell_nothing() -> None:
    assert loop_rate(drawn(MIN_SEGMENTS - 1, Random(3)), LENGTH) is None
    assert loop_rate([Segment(1.0, 0.0, 1)] * 9, LENGTH) is None


@given(
    st.lists(st.builds(Segment, st.floats(0.001, 100), st.floats(0, 1e5), st.integers(0, 500)), max_size=50),
    st.floats(1, 1e5),
)
def test_whatever_segments_there_are_a_rate_is_a_number(found: list[Segment], length: float) -> None:
    rate = loop_rate(found, length)
    if rate is not None:
        assert 0 < rate.tokens_per_second < math.inf
        assert rate.ci_percent >= 0
        assert not math.isnan(rate.ci_percent)


def test_a_step_is_the_least_that_is_not_known() -> None:
    exact = [Segment(0.5, 50.0, 1)] * 8
    found = loop_rate(exact, 80, step_seconds=0.15)
    assert found is not None
    assert found.ci_percent == pytest.approx(100 * 0.15 / 4)
    wide, floored = (loop_rate(drawn(8, Random(4), noise=0.2), LENGTH, step_seconds=s) for s in (0.0, 0.01))
    assert wide == floored
