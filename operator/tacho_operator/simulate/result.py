"""What came of one run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple


class Quantiles(NamedTuple):
    """Seconds."""

    p50: float
    p95: float
    p99: float


class Moment(NamedTuple):
    """Replicas from a time on."""

    time_seconds: float
    asked: int
    ready: int


class Decided(NamedTuple):
    """Replicas were changed."""

    time_seconds: float
    before: int
    after: int
    sentence: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """Latencies are of requests that were answered to the end, from their arrival; None: there were none."""

    policy: str
    trace: str
    seed: int
    duration_seconds: float
    """To the last arrival."""
    requests: int
    unfinished: int
    """Neither answered within the time that was given after the last arrival, nor at all."""
    gpu_hours: float
    """From each pod's creation to its end, within ``duration_seconds``; one GPU a replica."""
    slo_attainment: float
    """Share of all requests that kept the service level; those without an end did not."""
    ttft_seconds: Quantiles | None
    e2e_seconds: Quantiles | None
    tpot_seconds: Quantiles | None
    preemptions: int
    trajectory: tuple[Moment, ...]
    decisions: tuple[Decided, ...]
    missed: tuple[tuple[str, float], ...] = ()
    """("crash" or "hang", seconds) of faults that found no pod that served."""

    def cost(self, price_per_gpu_hour: float, gpus_per_replica: int = 1) -> float:
        return self.gpu_hours * gpus_per_replica * price_per_gpu_hour


def quantiles(values: Sequence[float]) -> Quantiles | None:
    """Of values in any order: the smallest that the share does not exceed."""
    if not values:
        return None
    ranked = sorted(values)
    last = len(ranked) - 1
    return Quantiles(*(ranked[min(last, int(share * len(ranked)))] for share in (0.50, 0.95, 0.99)))
