from __future__ import annotations

import statistics as reference
from random import Random

import pytest
from hypothesis import given, strategies as st

from tacho_runtime.probe.statistics import bootstrap_ratio_percent, drifts, least_squares, median, percentile

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


@pytest.mark.parametrize("points", [[], [(1.0, 2.0)], [(1.0, 2.0), (1.0, 3.0)]])
def test_no_line_without_two_places(points: list[tuple[float, float]]) -> None:
    assert least_squares(points) is None


def test_the_slopes_error_is_the_textbooks() -> None:
    line = least_squares([(0.0, 0.0), (1.0, 1.5), (2.0, 1.5), (3.0, 3.0)])
    assert line is not None
    assert line.slope == pytest.approx(0.9)
    assert line.slope_error == pytest.approx((0.45 / 2 / 5) ** 0.5)


pairs = st.lists(
    st.tuples(st.floats(min_value=1, max_value=1e3), st.floats(min_value=1, max_value=1e3)),
    min_size=5,
    max_size=30,
)


@given(pairs, st.integers())
def test_an_interval_is_reproducible_and_not_negative(sample: list[tuple[float, float]], seed: int) -> None:
    first = bootstrap_ratio_percent(sample, Random(seed), resamples=50)
    assert first == bootstrap_ratio_percent(sample, Random(seed), resamples=50)
    assert first is not None
    assert first >= 0


def test_the_interval_of_equal_requests_is_a_point_and_of_unequal_ones_is_not() -> None:
    assert bootstrap_ratio_percent([(10.0, 2.0)] * 8, Random(1)) == pytest.approx(0)
    spread = [(10.0, 1.0 + 0.2 * index) for index in range(20)]
    error = bootstrap_ratio_percent(spread, Random(1))
    # The mean of 20 uniform times on [1, 4.8] has a relative standard error of about 9 %.
    assert error == pytest.approx(1.96 * 9, rel=0.25)


def test_too_few_requests_have_no_interval() -> None:
    assert bootstrap_ratio_percent([(1.0, 1.0)] * 4, Random(1)) is None


def test_a_drift_is_told_from_noise() -> None:
    noise = Random(3)
    flat = [100 + noise.uniform(-20, 20) for _ in range(20)]
    assert not drifts(flat)
    assert drifts([value + 3 * index for index, value in enumerate(flat)])
    assert not drifts([100 + 0.01 * index for index in range(20)]), "a drift of 0.2 % is none"
    assert not drifts([])
    assert not drifts([0.0] * 10)
