"""How fast replicas may change, in the words and by the arithmetic of a HorizontalPodAutoscaler."""

from __future__ import annotations

import math
from collections.abc import Iterable

from tacho_operator.core.scaling.law.types import Change, Pace, Point, Rules

UP_WINDOW_SECONDS = 15.0
UP_PACES = (Pace(kind="Percent", value=100, period_seconds=15),)
"""Doubling at most: what is asked for was computed from what too few replicas let through."""
DOWN_WINDOW_SECONDS = 300.0


def up_window(rules: Rules) -> float:
    return UP_WINDOW_SECONDS if rules.window_seconds is None else rules.window_seconds


def down_window(rules: Rules, cold_start_seconds: float) -> float:
    """A replica that was given up too early is back after a cold start: so long what was needed counts."""
    if rules.window_seconds is not None:
        return rules.window_seconds
    return max(DOWN_WINDOW_SECONDS, 2 * cold_start_seconds)


def most(rules: Rules, replicas: int, changes: Iterable[Change], now: float) -> int:
    """How many there may be now."""
    if rules.select == "Disabled":
        return replicas
    limits = []
    for pace in rules.paces or UP_PACES:
        start = replicas - _moved(changes, pace.period_seconds, now)
        grown = start + pace.value if pace.kind == "Pods" else math.ceil(start * (1 + pace.value / 100))
        limits.append(grown)
    return max(replicas, max(limits) if rules.select == "Max" else min(limits))


def least(rules: Rules, replicas: int, changes: Iterable[Change], now: float, window: float) -> int:
    """How few there may be now; without rules one fewer in each window."""
    if rules.select == "Disabled":
        return replicas
    limits = []
    if not rules.paces:
        # What a schedule or a peak brought within the window does not go all at once again.
        changes = [item for item in changes if item.after < item.before]
    for pace in rules.paces or (Pace(kind="Pods", value=1, period_seconds=window),):
        start = replicas - _moved(changes, pace.period_seconds, now)
        fewer = start - pace.value if pace.kind == "Pods" else math.floor(start * (1 - pace.value / 100))
        limits.append(fewer)
    return min(replicas, min(limits) if rules.select == "Max" else max(limits))


def _moved(changes: Iterable[Change], period_seconds: float, now: float) -> int:
    """By how much replicas changed within the period that ends now."""
    return sum(item.after - item.before for item in changes if now - item.time_seconds < period_seconds)


def tolerated(rules: Rules, amount: float, replicas: int) -> bool:
    """Whether need and replicas are near enough to each other."""
    return replicas > 0 and abs(amount / replicas - 1) <= rules.tolerance


def with_low(points: tuple[Point, ...], point: Point, window_seconds: float) -> tuple[Point, ...]:
    """``points`` and one more, such that the first is the lowest of the window: what a later one undercuts is
    of no use."""
    kept = _young(points, point, window_seconds)
    return (*(old for old in kept if old.value < point.value), point)


def with_high(points: tuple[Point, ...], point: Point, window_seconds: float) -> tuple[Point, ...]:
    """The same, such that the first is the highest of the window."""
    kept = _young(points, point, window_seconds)
    return (*(old for old in kept if old.value > point.value), point)


def _young(points: tuple[Point, ...], point: Point, window_seconds: float) -> Iterable[Point]:
    return (old for old in points if 0 <= point.time_seconds - old.time_seconds <= window_seconds)
