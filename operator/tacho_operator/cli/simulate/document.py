"""A report for programs: whole as JSON, in rows as CSV. Pure."""

from __future__ import annotations

import csv
import io
from typing import Any

from tacho_operator.cli.simulate.report.nouns import Report, Run
from tacho_operator.simulate.result import Quantiles

QUANTILES = ("p50", "p95", "p99")


def document(report: Report) -> dict[str, Any]:
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


def _run(report: Report, run: Run) -> dict[str, Any]:
    result = run.result
    own = {name: value for name, value in run.settings.items() if name not in report.common}
    return {
        "policy": result.policy,
        **({"variant": dict(run.variant)} if run.variant else {}),
        **({"setting": own} if own else {}),
        "gpuHours": round(run.gpu_hours, 6),
        **({} if run.cost is None else {"cost": round(run.cost, 4), "currency": report.currency}),
        "sloAttainmentPercent": round(run.kept_percent, 4),
        "requests": result.requests,
        "unanswered": result.unfinished,
        "preemptions": result.preemptions,
        "ttftSeconds": _quantiles(result.ttft_seconds),
        "endToEndSeconds": _quantiles(result.e2e_seconds),
        "tpotSeconds": _quantiles(result.tpot_seconds),
        "replicas": [
            {"timeSeconds": round(moment.time_seconds, 3), "asked": moment.asked, "ready": moment.ready}
            for moment in result.trajectory
        ],
        "decisions": [
            {
                "timeSeconds": round(item.time_seconds, 3),
                "from": item.before,
                "to": item.after,
                "reason": item.sentence,
            }
            for item in result.decisions
        ],
    }


def _quantiles(found: Quantiles | None) -> dict[str, float] | None:
    return None if found is None else {name: round(value, 6) for name, value in found._asdict().items()}


def run_rows(report: Report) -> str:
    """A row a run; an empty cell is not known."""
    latencies = [f"{what}_{at}_seconds" for what in ("ttft", "e2e", "tpot") for at in QUANTILES]
    headings = (
        "policy", *report.varied, "trace", "slo_attainment_percent", "gpu_hours", "cost", "currency",
        "mean_replicas", "most_replicas", "changes", "requests", "unanswered", "preemptions", *latencies,
    )  # fmt: skip
    return _csv([headings, *(_row(report, run) for run in report.runs)])


def decision_rows(report: Report) -> str:
    """A row a change of replicas."""
    rows: list[tuple[object, ...]] = [
        ("policy", *report.varied, "time_seconds", "replicas_before", "replicas_after", "reason")
    ]
    for run in report.runs:
        whose = (run.result.policy, *(value for _, value in run.variant))
        rows += [
            (*whose, round(item.time_seconds, 3), item.before, item.after, item.sentence)
            for item in run.result.decisions
        ]
    return _csv(rows)


def _row(report: Report, run: Run) -> tuple[object, ...]:
    result = run.result
    priced = ("", "") if run.cost is None else (round(run.cost, 4), report.currency)
    found = (result.ttft_seconds, result.e2e_seconds, result.tpot_seconds)
    times = [round(value, 6) if value is not None else "" for each in found for value in each or (None,) * 3]
    return (
        result.policy, *(value for _, value in run.variant), report.trace.name,
        round(run.kept_percent, 4), round(run.gpu_hours, 6), *priced, round(run.mean_replicas, 4),
        run.most_replicas, len(result.decisions), result.requests, result.unfinished, result.preemptions,
        *times,
    )  # fmt: skip


def _csv(rows: list[Any]) -> str:
    written = io.StringIO()
    csv.writer(written, lineterminator="\n").writerows(rows)
    return written.getvalue()
