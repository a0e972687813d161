"""What a report is about: runs on one trace, each with a name, and what was the same for all of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from tacho_contract.launch import ServiceLevel
from tacho_operator.simulate.result import Moment, Result
from tacho_operator.simulate.trace import Trace


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One policy under one variant of the settings."""

    name: str
    """Its own among all runs of the report."""
    result: Result
    slo: ServiceLevel
    variant: tuple[tuple[str, str], ...] = ()
    """(setting, value) of what varies between the runs; (): nothing does."""
    settings: Mapping[str, Any] = field(default_factory=dict)
    """All of them, by their names for programs; None was not said."""
    gpus_per_replica: int = 1
    price_per_gpu_hour: float | None = None
    """None: nobody said one."""

    @property
    def most_replicas(self) -> int:
        """Asked for at a time."""
        return max((moment.asked for moment in self.result.trajectory), default=0)

    @property
    def gpu_hours(self) -> float:
        return self.result.gpu_hours * self.gpus_per_replica

    @property
    def cost(self) -> float | None:
        return None if self.price_per_gpu_hour is None else self.gpu_hours * self.price_per_gpu_hour

    @property
    def kept_percent(self) -> float:
        """Of all requests, those that kept the service level."""
        return 100 * self.result.slo_attainment

    @property
    def held(self) -> list[tuple[Moment, float]]:
        """Each moment with the seconds for which it held, within the trace."""
        moments, end = self.result.trajectory, self.result.duration_seconds
        ends = [*(moment.time_seconds for moment in moments[1:]), end]
        return [
            (moment, min(until, end) - moment.time_seconds)
            for moment, until in zip(moments, ends[: len(moments)], strict=True)
            if moment.time_seconds < end or moment is moments[0]
        ]

    @property
    def mean_replicas(self) -> float:
        """Asked for, over the trace."""
        end = self.result.duration_seconds
        if not end:
            return float(self.held[0][0].asked) if self.held else 0.0
        return sum(moment.asked * seconds for moment, seconds in self.held) / end


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    title: str
    trace: Trace
    runs: tuple[Run, ...]
    currency: str = ""
    remarks: tuple[str, ...] = ()
    """What has to be known to believe the figures."""

    @property
    def common(self) -> dict[str, Any]:
        """The settings that are the same in every run."""
        first = self.runs[0].settings if self.runs else {}
        return {
            name: value
            for name, value in first.items()
            if all(run.settings.get(name) == value for run in self.runs)
        }

    @property
    def varied(self) -> tuple[str, ...]:
        """The settings that were asked to vary."""
        return tuple(name for name, _ in self.runs[0].variant) if self.runs else ()


def front(runs: tuple[Run, ...]) -> tuple[Run, ...]:
    """Those of which no other has both more requests kept and fewer GPU-hours; by rising GPU-hours."""
    found: list[Run] = []
    for run in sorted(runs, key=lambda run: (run.gpu_hours, -run.kept_percent)):
        if not found or run.kept_percent > found[-1].kept_percent:
            found.append(run)
    return tuple(found)
