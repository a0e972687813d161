"""Bursts of load, which may recur: what they filled is kept for the next one."""

from __future__ import annotations

from collections.abc import Sequence

from tacho_operator.core.autoscaling.algorithm import tuning
from tacho_operator.core.autoscaling.algorithm.types import Burst


def with_bursts(
    bursts: tuple[Burst, ...], low: float | None, now: float, load: float, seen: float
) -> tuple[tuple[Burst, ...], float | None]:
    """(remembered bursts, lowest load since the last one), updated with the present ``load`` by its lower
    bound, and as it was ``seen``.

    A burst begins where the load exceeds one replica and has grown by the factor BURST. It ends where the
    load has fallen by the same factor; until then the lowest load is None. A burst longer than
    MAX_BURST_SECONDS is a new level of load: it and all earlier ones are forgotten.
    """
    bursts = tuple(item for item in bursts if 0 <= now - item.end_seconds < tuning.MEMORY_SECONDS)
    if low is None and bursts:
        burst = Burst(bursts[0].begin_seconds, now, max(load, bursts[0].load))
        if now - burst.begin_seconds > tuning.MAX_BURST_SECONDS:
            return (), seen
        return (burst, *bursts[1:]), seen if tuning.BURST * load <= burst.load else None
    low = seen if low is None else min(low, seen)
    if load <= 1 or load < tuning.BURST * low:
        return bursts, low
    return (Burst(now, now, load), *bursts[: tuning.BURSTS_KEPT - 1]), None


def ended(bursts: Sequence[Burst], low: float | None, now: float, memory_seconds: float) -> tuple[Burst, ...]:
    """Bursts that ended within the last ``memory_seconds``."""
    return tuple(item for item in bursts[low is None :] if 0 <= now - item.end_seconds < memory_seconds)
