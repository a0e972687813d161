"""Digits: those that are known, and no others."""

from __future__ import annotations

import math
import re

import pytest
from hypothesis import given, strategies as st

from tacho_operator.api.base import DECIMAL_PATTERN, decimal
from tacho_operator.core.measurement.rounding import interval, rounded


@pytest.mark.parametrize(
    ("value", "ci_percent", "text"),
    [
        (204.83, 0.2, "204.8"),
        (204.83, 0.5, "205"),
        (204.83, 4.0, "205"),
        (204.83, 6.0, "205"),
        (204.83, 90.0, "205"),
        (204.83, 100.0, "205"),
        (254.83, 100.1, None),
        (254.83, 500.0, None),
        (17384.0, 3.0, "17400"),
        (17384.0, 0.0, "17384"),
        (7.6543, 0.9, "7.65"),
        (7.6543, 30.0, "7.65"),
        (0.08381, 1.0, "0.084"),
        (9.996, 1.0, "10"),
        (204.83, None, "205"),
        (0.8376, None, "0.838"),
        (1234567.0, None, "1230000"),
        (204.83, math.nan, "205"),
        (204.83, math.inf, "205"),
        (204.83, -1.0, "205"),
        (0.0, 5.0, "0"),
        (None, 5.0, None),
        (-3.0, 5.0, None),
        (math.nan, 5.0, None),
        (math.inf, None, None),
        (5e-324, 5.0, "0"),
        (999_999_999_999_999.0, None, "999999999999999"),
    ],
)
def test_a_figure_has_the_digits_that_its_interval_allows(
    value: float | None, ci_percent: float | None, text: str | None
) -> None:
    assert decimal(rounded(value, ci_percent)) == text


def test_an_interval_of_more_than_the_value_is_not_written() -> None:
    assert [interval(value) for value in (None, 0.0, 3.21, 100.0, 100.1, math.inf)] == [
        None, 0.0, 3.21, 100.0, None, None,
    ]  # fmt: skip


@given(st.floats(1e-6, 1e12), st.floats(0, 100))
def test_rounding_moves_a_figure_by_less_than_its_interval(value: float, ci_percent: float) -> None:
    text = decimal(rounded(value, ci_percent))
    assert text is not None
    assert re.fullmatch(DECIMAL_PATTERN, text)
    assert abs(float(text) - value) <= value * ci_percent / 200 * (1 + 1e-9) + 0.0005 + 1e-9 * value


@given(st.floats(allow_nan=True, allow_infinity=True), st.floats(allow_nan=True, allow_infinity=True))
def test_whatever_a_pod_says_the_api_can_hold_it(value: float, ci_percent: float) -> None:
    text = decimal(rounded(value, ci_percent))
    assert text is None or re.fullmatch(DECIMAL_PATTERN, text)
