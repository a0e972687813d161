"""Limits how fast replicas change: HorizontalPodAutoscaler rules, remembered bursts of load, cold start
times."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from tacho_operator.core.autoscaling.algorithm import tuning
from tacho_operator.core.autoscaling.algorithm.memory import Burst
from tacho_operator.core.autoscaling.algorithm.types import SCALE_DOWN, Change, PodLoad, Point, Rules

EARLY_SECONDS = 0.25
"""Jitter of a decision: a period of two decisions is over at the second one, even if that is early."""
UNLIMITED = 10**6
BURSTS_KEPT = 8
STARTS_KEPT = 20
START_QUANTILE = 0.9

Starts = tuple[tuple[str, float], ...]


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


def with_bursts(
    bursts: tuple[Burst, ...], low: float | None, now: float, load: float, at_most: float
) -> tuple[tuple[Burst, ...], float | None]:
    """(remembered bursts, lowest load since the last one), updated with the present ``load``.

    A burst begins where the load exceeds one replica and has grown by the factor BURST. It ends where the
    load has fallen by the same factor; until then the lowest load is None. A burst longer than
    MAX_HORIZON_SECONDS is a new level of load: it and all earlier ones are forgotten.
    """
    bursts = tuple(item for item in bursts if 0 <= now - item.end_seconds < tuning.MEMORY_SECONDS)
    if low is None and bursts:
        burst = Burst(bursts[0].begin_seconds, now, max(load, bursts[0].load))
        if now - burst.begin_seconds > tuning.MAX_HORIZON_SECONDS:
            return (), at_most
        return (burst, *bursts[1:]), at_most if tuning.BURST * load <= burst.load else None
    low = at_most if low is None else min(low, at_most)
    if load <= 1 or load < tuning.BURST * low:
        return bursts, low
    return (Burst(now, now, load), *bursts[: BURSTS_KEPT - 1]), None


def ended(bursts: Sequence[Burst], low: float | None, now: float, window_seconds: float) -> tuple[Burst, ...]:
    """Bursts that ended within the last MEMORY_SECONDS; fewer seconds where the scale-down window is shorter
    than the default."""
    memory = tuning.MEMORY_SECONDS * min(1.0, window_seconds / SCALE_DOWN.window_seconds)
    return tuple(item for item in bursts[low is None :] if 0 <= now - item.end_seconds < memory)


def soon_over(lasting: Burst, earlier: Sequence[Burst], cold_start_seconds: float) -> bool:
    """Whether the present burst probably ends too soon for a new replica to be worth its start.

    Taken to last as long as the longest of ``earlier``: a new replica must then serve for as long as it took
    to start.
    """
    longest = max((item.seconds for item in earlier), default=0.0)
    return lasting.seconds < longest < lasting.seconds + 2 * cold_start_seconds


def with_starts(known: Starts, pods: Iterable[PodLoad]) -> Starts:
    """The remembered cold start times by pod uid, with those of new pods; the oldest are dropped."""
    seen = {uid for uid, _ in known}
    present = sorted((pod.uid, pod.start_seconds) for pod in pods if pod.start_seconds is not None)
    return (*known, *(item for item in present if item[0] not in seen))[-max(STARTS_KEPT, len(present)) :]


def cold_start(starts: Starts, remembered: float | None) -> float:
    """Expected cold start in seconds: the 90th percentile of the known ones, else ``remembered``, else a
    default."""
    if not starts:
        return tuning.UNKNOWN_START_SECONDS if remembered is None else remembered
    ranked = sorted(seconds for _, seconds in starts)
    return ranked[min(len(ranked) - 1, int(START_QUANTILE * len(ranked)))]
