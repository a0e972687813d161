"""Whether demand rises, and how fast: a slope that a few wild values do not move."""

from __future__ import annotations

from collections.abc import Sequence

from tacho_operator.core.autoscaling.algorithm.types import Point

TREND_SECONDS = 180.0
"""What is older says nothing of the present rise, where a start takes no longer."""
LONGEST_HORIZON_SECONDS = 600.0
MOST_POINTS = 12
"""More cost more than they tell."""
LEAST_POINTS = 6
CERTAINTY = 0.25
"""Three quarters of all pairs of points must rise at least as fast."""


def horizon_seconds(cold_start_seconds: float) -> float:
    """So far ahead a rise is followed: until a replica that is asked for now could serve."""
    return min(cold_start_seconds, LONGEST_HORIZON_SECONDS)


def looked_back_seconds(cold_start_seconds: float) -> float:
    """Over so long a rise is looked for: at least as far back as it is followed ahead."""
    return max(TREND_SECONDS, horizon_seconds(cold_start_seconds))


def remembered(points: Sequence[Point], point: Point, over_seconds: float) -> tuple[Point, ...]:
    """The points of the last ``over_seconds``, thinned evenly in time."""
    apart = over_seconds / MOST_POINTS
    kept = [old for old in points if 0 <= point.time_seconds - old.time_seconds <= over_seconds]
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
