"""Limits how fast replicas change, by the rules of a HorizontalPodAutoscaler."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from tacho_operator.core.autoscaling.algorithm.types import Change, Point, Rules

EARLY_SECONDS = 0.25
"""Seconds by which a decision may come early: after two decisions a period of two counts as over."""
UNLIMITED = 10**6


def limit(rules: Rules, replicas: int, changes: Sequence[Change], now: float, *, upwards: bool) -> int:
    """The highest (``upwards``) or lowest number of replicas that the scaling policies allow now."""
    limits = []
    for pace in rules.paces:
        within = pace.period_seconds - EARLY_SECONDS
        moved = sum(item.after - item.before for item in changes if now - item.time_seconds < within)
        start = replicas - moved
        sign = 1 if upwards else -1
        if pace.kind == "Pods":
            limits.append(start + sign * pace.value)
        else:
            share = start * (1 + sign * pace.value / 100)
            limits.append(math.ceil(share) if upwards else math.floor(share))
    if rules.select == "Disabled":
        return replicas
    if not limits:
        return UNLIMITED if upwards else 0
    widest = (rules.select == "Max") == upwards
    found = max(limits) if widest else min(limits)
    return max(replicas, found) if upwards else min(replicas, found)


def tolerated(rules: Rules, need: float, replicas: int) -> bool:
    """Whether the needed and the present replicas differ by no more than the tolerance, so that nothing
    changes."""
    return replicas > 0 and abs(need / replicas - 1) <= rules.tolerance


def with_low(points: tuple[Point, ...], point: Point, window_seconds: float) -> tuple[Point, ...]:
    """``points`` of a stabilization window with ``point`` added; the first one is the lowest value of the
    window."""
    return (*(old for old in _young(points, point, window_seconds) if old.value < point.value), point)


def with_high(points: tuple[Point, ...], point: Point, window_seconds: float) -> tuple[Point, ...]:
    """``points`` of a stabilization window with ``point`` added; the first one is the highest value of the
    window."""
    return (*(old for old in _young(points, point, window_seconds) if old.value > point.value), point)


def _young(points: tuple[Point, ...], point: Point, window_seconds: float) -> Iterable[Point]:
    return (old for old in points if 0 <= point.time_seconds - old.time_seconds <= window_seconds)
