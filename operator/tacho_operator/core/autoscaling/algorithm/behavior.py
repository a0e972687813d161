"""The rules of a HorizontalPodAutoscaler: stabilization windows, scaling policies and tolerance."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import replace

from tacho_operator.core.autoscaling.algorithm import tuning
from tacho_operator.core.autoscaling.algorithm.types import (
    Change,
    Outcome,
    Point,
    Rules,
    ScalingInput,
    State,
)

UNLIMITED = 10**6


def whole(amount: float) -> int:
    """A fractional need as whole replicas, rounded up, at least one; rounding errors add none."""
    return max(1, math.ceil(amount - 1e-9))


def limit(rules: Rules, replicas: int, changes: Sequence[Change], now: float, *, upwards: bool) -> int:
    """The highest (``upwards``) or lowest number of replicas that the scaling policies allow now."""
    limits = []
    for pace in rules.paces:
        within = pace.period_seconds - tuning.EARLY_SECONDS
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


def with_needs(at: ScalingInput, state: State, need: float, lowest: float, now: float) -> State:
    """``state`` with ``need`` in its scale-up window, and ``lowest`` in its scale-down window."""
    ups = with_low(state.ups, Point(now, need), at.policy.up.window_seconds)
    downs = with_high(state.downs, Point(now, lowest), at.policy.down.window_seconds)
    return replace(state, ups=ups, downs=downs)


def scaled_up(at: ScalingInput, state: State, outcome: Outcome, cause: str, now: float) -> Outcome:
    """``outcome`` with more replicas, after the scale-up window and policies."""
    up, have = at.policy.up, at.replicas
    watched = _watched(state, now)
    # The first sample after a gap shows no rate yet: full pods alone are no reason for more.
    steady = whole(state.ups[0].value) if watched and watched >= up.window_seconds else have
    if steady <= have:
        return replace(outcome, able="ScaleUpStabilized")
    if steady < outcome.needed:
        outcome = replace(outcome, lowest=state.ups[0].value)
    allowed = min(steady, limit(up, have, state.changes, now, upwards=True))
    return replace(outcome, replicas=allowed, cause=cause, limited="ScaleUpLimit" if allowed < steady else "")


def scaled_down(at: ScalingInput, state: State, outcome: Outcome, now: float) -> Outcome:
    """``outcome`` with fewer replicas, after the scale-down window and policies."""
    down, have, steady = at.policy.down, at.replicas, whole(outcome.highest)
    if at.held or steady >= have or _watched(state, now) < down.window_seconds:
        return replace(outcome, able="ScaleDownStabilized", held=at.held)
    if tolerated(down, outcome.highest, have):
        return outcome
    allowed = max(steady, limit(down, have, state.changes, now, upwards=False))
    limited = "ScaleDownLimit" if allowed > steady else ""
    return replace(
        outcome, replicas=allowed, cause="LowDemand" if allowed < have else "Steady", limited=limited
    )


def _watched(state: State, now: float) -> float:
    """Seconds for which the load has been known without interruption."""
    return 0.0 if state.watched_since is None else now - state.watched_since


def recorded(before: int, state: State, outcome: Outcome, reason: str, now: float) -> tuple[Change, ...]:
    """The latest changes, newest first, with that from ``before`` replicas to those of ``outcome``.

    Those that status does not show lose their text: in 45 minutes there may be 270, of 362 characters each.
    """
    if outcome.replicas == before:
        return state.changes
    change = Change(
        time_seconds=now, before=before, after=outcome.replicas, reason=reason, cause=outcome.cause
    )
    young = sum(now - item.time_seconds < tuning.MEMORY_SECONDS for item in state.changes)
    shown = tuning.CHANGES_KEPT - 1
    older = (replace(item, reason="") for item in state.changes[shown:young])
    return (change, *state.changes[:shown], *older)
