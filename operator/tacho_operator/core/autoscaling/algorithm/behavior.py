"""How fast replicas may change, in the words and by the arithmetic of a HorizontalPodAutoscaler."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Sequence

from tacho_operator.core.autoscaling.algorithm.types import Change, Pace, Point, Rules

UP_WINDOW_SECONDS = 15.0
UP_PACES = (
    Pace(kind="Percent", value=100, period_seconds=15),
    Pace(kind="Pods", value=4, period_seconds=15),
)
"""Doubling at most, or four: what is asked for was computed from what too few replicas let through."""
DOWN_PERCENT = 25
"""That may go in a window, or one: what came once often comes again, and a start takes its time."""
DOWN_WINDOW_SECONDS = 300.0
OF_A_START = 0.5
"""The window of what takes long to start: its trend is followed that far ahead already, and what was given up
too early doubles the window."""
MOST_DOWN_WINDOW_SECONDS, MOST_DOUBLINGS = 1800.0, 8
REGRET_SECONDS = 3600.0
"""So long it is remembered that replicas were given up too early."""
BEAT_SECONDS = 0.25
"""So much sooner than others a look may come. A period of two looks is over at the second one, which else
would be missed by milliseconds, and a third of the pace with it."""
UNREGRETTED = ("Quota", "Bounds")
"""Causes of a change that is no choice of the law."""


def up_window(rules: Rules) -> float:
    return UP_WINDOW_SECONDS if rules.window_seconds is None else rules.window_seconds


def down_window(
    rules: Rules, cold_start_seconds: float, changes: Sequence[Change] = (), now: float = 0.0
) -> float:
    """A replica that was given up too early is back after a cold start only: what starts slowly is kept for
    longer; and for twice as long for each time that replicas were given up and asked for again lately."""
    if rules.window_seconds is not None:
        return rules.window_seconds
    window = max(DOWN_WINDOW_SECONDS, OF_A_START * cold_start_seconds)
    longer: float = window * (1 << min(_regrets(changes, now), MOST_DOUBLINGS))
    return max(window, min(MOST_DOWN_WINDOW_SECONDS, longer))


def _regrets(changes: Sequence[Change], now: float) -> int:
    """``changes``: the newest first."""
    # Whom quota refused has never served: that it goes, and is asked for again, tells nothing of the load.
    late = [
        item for item in changes if now - item.time_seconds < REGRET_SECONDS and item.cause not in UNREGRETTED
    ]
    return sum(
        newer.after > newer.before and older.after < older.before for newer, older in itertools.pairwise(late)
    )


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
    """How few there may be now; without rules a quarter fewer in each window."""
    if rules.select == "Disabled":
        return replicas
    limits = []
    if not rules.paces:
        # What a schedule or a peak brought within the window does not go all at once again.
        changes = [item for item in changes if item.after < item.before]
    for pace in rules.paces or _down_paces(window):
        start = replicas - _moved(changes, pace.period_seconds, now)
        fewer = start - pace.value if pace.kind == "Pods" else math.floor(start * (1 - pace.value / 100))
        limits.append(fewer)
    return min(replicas, min(limits) if rules.select == "Max" else max(limits))


def _down_paces(window: float) -> tuple[Pace, ...]:
    return (
        Pace(kind="Percent", value=DOWN_PERCENT, period_seconds=window),
        Pace(kind="Pods", value=1, period_seconds=window),
    )


def _moved(changes: Iterable[Change], period_seconds: float, now: float) -> int:
    """By how much replicas changed within the period that ends now."""
    within = period_seconds - BEAT_SECONDS
    return sum(item.after - item.before for item in changes if now - item.time_seconds < within)


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
