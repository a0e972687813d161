"""The pods to delete at a scale-down: those with the fewest requests."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from tacho_operator.core.autoscaling.algorithm.types import Track
from tacho_operator.core.autoscaling.target import TargetPod


def victims(pods: Sequence[TargetPod], tracks: Mapping[str, Track], fewer: int) -> tuple[str, ...]:
    """Names of ``fewer`` pods. One without load metrics may be busy: it is last."""

    def load_of(pod: TargetPod) -> tuple[bool, int, str]:
        track = tracks.get(pod.uid)
        sample = track.sample if track else None
        requests = (sample.running or 0) + (sample.waiting or 0) if sample else 0
        return (sample is None or sample.running is None, requests, pod.name)

    return tuple(pod.name for pod in sorted(pods, key=load_of)[: max(0, fewer)])
