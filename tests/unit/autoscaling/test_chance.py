"""How much of a count is left to chance: less where looks scatter less than requests by chance do."""

from __future__ import annotations

import math
from random import Random

import pytest
from hypothesis import given, strategies as st

from tacho_operator.core.autoscaling.algorithm.chance import LEAST_BENDS, deviation, scatter
from tacho_operator.core.autoscaling.algorithm.leap import sure_work
from tacho_operator.core.autoscaling.algorithm.types import Look
from tests.unit.autoscaling.fleet import CAPACITY, RATE

LENGTH = 10.0


def looks_of(values: list[float]) -> list[Look]:
    """The newest first."""
    return [Look(LENGTH, value) for value in values]


@given(st.floats(0, 100), st.floats(-1, 1))
def test_a_line_has_no_scatter_and_a_few_looks_tell_none(level: float, slope: float) -> None:
    line = [level + slope * number for number in range(LEAST_BENDS + 2)]
    assert scatter(looks_of(line)) == pytest.approx(0, abs=1e-9)
    assert scatter(looks_of(line[1:])) is None


def test_one_leap_in_even_looks_is_no_scatter() -> None:
    assert scatter(looks_of([6.0] * 2 + [1.0] * 9)) == 0.0


def test_looks_of_unlike_lengths_are_on_no_line() -> None:
    assert scatter([Look(10.0 if number % 2 else 2.0, 1.0) for number in range(18)]) is None


def test_even_requests_are_sure_at_the_look_that_counts_them() -> None:
    assert sure_work(looks_of([2.0] + [1.0] * 12), CAPACITY) == pytest.approx(2.0)
    assert sure_work(looks_of([2.0] + [1.0] * 3), CAPACITY) == pytest.approx((40 - 3 * 40**0.5) / 20)


def test_an_even_rise_is_told_to_its_end_and_a_leap_is_not_prolonged() -> None:
    rise = [1.0 + 0.1 * number for number in range(12)]
    assert sure_work(looks_of(rise[::-1]), CAPACITY) == pytest.approx(2.15)
    assert sure_work(looks_of([3.0, *[1.0] * 12]), CAPACITY) == pytest.approx(3.0)
    assert sure_work(looks_of([3.0, 3.0, *[1.0] * 12]), CAPACITY) == pytest.approx(3.0)


def test_looks_of_unlike_lengths_prolong_no_rise() -> None:
    """A short one before the last tells of another time than half of the last one's."""
    rise = [Look(10.0, 1.4), Look(4.0, 1.2), Look(10.0, 1.0), *[Look(10.0, 1.0)] * 10]
    assert sure_work(rise, CAPACITY) == pytest.approx(1.4)


@pytest.mark.parametrize("requests", [0.05, 0.3, 0.5, 2, 3, 5, 20, 150])
def test_requests_that_come_by_chance_are_hardly_ever_taken_for_even_ones(requests: float) -> None:
    rng = Random(int(requests) or 3)
    counts = [_drawn(rng, requests) for _ in range(3000)]
    taken = 0
    for begin in range(len(counts) - 18):
        looks = looks_of([count / LENGTH / RATE for count in counts[begin : begin + 18]])
        taken += counts[begin] > 0 and deviation(counts[begin], looks, RATE) < math.sqrt(counts[begin])
    assert taken / sum(count > 0 for count in counts) < 0.02


@pytest.mark.parametrize("requests", [1, 2, 5])
def test_a_few_requests_after_silence_prove_nothing(requests: int) -> None:
    silence = looks_of([requests / LENGTH / RATE] + [0.0] * 17)
    assert deviation(requests, silence, RATE) == math.sqrt(requests)
    assert sure_work(silence, CAPACITY) == 0.0


def _drawn(rng: Random, mean: float) -> int:
    count, at = 0, rng.expovariate(1.0)
    while at < mean:
        count, at = count + 1, at + rng.expovariate(1.0)
    return count
