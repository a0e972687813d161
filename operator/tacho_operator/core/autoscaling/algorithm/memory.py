"""What the scaler remembers of the past: bursts of load, and cold start times."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from tacho_operator.core.autoscaling.algorithm import tuning
from tacho_operator.core.autoscaling.algorithm.types import SCALE_DOWN, Burst, PodLoad

BURSTS_KEPT = 8
STARTS_KEPT = 20
START_QUANTILE = 0.9

Starts = tuple[tuple[str, float], ...]


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
