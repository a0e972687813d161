"""Turns a simulation report into JSON or CSV. Pure."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping
from typing import Any

from tacho_cli.simulate.report import PolicyRun, SimulationReport
from tacho_simulate.result import Quantiles, ReplicaChange, Result


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
        "runs": [_run(report, run) for run in report.runs],
    }


def _run(report: SimulationReport, run: PolicyRun) -> dict[str, Any]:
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
