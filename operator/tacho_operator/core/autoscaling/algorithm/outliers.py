"""Finds pods that are much slower than the others, or alone in missing the SLO: a fault of one machine.

A slow pod is left out of the speed in service. Neither kind of pod is evidence for the capacity correction.
Both need at least three pods to compare.
"""

from __future__ import annotations

import math
from collections.abc import Container, Mapping
from statistics import median

from tacho_operator.core.autoscaling.algorithm import tuning
from tacho_operator.core.autoscaling.algorithm.types import Track

MIN_PODS = 3
MET_BY_SICK = 0.2
"""Share of its requests that a sick pod meets the SLO for, at most: the end of a queue costs half of them."""


def slow(tracks: Mapping[str, Track], tokens: float) -> tuple[str, ...]:
    """Uids of pods below half the median speed. Judged only with at least ``tokens`` expected output
    tokens."""
    speeds = {uid: item.output / item.expected for uid, item in tracks.items() if item.expected >= tokens > 0}
    if len(speeds) < MIN_PODS:
        return ()
    usual = median(speeds.values())
    return tuple(sorted(uid for uid, speed in speeds.items() if speed < tuning.MIN_CORRECTION * usual))


def speed(tracks: Mapping[str, Track], without: Container[str]) -> float:
    """Speed in service of all pods but those in ``without``, relative to the measured speed; 1.0 where
    unknown."""
    others = [item for uid, item in tracks.items() if uid not in without]
    expected = math.fsum(item.expected for item in others)
    return math.fsum(item.output for item in others) / expected if expected else 1.0


def missing_alone(tracks: Mapping[str, Track], percentile: float) -> str:
    """Uid of the one pod that misses the SLO for nearly all its requests while the others meet it; "":
    none."""
    judged = {uid: item for uid, item in tracks.items() if item.requests >= tuning.MIX_REQUESTS}
    worst = min(sorted(judged), key=lambda uid: judged[uid].met / judged[uid].requests, default="")
    if len(judged) < MIN_PODS or judged[worst].met > MET_BY_SICK * judged[worst].requests:
        return ""
    others = [item for uid, item in judged.items() if uid != worst]
    requests, met = (math.fsum(getattr(item, name) for item in others) for name in ("requests", "met"))
    return worst if met >= percentile * requests else ""
