"""How long a new replica takes to start."""

from __future__ import annotations

from collections.abc import Iterable

from tacho_operator.core.autoscaling.algorithm import tuning
from tacho_operator.core.autoscaling.algorithm.types import PodLoad

STARTS_KEPT = 20
START_QUANTILE = 0.9

Starts = tuple[tuple[str, float], ...]


def with_starts(known: Starts, pods: Iterable[PodLoad]) -> Starts:
    """The remembered cold start times by pod uid, with those of new pods; the oldest are dropped."""
    seen = {uid for uid, _ in known}
    present = sorted((pod.uid, pod.start_seconds) for pod in pods if pod.start_seconds is not None)
    return (*known, *(item for item in present if item[0] not in seen))[-max(STARTS_KEPT, len(present)) :]


def cold_start_of(starts: Starts, remembered: float | None) -> float:
    """Expected cold start in seconds: the 90th percentile of the known ones, else ``remembered``, else a
    default."""
    if not starts:
        return tuning.UNKNOWN_START_SECONDS if remembered is None else remembered
    ranked = sorted(seconds for _, seconds in starts)
    return ranked[min(len(ranked) - 1, int(START_QUANTILE * len(ranked)))]
