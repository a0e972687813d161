"""A simulation report: the policy runs on one trace and their settings; as JSON and as CSV. Pure."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from tacho_contract.launch import ServiceLevel
from tacho_simulate.result import Quantiles, ReplicaChange, Result
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


def document(report: SimulationReport) -> dict[str, Any]:
    trace = report.trace
    return {
        "trace": {
            "name": trace.name,
            "requests": len(trace),
            "durationSeconds": round(trace.duration_seconds, 3),
        },
        "setting": report.common,
        "remarks": list(report.remarks),
        "runs": [_run_document(report, run) for run in report.runs],
    }


def _run_document(report: SimulationReport, run: PolicyRun) -> dict[str, Any]:
    own = {name: value for name, value in run.settings.items() if name not in report.common}
    return {
        **_figures(report, run),
        **({"variant": dict(run.variant)} if run.variant else {}),
        **({"setting": own} if own else {}),
        **_latencies(run.result),
        "replicas": [
            {"timeSeconds": round(moment.time_seconds, 3), "desired": moment.desired, "ready": moment.ready}
            for moment in run.result.trajectory
        ],
        "decisions": [_decision(item) for item in run.result.decisions],
    }


def _figures(report: SimulationReport, run: PolicyRun) -> dict[str, Any]:
    result = run.result
    return {
        "policy": result.policy,
        "sloAttainmentPercent": round(run.slo_percent, 4),
        "gpuHours": round(run.gpu_hours, 6),
        **({} if run.cost is None else {"cost": round(run.cost, 4), "currency": report.currency}),
        "maxReplicas": run.max_replicas,
        "changes": len(result.decisions),
        "requests": result.requests,
        "failed": result.unfinished,
        "preemptions": result.preemptions,
    }


def _latencies(result: Result) -> dict[str, dict[str, float] | None]:
    found = {
        "ttftSeconds": result.ttft_seconds,
        "endToEndSeconds": result.e2e_seconds,
        "tpotSeconds": result.tpot_seconds,
    }
    return {
        name: values and {at: round(value, 6) for at, value in values._asdict().items()}
        for name, values in found.items()
    }


def _decision(item: ReplicaChange) -> dict[str, Any]:
    return {
        "timeSeconds": round(item.time_seconds, 3),
        "from": item.before,
        "to": item.after,
        "reason": item.reason,
    }


def run_rows(report: SimulationReport) -> str:
    """The runs as CSV, one row each, with the names of the JSON document; an empty cell is unknown."""
    rows = []
    for run in report.runs:
        row = {"policy": run.result.policy, **dict(run.variant), **_figures(report, run)}
        for name, values in _latencies(run.result).items():
            row |= {f"{name}.{at}": (values or {}).get(at, "") for at in Quantiles._fields}
        rows.append(row)
    return _csv(rows, dict.fromkeys(column for row in rows for column in row))


def decision_rows(report: SimulationReport) -> str:
    """The replica changes as CSV, one row each."""
    rows = [
        {"policy": run.result.policy, **dict(run.variant), **_decision(item)}
        for run in report.runs
        for item in run.result.decisions
    ]
    return _csv(rows, ("policy", *report.varied, "timeSeconds", "from", "to", "reason"))


def _csv(rows: Iterable[Mapping[str, Any]], columns: Iterable[str]) -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, list(columns), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()
