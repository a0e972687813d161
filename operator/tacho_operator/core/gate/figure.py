"""One figure of a measurement."""

from __future__ import annotations

from dataclasses import dataclass

from tacho_operator.api.base import decimal

SMALLEST, LARGEST = 1e-6, 1e14
"""Of a rate, a time or a ratio. Any two of them have a finite ratio."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """One figure of a measurement."""

    value: float
    ci_percent: float = 0.0
    """Half its 95 % interval, in percent of it."""
    is_floor: bool = False
    """Whether the true value may be higher."""

    @property
    def text(self) -> str:
        return f"{'≥' if self.is_floor else ''}{decimal(float(f'{self.value:.4g}'))}"

    @property
    def with_interval(self) -> str:
        return f"{self.text} ±{self.ci_percent:.1f} %" if self.ci_percent else self.text


def figure_of(
    value: float | None, ci_percent: float | None = 0.0, *, is_floor: bool = False
) -> Figure | None:
    """The figure; None where value or interval are unknown, or cannot be of a rate or a time."""
    if value is None or ci_percent is None or not SMALLEST <= value < LARGEST or not 0 <= ci_percent <= 100:
        return None
    return Figure(value=value, ci_percent=ci_percent, is_floor=is_floor)
