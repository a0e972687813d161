"""Pods that differ from all others: a fault of one machine is no figure of the capacity.

A slow pod is left out of the speed in service, and of the evidence for the capacity correction. The latter
holds for one, too, that misses the SLO while the others meet it. Both need three pods that can be compared.
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
    """Pods that serve at less than half the median speed, by at least so many expected ``tokens``."""
    speeds = {uid: item.output / item.expected for uid, item in tracks.items() if item.expected >= tokens > 0}
    if len(speeds) < MIN_PODS:
        return ()
    usual = median(speeds.values())
    return tuple(sorted(uid for uid, speed in speeds.items() if speed < tuning.MIN_CORRECTION * usual))


def speed(tracks: Mapping[str, Track], without: Container[str]) -> float:
    """Of the other pods, relative to the measured one."""
    others = [item for uid, item in tracks.items() if uid not in without]
    expected = math.fsum(item.expected for item in others)
    return math.fsum(item.output for item in others) / expected if expected else 1.0


def missing_alone(tracks: Mapping[str, Track], percentile: float) -> str:
    """The pod that misses the SLO for nearly all requests, where the others meet it; "": none."""
    judged = {uid: item for uid, item in tracks.items() if item.requests >= tuning.MIX_REQUESTS}
    worst = min(sorted(judged), key=lambda uid: judged[uid].met / judged[uid].requests, default="")
    if len(judged) < MIN_PODS or judged[worst].met > MET_BY_SICK * judged[worst].requests:
        return ""
    others = [item for uid, item in judged.items() if uid != worst]
    requests, met = (math.fsum(getattr(item, name) for item in others) for name in ("requests", "met"))
    return worst if met >= percentile * requests else ""
