"""Scales and their round ticks, for the SVG and the terminal alike. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

STEPS = (1.0, 2.0, 5.0, 10.0)
LOGARITHMIC_ABOVE = 10.0
"""Highest over lowest value: further apart, the low ones cannot be told apart on an even scale."""
HEADROOM = 1.08
LEAST, MOST = 1e-9, 1e18
"""What a scale reaches to: nearer to 0 nothing is told from it, and numbers beyond have no room."""
CROWDED = 4
"""So many times the ticks that are wanted is too many: powers of ten alone are named then."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Axis:
    """From values to 0…1."""

    low: float
    high: float
    ticks: tuple[float, ...]
    logarithmic: bool = False

    def place(self, value: float) -> float:
        """0 at the low end, 1 at the high one; what lies outside is brought to the nearer end."""
        if self.logarithmic:
            low, high, at = math.log(self.low), math.log(self.high), math.log(max(value, self.low))
        else:
            low, high, at = self.low, self.high, value
        return min(1.0, max(0.0, (at - low) / (high - low)))


def even(values: Sequence[float], ticks: int) -> Axis:
    """From 0 to a little above the highest value, with about so many ticks."""
    most = min(max(values, default=0.0), MOST) * HEADROOM
    most = most if most >= LEAST else 1.0
    step = round_step(most / ticks)
    return Axis(low=0.0, high=most, ticks=tuple(step * n for n in range(int(most / step) + 1)))


def latency(values: Sequence[float], ticks: int) -> Axis:
    """Even from 0; logarithmic where the values lie far apart. What is not above 0 has no place there."""
    known = [min(MOST, max(LEAST, value)) for value in values if value > 0]
    if not known or max(known) <= LOGARITHMIC_ABOVE * min(known):
        return even(known, ticks)
    low, high = min(known) / HEADROOM**2, max(known) * HEADROOM**2
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    found = [step * 10.0**power for power in decades for step in STEPS[:-1]]
    inside = tuple(tick for tick in found if low <= tick <= high)
    if len(inside) > CROWDED * ticks:
        inside = tuple(10.0**power for power in decades[1 : -1 : math.ceil(len(decades) / ticks)])
    return Axis(low=low, high=high, ticks=inside, logarithmic=True)


def label(value: float) -> str:
    """A tick as it is written: 0, 0.5, 20, 12000."""
    return f"{value:.6g}"


def round_step(least: float) -> float:
    """The least of 1, 2, 5, 10, 20, … that is not below ``least``."""
    power = 10.0 ** math.floor(math.log10(least))
    return next(step * power for step in STEPS if step * power >= least * 0.999)
