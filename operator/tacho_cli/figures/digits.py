"""Formats a measured value with as many digits as its interval allows. Pure."""

from __future__ import annotations

import math

LEAST_DIGITS = 3
"""Significant digits of a value without an interval; digits before the decimal point are always kept."""
LEAST = 1e-9
"""Absolute value below which a value is shown as 0."""
PROVISIONAL_DIGITS = 2
"""Significant digits of a provisional value."""


def plain(value: float | None) -> str:
    """A value without an interval as text; "" for an unknown one."""
    if value is None:
        return ""
    return f"{value:.{max(0, LEAST_DIGITS - 1 - _magnitude(value))}f}"


def measured(value: float | None, ci_percent: float | None = None, *, provisional: bool = False) -> str:
    """A value with its 95 % interval: ``1840 ± 20``, ``85.3 ± 0.9``, or ``~7.7`` if provisional; "" for an
    unknown one."""
    if value is None or provisional or not ci_percent or not value:
        return estimate(value, ci_percent, provisional=provisional)
    half = value * ci_percent / 100
    return f"{estimate(value, ci_percent)} ± {_rounded(half, _last_place(half))}"


def estimate(value: float | None, ci_percent: float | None = None, *, provisional: bool = False) -> str:
    """A value without its interval, rounded to the digits that the interval allows; "" for an unknown
    value."""
    if value is None:
        return ""
    if provisional:
        return "~" + _rounded(value, _magnitude(value) - PROVISIONAL_DIGITS + 1)
    if not ci_percent or not value:
        return plain(value)
    return _rounded(value, _last_place(value * ci_percent / 100))


def _last_place(half: float) -> int:
    """Decimal place to which a value with a half interval of ``half`` is rounded. The interval keeps one
    digit, or two if its first digit is 1.
    """
    place = _magnitude(half)
    return place - (round(half / 10.0**place) == 1)


def _magnitude(value: float) -> int:
    """Position of the first digit, as a power of ten; 0 for zero."""
    return math.floor(math.log10(abs(value))) if abs(value) >= LEAST else 0


def _rounded(value: float, place: int) -> str:
    """``value`` rounded to a multiple of 10^place."""
    return f"{round(value, -place):.{max(0, -place)}f}"
