"""Reports of runs that were made up."""

from __future__ import annotations

from typing import Any

from tacho_cli.simulate.report import PolicyRun, SimulationReport
from tacho_contract.launch import ServiceLevel
from tacho_simulate.result import Moment, Quantiles, ReplicaChange, Result
from tacho_simulate.trace import Trace

SLO = ServiceLevel(ttft_milliseconds=500, tpot_milliseconds=50, percentile=99)
HOUR = 3600.0


def result(policy: str = "tacho", **changes: Any) -> Result:
    """One rise and one fall within an hour."""
    whole: dict[str, Any] = {
        "policy": policy,
        "trace": "an-hour",
        "seed": 1,
        "duration_seconds": HOUR,
        "requests": 1000,
        "unfinished": 0,
        "gpu_hours": 1.5,
        "slo_attainment": 0.995,
        "ttft_seconds": Quantiles(0.08, 0.2, 0.4),
        "e2e_seconds": Quantiles(2.0, 4.0, 5.0),
        "tpot_seconds": Quantiles(0.012, 0.02, 0.03),
        "preemptions": 0,
        "trajectory": (
            Moment(0.0, 1, 1),
            Moment(900.0, 3, 1),
            Moment(1000.0, 3, 3),
            Moment(2700.0, 1, 1),
        ),
        "decisions": (
            ReplicaChange(900.0, 1, 3, "1 -> 3 replicas: work of 2.4 <over> 0.80 = 3.00."),
            ReplicaChange(2700.0, 3, 1, "3 -> 1 replica: work of 0.60 over 0.80 = 0.75."),
        ),
    }
    return Result(**{**whole, **changes})


def run(
    name: str = "tacho", *, slo: ServiceLevel = SLO, price: float | None = 2.5, **changes: Any
) -> PolicyRun:
    return PolicyRun(
        name=name,
        result=result(name, **changes),
        slo=slo,
        settings={"minReplicas": 1, "maxReplicas": 8, "coldStartSeconds": 90.0, "observedTime": None},
        price_per_gpu_hour=price,
    )


def trace(requests: int = 1000) -> Trace:
    """Over an hour, in even steps."""
    times = tuple(HOUR * n / max(1, requests - 1) for n in range(requests))
    return Trace("an-hour", times, (500,) * requests, (100,) * requests)


def report(*runs: PolicyRun, **changes: Any) -> SimulationReport:
    whole: dict[str, Any] = {
        "title": "tacho simulate: an-hour & <more>",
        "trace": trace(),
        "runs": runs or (run(),),
        "currency": "USD",
        "remarks": ("What a replica does is taken from its measurement.",),
    }
    return SimulationReport(**{**whole, **changes})
