"""Whether demand rises, and how fast: a slope that a few wild values do not move."""

from __future__ import annotations

from collections.abc import Sequence

from tacho_operator.core.scaling.law.types import Point

TREND_SECONDS = 180.0
"""What is older says nothing of the present rise."""
MOST_POINTS = 12
"""More cost more than they tell."""
LEAST_POINTS = 6
CERTAINTY = 0.25
"""Three quarters of all pairs of points must rise at least as fast."""


def remembered(points: Sequence[Point], point: Point) -> tuple[Point, ...]:
    """The points of the last minutes, thinned evenly in time."""
    apart = TREND_SECONDS / MOST_POINTS
    kept = [old for old in points if 0 <= point.time_seconds - old.time_seconds <= TREND_SECONDS]
    if len(kept) >= 2 and kept[-1].time_seconds - kept[-2].time_seconds < apart:
        kept.pop()
    return (*kept, point)


def rise(points: Sequence[Point]) -> float:
    """Work a second that is added each second; 0 where demand does not surely rise."""
    if len(points) < LEAST_POINTS:
        return 0.0
    slopes = sorted(
        (late.value - early.value) / (late.time_seconds - early.time_seconds)
        for index, early in enumerate(points)
        for late in points[index + 1 :]
        if late.time_seconds > early.time_seconds
    )
    return max(0.0, slopes[int(len(slopes) * CERTAINTY)]) if slopes else 0.0
