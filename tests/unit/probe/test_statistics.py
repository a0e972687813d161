from __future__ import annotations

import math
import statistics as reference
from random import Random

import pytest
from hypothesis import given, strategies as st

from tacho_runtime.probe.statistics import (
    batch_means_percent,
    batches,
    drifts,
    least_squares,
    median,
    most_over,
    percentile,
    percentile_if_enough,
    ratio_interval_percent,
    samples_for,
    t_975,
    wilson_lower,
)

values = st.lists(st.floats(min_value=-1e6, max_value=1e6), min_size=1, max_size=50)


@given(values, st.floats(min_value=0, max_value=100))
def test_a_percentile_lies_within_and_grows_with_the_percent(numbers: list[float], percent: float) -> None:
    value = percentile(numbers, percent)
    assert min(numbers) <= value <= max(numbers)
    assert percentile(numbers, 0) <= value <= percentile(numbers, 100)


@given(values)
def test_the_median_is_the_median(numbers: list[float]) -> None:
    assert median(numbers) == pytest.approx(reference.median(numbers), rel=1e-9, abs=1e-6)


def test_no_percentile_of_nothing() -> None:
    with pytest.raises(ValueError, match="nothing"):
        percentile([], 50)


def test_as_many_may_be_over_a_limit_as_are_likely_on_it() -> None:
    assert [most_over(59, 95), most_over(29, 90), most_over(299, 99), most_over(0, 95)] == [3, 3, 3, 0]


@given(st.integers(1, 400), st.sampled_from([50, 90, 95, 99]))
def test_so_many_or_fewer_are_the_likelier_half(count: int, percent: int) -> None:
    share = 1 - percent / 100
    chances = [math.comb(count, k) * share**k * (1 - share) ** (count - k) for k in range(count + 1)]
    over = most_over(count, percent)
    assert math.fsum(chances[: over + 1]) >= 0.5 - 1e-9
    assert math.fsum(chances[:over]) < 0.5 + 1e-9


@pytest.mark.parametrize(("percent", "fewest"), [(90, 29), (95, 59), (99, 299)])
def test_a_percentile_needs_its_samples(percent: float, fewest: int) -> None:
    assert samples_for(percent) == fewest
    assert percentile_if_enough([1.0] * (fewest - 1), percent) is None
    assert percentile_if_enough([1.0] * fewest, percent) == 1.0
    # One fewer, and the chance that none of them lies beyond the percentile is more than one in twenty.
    assert (percent / 100) ** fewest <= 0.05 < (percent / 100) ** (fewest - 1)


def test_students_t_is_the_textbooks_and_falls() -> None:
    assert [t_975(n) for n in (1, 4, 9, 30)] == [12.71, 2.78, 2.26, 2.04]
    assert t_975(60) == pytest.approx(2.000, abs=0.005)
    assert t_975(0) == t_975(1)
    found = [t_975(n) for n in range(1, 200)]
    assert found == sorted(found, reverse=True)


@given(st.integers(1, 500), st.data())
def test_wilsons_bound_is_below_the_share(of: int, data: st.DataObject) -> None:
    good = data.draw(st.integers(0, of))
    share = good / of
    assert 0 <= wilson_lower(good, of) <= share + 1e-12


def test_wilsons_bound_is_the_textbooks() -> None:
    assert wilson_lower(52, 52) == pytest.approx(52 / (52 + 1.6449**2), abs=1e-4)
    assert wilson_lower(95, 100) == pytest.approx(0.9008, abs=1e-4)
    with pytest.raises(ValueError, match="nothing"):
        wilson_lower(0, 0)


@given(
    st.floats(min_value=-1e3, max_value=1e3),
    st.floats(min_value=-1e3, max_value=1e3),
    st.lists(st.integers(min_value=0, max_value=10_000), min_size=2, max_size=20, unique=True),
)
def test_a_line_is_found_again(intercept: float, slope: float, places: list[int]) -> None:
    line = least_squares([(float(x), intercept + slope * x) for x in places])
    assert line is not None
    assert line.slope == pytest.approx(slope, rel=1e-6, abs=1e-6)
    assert line.intercept == pytest.approx(intercept, rel=1e-6, abs=1e-2)
    assert 0 <= line.r2 <= 1


@pytest.mark.parametrize("points", [[], [(1.0, 2.0)], [(1.0, 2.0), (1.0, 3.0)]])
def test_no_line_without_two_places(points: list[tuple[float, float]]) -> None:
    assert least_squares(points) is None


def test_the_slopes_error_is_the_textbooks() -> None:
    line = least_squares([(0.0, 0.0), (1.0, 1.5), (2.0, 1.5), (3.0, 3.0)])
    assert line is not None
    assert line.slope == pytest.approx(0.9)
    assert line.slope_error == pytest.approx((0.45 / 2 / 5) ** 0.5)
    assert line.r2 == pytest.approx(1 - 0.45 / 4.5)


pairs = st.lists(
    st.tuples(st.floats(min_value=1, max_value=1e3), st.floats(min_value=1, max_value=1e3)),
    min_size=3,
    max_size=30,
)


@given(pairs)
def test_a_ratios_interval_is_not_negative_and_has_no_unit(sample: list[tuple[float, float]]) -> None:
    found = ratio_interval_percent(sample)
    assert found is not None
    assert found >= 0
    assert ratio_interval_percent([(7 * a, 3 * b) for a, b in sample]) == pytest.approx(found, abs=1e-6)


def test_a_ratios_interval_of_equal_requests_is_a_point_and_of_few_is_none() -> None:
    assert ratio_interval_percent([(10.0, 2.0)] * 8) == pytest.approx(0)
    assert ratio_interval_percent([(1.0, 1.0)] * 2) is None
    assert ratio_interval_percent([(0.0, 1.0)] * 5) is None


def test_a_ratios_interval_covers_the_truth() -> None:
    rng, hits = Random(5), 0
    for _ in range(400):
        sample = [(rng.gauss(100, 10), rng.gauss(10, 1.5)) for _ in range(12)]
        ratio = sum(a for a, _ in sample) / sum(b for _, b in sample)
        found = ratio_interval_percent(sample)
        assert found is not None
        hits += abs(ratio - 10) <= found / 100 * ratio
    assert 0.90 <= hits / 400 <= 0.985


def _correlated(rng: Random, count: int, memory: float) -> list[float]:
    found, state = [], 0.0
    for _ in range(count):
        state = memory * state + math.sqrt(1 - memory * memory) * rng.gauss(0, 10)
        found.append(100 + state)
    return found


@pytest.mark.parametrize("memory", [0.0, 0.4])
def test_batch_means_cover_the_truth_of_a_series_that_remembers(memory: float) -> None:
    rng, hits = Random(7), 0
    for _ in range(400):
        series = _correlated(rng, 40, memory)
        found = batch_means_percent(series)
        assert found is not None
        mean = sum(series) / len(series)
        hits += abs(mean - 100) <= found / 100 * mean
    assert hits / 400 >= 0.88


def test_few_or_empty_values_have_no_interval() -> None:
    assert batch_means_percent([1.0] * 7) is None
    assert batch_means_percent([0.0] * 10) is None
    assert batch_means_percent([5.0] * 10) == 0


def test_batches_are_sums_of_equal_runs_from_the_end() -> None:
    assert batches([9.0, 1.0, 2.0, 3.0, 4.0], 2) == [3.0, 7.0]
    assert batches([1.0], 2) == []


def test_a_drift_is_told_from_noise() -> None:
    noise = Random(3)
    flat = [100 + noise.uniform(-20, 20) for _ in range(20)]
    assert not drifts(flat)
    assert drifts([value + 3 * index for index, value in enumerate(flat)])
    assert not drifts([100 + 0.01 * index for index in range(20)]), "a drift of 0.2 % is none"
    assert not drifts([])
    assert not drifts([0.0] * 10)


def test_few_values_seldom_seem_to_drift() -> None:
    rng = Random(4)
    for count in (4, 6, 10, 20):
        called = sum(drifts([rng.gauss(100, 10) for _ in range(count)]) for _ in range(2000))
        assert called < 0.03 * 2000, f"{count} values of a steady rate"
    assert drifts([100.0, 91.0, 79.0, 70.0]), "four on a line that falls are no chance"
