"""Rounds a measured value to its significant digits, by its confidence interval."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Collection, Mapping
from typing import Any

from tacho_operator.api.base import decimal

MIN_DIGITS = 3
"""With two, a cost or a scale-up computed from the status could be 5 % off by rounding alone."""
LAST_PLACE = -3
"""A Decimal has three places at most."""
MAX_CI_PERCENT = 100.0
"""Half width of an interval, in percent of its value: with a wider one the value is not known."""


def rounded(value: float | None, ci_percent: float | None = None) -> float | None:
    """``value`` rounded to the digit of half its interval, ``ci_percent`` of it.

    At least three significant digits. None for a value that is unknown, negative, not finite, or whose
    interval is wider than MAX_CI_PERCENT.
    """
    exact = placed(value)
    if value is None or exact is None or value <= 0:
        return exact
    if too_wide(ci_percent):
        return None
    return placed(round(value, -_place(value, ci_percent))) or exact


def too_wide(ci_percent: float | None) -> bool:
    """Whether a value with this interval is not known."""
    return ci_percent is not None and MAX_CI_PERCENT < ci_percent < math.inf


def placed(value: float | None) -> float | None:
    """``value`` to the last place that a Decimal has; None for a value that is unknown, negative or not
    finite."""
    text = decimal(value)
    return None if text is None else float(text)


def interval(ci_percent: float | None) -> float | None:
    """Half the width of an interval; None where it is too wide for its value to be known."""
    return rounded(ci_percent, None) if ci_percent is None or ci_percent <= MAX_CI_PERCENT else None


def fields_of(
    part: Any, intervals: Mapping[str, float | None] | None = None, *, exact: Collection[str] = ()
) -> dict[str, Any] | None:
    """The fields of a part of a measurement, by name, with the digits that are known; None stays None.

    ``intervals``: by field, the interval of its value. ``exact``: fields that keep every place.
    """
    if part is None:
        return None
    found = {item.name: getattr(part, item.name) for item in dataclasses.fields(part)}
    for item in dataclasses.fields(part):
        if not str(item.type).startswith("float"):
            continue
        value = found[item.name]
        if item.name in exact:
            found[item.name] = placed(value)
        elif item.name.endswith("ci_percent"):
            found[item.name] = interval(value)
        else:
            found[item.name] = rounded(value, (intervals or {}).get(item.name))
    return found


def _place(value: float, ci_percent: float | None) -> int:
    """Power of ten of the last digit that is kept."""
    place = least = math.floor(math.log10(value)) - MIN_DIGITS + 1
    if ci_percent is not None and math.isfinite(ci_percent) and ci_percent >= 0:
        half = value * ci_percent / 100
        place = math.floor(math.log10(half)) if half > 0 else LAST_PLACE
    return max(LAST_PLACE, min(place, least))
