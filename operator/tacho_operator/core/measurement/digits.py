"""How many digits of a figure are shown: as many as are known."""

from __future__ import annotations

import math

from tacho_operator.api.base import decimal

FEWEST_DIGITS = 2
DIGITS_WITHOUT_INTERVAL = 3
LAST_PLACE = -3
"""A Decimal has three places at most."""


def figure(value: float | None, ci_percent: float | None = None) -> str | None:
    """``value`` as a Decimal, rounded to the digit of half its interval, ``ci_percent`` of it.

    At least two significant digits; three where the interval is not known. None for what is unknown, negative
    or not finite.
    """
    exact = decimal(value)
    if value is None or exact is None or value <= 0:
        return exact
    return decimal(round(value, -_place(value, ci_percent))) or exact


def _place(value: float, ci_percent: float | None) -> int:
    """Power of ten of the last digit that is shown."""
    leading = math.floor(math.log10(value))
    place = leading - DIGITS_WITHOUT_INTERVAL + 1
    if ci_percent is not None and math.isfinite(ci_percent) and ci_percent >= 0:
        half = value * ci_percent / 100
        place = math.floor(math.log10(half)) if half > 0 else LAST_PLACE
    return max(LAST_PLACE, min(place, leading - FEWEST_DIGITS + 1))
