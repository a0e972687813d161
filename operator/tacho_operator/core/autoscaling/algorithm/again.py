"""What leapt in may come again: it is remembered, and is no rise that goes on."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from tacho_operator.core.autoscaling.algorithm import behavior
from tacho_operator.core.autoscaling.algorithm.need import ServiceLoad, need_of, whole
from tacho_operator.core.autoscaling.algorithm.types import Change, Point, ReplicaCapacity, Rules, State

TIMES = 2.0
WITHIN_SECONDS = 60.0
"""What surely is offered is more than so many times the least of the last minute: few starts are as short."""
REMEMBERED_SECONDS = 1800.0
FULL = 1.0
"""So full the replicas may be that are kept for it: a burst may end before much of it has piled up."""
BROUGHT = 3.0
"""Times the replicas that a leap fills: headroom, and what piled up until they came, bring more of them."""
SAID = "a burst of the last half hour may recur"


def with_leap(state: State, work: float | None, sure: float | None, now: float) -> State:
    """``work``: offered by now, in replicas, and ``sure``: what chance did not bring of it, and alone tells a
    leap; None: not known. A leap drags what is smoothed behind it, which must not be taken for a rise: that
    begins anew. The first look at it does not see the whole of it: for a minute it may become more."""
    young = _young(state, now)
    if work is None or sure is None:
        return dataclasses.replace(state, leaps=young)
    lately = [point.value for point in state.recent if now - point.time_seconds <= WITHIN_SECONDS]
    if lately and sure > TIMES * min(lately):
        leaps = behavior.with_high(young, Point(now, work), REMEMBERED_SECONDS)
        return dataclasses.replace(state, leaps=leaps, recent=())
    if young and work > young[-1].value and now - young[-1].time_seconds <= WITHIN_SECONDS:
        whole = Point(young[-1].time_seconds, work)
        return dataclasses.replace(state, leaps=behavior.with_high(young, whole, REMEMBERED_SECONDS))
    return dataclasses.replace(state, leaps=young)


def _young(state: State, now: float) -> tuple[Point, ...]:
    return tuple(point for point in state.leaps if now - point.time_seconds <= REMEMBERED_SECONDS)


def regretted(state: State, capacity: ReplicaCapacity, now: float) -> Sequence[Change]:
    """Of the changes those that may be: not what a remembered leap brought, for that is kept for already."""
    young = _young(state, now)
    if not young:
        return state.changes
    filled = max(point.value for point in young) / (capacity.trust * state.learned.factor)
    brought = whole(BROUGHT * filled)
    return tuple(change for change in state.changes if max(change.before, change.after) > brought)


def need_again(state: State, rules: Rules, capacity: ReplicaCapacity, trusted: float) -> float:
    """Replicas, not rounded, that the highest leap would fill; 0 without one, or where a person set how long
    what was needed is remembered."""
    if not state.leaps or rules.window_seconds is not None:
        return 0.0
    return need_of(ServiceLoad(work=state.leaps[0].value), capacity, trusted, full=FULL, kv_full=FULL).amount
