"""How long a replica takes from being asked for to serving, by those that did."""

from __future__ import annotations

from collections.abc import Iterable

from tacho_operator.core.autoscaling.algorithm.types import PodLoad

UNKNOWN_SECONDS = 60.0
KEPT = 20
QUANTILE = 0.9

Starts = tuple[tuple[str, float], ...]


def with_starts(known: Starts, pods: Iterable[PodLoad]) -> Starts:
    """``known`` and what has started since, each pod once, the latest ones: all that serve, however many, or
    those that had to be forgotten would be new at each look."""
    seen = {uid for uid, _ in known}
    present = sorted((pod.uid, pod.start_seconds) for pod in pods if pod.start_seconds is not None)
    kept = max(KEPT, len(present))
    return (*known, *(item for item in present if item[0] not in seen))[-kept:]


def cold_start_seconds(starts: Starts, remembered: float | None) -> float:
    """The time that nine starts in ten keep to."""
    if not starts:
        return UNKNOWN_SECONDS if remembered is None else remembered
    ranked = sorted(seconds for _, seconds in starts)
    return ranked[min(len(ranked) - 1, int(QUANTILE * len(ranked)))]
