"""Simulation results on stdout: table, JSON, CSV or HTML."""

from __future__ import annotations

import sys

from rich.console import Console
from rich.text import Text

from tacho_cli.output.formats import Format, TraceFormat, print_document
from tacho_cli.output.tables import columns, console, plain_table
from tacho_cli.simulate.document import decision_rows, document, run_rows
from tacho_cli.simulate.report.messages import headline
from tacho_cli.simulate.report.page import page
from tacho_cli.simulate.report.table import decisions, narrow
from tacho_cli.simulate.report.types import SimulationReport


def show(report: SimulationReport, output: TraceFormat, *, decided: bool = False) -> None:
    """``decided``: also print every replica change; in CSV the changes replace the runs."""
    if output is TraceFormat.json:
        print_document(document(report), Format.json)
    elif output is TraceFormat.csv:
        _write(decision_rows(report) if decided else run_rows(report))
    elif output is TraceFormat.html:
        _write(page(report))
    else:
        _screen(console(), report, decided=decided)


def _write(text: str) -> None:
    """Writes UTF-8 bytes, so output is identical on every machine."""
    sys.stdout.buffer.write(text.encode())
    sys.stdout.flush()


def _screen(screen: Console, report: SimulationReport, *, decided: bool) -> None:
    screen.print(headline(report), highlight=False, markup=False, soft_wrap=True)
    headings, rows = narrow(report)
    table = plain_table()
    left = {"POLICY", *report.varied}
    # Headings wrap on narrow terminals; cells are never cut.
    columns(table, headings, right=set(headings) - left, wrap=set(headings) - left)
    for row in rows:
        table.add_row(*map(Text, row))
    screen.print(table)
    for run in report.runs if decided else ():
        log = plain_table(f"{run.name}: {len(run.result.decisions)} changes")
        headings, rows = decisions(run, len(run.result.decisions))
        columns(log, headings, right={"TIME", "FROM", "TO"}, wrap={"REASON"})
        for row in rows:
            log.add_row(*map(Text, row))
        screen.print()
        screen.print(log)
