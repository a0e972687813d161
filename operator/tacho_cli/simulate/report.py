"""Types of a simulation report: the policy runs on one trace and their settings."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from tacho_contract.launch import ServiceLevel
from tacho_simulate.result import Result
from tacho_simulate.trace import Trace


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicyRun:
    """The result of one scaling policy under one combination of settings."""

    name: str
    """Name of the run, unique within the report."""
    result: Result
    slo: ServiceLevel
    variant: tuple[tuple[str, str], ...] = ()
    """(setting, value) of each varied setting; empty if none varies."""
    settings: Mapping[str, Any] = field(default_factory=dict)
    """All settings by their JSON names; None: not given."""
    gpus_per_replica: int = 1
    price_per_gpu_hour: float | None = None
    """Price of one GPU for one hour; None: unknown."""

    @property
    def max_replicas(self) -> int:
        """Highest desired count at any time."""
        return max((moment.desired for moment in self.result.trajectory), default=0)

    @property
    def gpu_hours(self) -> float:
        return self.result.gpu_hours * self.gpus_per_replica

    @property
    def cost(self) -> float | None:
        return None if self.price_per_gpu_hour is None else self.gpu_hours * self.price_per_gpu_hour

    @property
    def slo_percent(self) -> float:
        """Percentage of all requests that met the SLO."""
        return 100 * self.result.slo_attainment


@dataclass(frozen=True, slots=True, kw_only=True)
class SimulationReport:
    title: str
    trace: Trace
    runs: tuple[PolicyRun, ...]
    currency: str = ""
    remarks: tuple[str, ...] = ()
    """Limitations of the results that the reader must know."""

    @property
    def common(self) -> dict[str, Any]:
        """Settings with the same value in every run."""
        first = self.runs[0].settings if self.runs else {}
        return {
            name: value
            for name, value in first.items()
            if all(run.settings.get(name) == value for run in self.runs)
        }

    @property
    def varied(self) -> tuple[str, ...]:
        """Names of the varied settings."""
        return tuple(name for name, _ in self.runs[0].variant) if self.runs else ()


def front(runs: tuple[PolicyRun, ...]) -> tuple[PolicyRun, ...]:
    """Runs that no other run beats in both SLO attainment and GPU-hours, by GPU-hours."""
    found: list[PolicyRun] = []
    for run in sorted(runs, key=lambda run: (run.gpu_hours, -run.slo_percent)):
        if not found or run.slo_percent > found[-1].slo_percent:
            found.append(run)
    return tuple(found)
