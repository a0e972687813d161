"""Turns a simulation report into JSON or CSV. Pure."""

from __future__ import annotations

import csv
import io
from typing import Any

from tacho_cli.simulate.report import PolicyRun, SimulationReport
from tacho_simulate.result import Quantiles

QUANTILES = ("p50", "p95", "p99")


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
    result = run.result
    own = {name: value for name, value in run.settings.items() if name not in report.common}
    return {
        "policy": result.policy,
        **({"variant": dict(run.variant)} if run.variant else {}),
        **({"setting": own} if own else {}),
        "gpuHours": round(run.gpu_hours, 6),
        **({} if run.cost is None else {"cost": round(run.cost, 4), "currency": report.currency}),
        "sloAttainmentPercent": round(run.slo_percent, 4),
        "requests": result.requests,
        "failed": result.unfinished,
        "preemptions": result.preemptions,
        "ttftSeconds": _quantiles(result.ttft_seconds),
        "endToEndSeconds": _quantiles(result.e2e_seconds),
        "tpotSeconds": _quantiles(result.tpot_seconds),
        "replicas": [
            {"timeSeconds": round(moment.time_seconds, 3), "desired": moment.desired, "ready": moment.ready}
            for moment in result.trajectory
        ],
        "decisions": [
            {
                "timeSeconds": round(item.time_seconds, 3),
                "from": item.before,
                "to": item.after,
                "reason": item.reason,
            }
            for item in result.decisions
        ],
    }


def _quantiles(found: Quantiles | None) -> dict[str, float] | None:
    return None if found is None else {name: round(value, 6) for name, value in found._asdict().items()}


def run_rows(report: SimulationReport) -> str:
    """The runs as CSV, one row each; an empty cell is unknown."""
    latencies = [f"{what}_{at}_seconds" for what in ("ttft", "e2e", "tpot") for at in QUANTILES]
    headings = (
        "policy", *report.varied, "trace", "slo_attainment_percent", "gpu_hours", "cost", "currency",
        "mean_replicas", "max_replicas", "changes", "requests", "failed", "preemptions", *latencies,
    )  # fmt: skip
    return _csv([headings, *(_row(report, run) for run in report.runs)])


def decision_rows(report: SimulationReport) -> str:
    """The replica changes as CSV, one row each."""
    rows: list[tuple[object, ...]] = [
        ("policy", *report.varied, "time_seconds", "replicas_before", "replicas_after", "reason")
    ]
    for run in report.runs:
        whose = (run.result.policy, *(value for _, value in run.variant))
        rows += [
            (*whose, round(item.time_seconds, 3), item.before, item.after, item.reason)
            for item in run.result.decisions
        ]
    return _csv(rows)


def _row(report: SimulationReport, run: PolicyRun) -> tuple[object, ...]:
    result = run.result
    priced = ("", "") if run.cost is None else (round(run.cost, 4), report.currency)
    found = (result.ttft_seconds, result.e2e_seconds, result.tpot_seconds)
    times = [round(value, 6) if value is not None else "" for each in found for value in each or (None,) * 3]
    return (
        result.policy, *(value for _, value in run.variant), report.trace.name,
        round(run.slo_percent, 4), round(run.gpu_hours, 6), *priced, round(run.mean_replicas, 4),
        run.max_replicas, len(result.decisions), result.requests, result.unfinished, result.preemptions,
        *times,
    )  # fmt: skip


def _csv(rows: list[Any]) -> str:
    written = io.StringIO()
    csv.writer(written, lineterminator="\n").writerows(rows)
    return written.getvalue()
