"""The result of one simulation run: latencies, replicas over time, SLO attainment."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple


class Quantiles(NamedTuple):
    """Quantiles of a duration, in seconds."""

    p50: float
    p95: float
    p99: float


class Moment(NamedTuple):
    """Desired and ready replicas from one time on, until the next entry."""

    time_seconds: float
    desired: int
    ready: int


class ReplicaChange(NamedTuple):
    """A change of the desired replicas."""

    time_seconds: float
    before: int
    after: int
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """The result of one run. Latencies are of completed requests, from their arrival; None: none."""

    policy: str
    trace: str
    seed: int
    duration_seconds: float
    """Seconds to the last arrival."""
    requests: int
    unfinished: int
    """Requests not completed within the drain time after the last arrival, or whose pod was lost."""
    gpu_hours: float
    """GPU hours from creation to end of each pod, within ``duration_seconds``; one GPU per replica."""
    slo_attainment: float
    """Share of all requests that met the SLO; failed requests did not."""
    ttft_seconds: Quantiles | None
    e2e_seconds: Quantiles | None
    tpot_seconds: Quantiles | None
    preemptions: int
    trajectory: tuple[Moment, ...]
    decisions: tuple[ReplicaChange, ...]
    ttft_p90_seconds: float | None = None
    missed: tuple[tuple[str, float], ...] = ()
    """("crash" or "hang", seconds) of faults without a ready pod."""


def quantiles(values: Sequence[float]) -> Quantiles | None:
    """Nearest-rank quantiles; None without values."""
    if not values:
        return None
    ranked = sorted(values)
    return Quantiles(*(quantile(ranked, share) for share in (0.50, 0.95, 0.99)))


def quantile(ranked: Sequence[float], share: float) -> float:
    """The nearest-rank quantile ``share`` of sorted values, of which there is at least one."""
    return ranked[min(len(ranked) - 1, int(share * len(ranked)))]
