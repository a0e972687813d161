"""Which pods go when there are to be fewer: those that have the least to finish."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from tacho_operator.core.scaling.law.types import Track
from tacho_operator.core.scaling.target import TargetPod


def victims(pods: Sequence[TargetPod], tracks: Mapping[str, Track], fewer: int) -> tuple[str, ...]:
    """Names of ``fewer`` pods. One that does not tell its load may be busy: it goes last."""

    def busy(pod: TargetPod) -> tuple[bool, int, str]:
        track = tracks.get(pod.uid)
        sample = track.sample if track else None
        requests = (sample.running or 0) + (sample.waiting or 0) if sample else 0
        return (sample is None or sample.running is None, requests, pod.name)

    return tuple(pod.name for pod in sorted(pods, key=busy)[: max(0, fewer)])
