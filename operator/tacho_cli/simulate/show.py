"""Prints simulation results on stdout: table, document, CSV or HTML."""

from __future__ import annotations

from rich.console import Console

from tacho_cli.figures.page import raw, render
from tacho_cli.output import TraceFormat, console, grid, print_document, write_page
from tacho_cli.simulate import charts, table
from tacho_cli.simulate.report import PolicyRun, SimulationReport, decision_rows, document, run_rows
from tacho_cli.simulate.table import headline, settings, verdict
from tacho_contract.units import counted

MAX_DECISIONS = 500
"""Replica changes shown per run; JSON and CSV output list all of them."""


def page(report: SimulationReport) -> str:
    """The report as one complete HTML file."""
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
        decisions=[(_title(run), table.decisions(run, MAX_DECISIONS)) for run in report.runs],
        settings=list(settings(report)),
    )


def _title(run: PolicyRun) -> str:
    count = len(run.result.decisions)
    more = f"; the first {MAX_DECISIONS} are listed" if count > MAX_DECISIONS else ""
    return f"{run.name}: {counted(count, 'replica change')}{more}"


def show(report: SimulationReport, output: TraceFormat, *, decided: bool = False) -> None:
    """Prints the report. ``decided``: also every replica change; in CSV the changes replace the runs."""
    if output in ("json", "yaml"):
        print_document(document(report), output)
    elif output == "csv":
        write_page(decision_rows(report) if decided else run_rows(report))
    elif output == "html":
        write_page(page(report))
    else:
        _screen(console(), report, decided=decided)


def _screen(screen: Console, report: SimulationReport, *, decided: bool) -> None:
    screen.print(headline(report), highlight=False, markup=False, soft_wrap=True)
    headings, rows = table.summary(report)
    figures = set(headings) - {"POLICY", *report.varied}
    # Headings wrap on narrow terminals; cells are never cut.
    screen.print(grid(headings, rows, right=figures, wrap=figures))
    for run in report.runs if decided else ():
        title = f"{run.name}: {len(run.result.decisions)} changes"
        headings, rows = table.decisions(run, len(run.result.decisions))
        screen.print()
        screen.print(grid(headings, rows, right={"TIME", "FROM", "TO"}, wrap={"REASON"}, title=title))
