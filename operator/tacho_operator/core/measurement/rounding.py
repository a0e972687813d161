"""Rounds a measured value to its significant digits, by its confidence interval."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Collection, Mapping
from typing import Any

from tacho_operator.api.base import decimal

MIN_DIGITS = 3
"""Significant digits that are kept. With two, a cost computed from status could be 5 % off by rounding."""
LAST_PLACE = -3
"""Power of ten of the last decimal place in the API: a Decimal has at most three."""
MAX_CI_PERCENT = 100.0
"""Widest confidence interval of a value that counts as known, as half the width in percent of the value."""


def rounded(value: float | None, ci_percent: float | None = None) -> float | None:
    """``value`` rounded to the digit of half its 95 % interval; ``ci_percent`` is that half width in percent.

    At least three significant digits. None for a value that is unknown, negative or not finite, and where the
    interval is wider than MAX_CI_PERCENT.
    """
    exact = placed(value)
    if value is None or exact is None or value <= 0:
        return exact
    if too_wide(ci_percent):
        return None
    return placed(round(value, -_place(value, ci_percent))) or exact


def too_wide(ci_percent: float | None) -> bool:
    """Whether an interval is so wide that its value counts as unknown."""
    return ci_percent is not None and MAX_CI_PERCENT < ci_percent < math.inf


def placed(value: float | None) -> float | None:
    """``value`` with as many decimals as the API's Decimal has; None where it is unknown, negative or not
    finite."""
    text = decimal(value)
    return None if text is None else float(text)


def interval(ci_percent: float | None) -> float | None:
    """``ci_percent``, half the width of an interval in percent, rounded; None where it is too wide for a
    known value."""
    return rounded(ci_percent, None) if ci_percent is None or ci_percent <= MAX_CI_PERCENT else None


def fields_of(
    part: Any, intervals: Mapping[str, float | None] | None = None, *, exact: Collection[str] = ()
) -> dict[str, Any] | None:
    """The fields of one part of a measurement as a dict, every float rounded to its known digits; None stays
    None.

    ``intervals``: for each field, half the width of its interval in percent. ``exact``: fields that are not
    rounded to an interval.
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
    """Power of ten of the last digit that is kept of ``value``."""
    place = least = math.floor(math.log10(value)) - MIN_DIGITS + 1
    if ci_percent is not None and math.isfinite(ci_percent) and ci_percent >= 0:
        half = value * ci_percent / 100
        place = math.floor(math.log10(half)) if half > 0 else LAST_PLACE
    return max(LAST_PLACE, min(place, least))
