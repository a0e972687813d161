"""A simulation report as one self-contained HTML file. Pure."""

from __future__ import annotations

from tacho_cli.figures.page import raw, render
from tacho_cli.simulate.report import charts, table
from tacho_cli.simulate.report.messages import settings, verdict
from tacho_cli.simulate.report.types import PolicyRun, SimulationReport
from tacho_contract.units import counted

MAX_DECISIONS = 500
"""Replica changes shown per run; JSON and CSV output list all of them."""


def page(report: SimulationReport) -> str:
    """The complete HTML file."""
    return render(
        "simulation",
        title=report.title,
        verdict=list(verdict(report)),
        remarks=report.remarks,
        summary=table.summary(report),
        charts={
            "slo": raw(charts.slo_chart(report)),
            "arrivals": raw(charts.arrivals_chart(report.trace)),
            "replicas": raw(charts.replicas_chart(report)),
            "ttft": raw(charts.ttft_chart(report)),
        },
        arrivals=table.arrivals_table(report.trace),
        replicas=table.replicas_table(report),
        latencies=table.latencies(report),
        decisions=[(_title(run), table.decisions(run, MAX_DECISIONS)) for run in report.runs],
        settings=list(settings(report)),
    )


def _title(run: PolicyRun) -> str:
    count = len(run.result.decisions)
    more = f"; the first {MAX_DECISIONS} are listed" if count > MAX_DECISIONS else ""
    return f"{run.name}: {counted(count, 'replica change')}{more}"
