"""What came of the runs, on stdout: for people, for programs, or as a page."""

from __future__ import annotations

import sys

from rich.console import Console
from rich.text import Text

from tacho_operator.cli.output.formats import Format, TraceFormat, print_document
from tacho_operator.cli.output.tables import columns, console, plain_table
from tacho_operator.cli.simulate.document import decision_rows, document, run_rows
from tacho_operator.cli.simulate.report.nouns import Report
from tacho_operator.cli.simulate.report.page import page
from tacho_operator.cli.simulate.report.table import decisions, narrow
from tacho_operator.cli.simulate.report.words import headline


def show(report: Report, output: TraceFormat, *, decided: bool = False) -> None:
    """``decided``: every change of the replicas, too; of a CSV, in place of the runs."""
    if output is TraceFormat.json:
        print_document(document(report), Format.json)
    elif output is TraceFormat.csv:
        _write(decision_rows(report) if decided else run_rows(report))
    elif output is TraceFormat.html:
        _write(page(report))
    else:
        _screen(console(), report, decided=decided)


def _write(text: str) -> None:
    """The same bytes on every machine."""
    sys.stdout.buffer.write(text.encode())
    sys.stdout.flush()


def _screen(screen: Console, report: Report, *, decided: bool) -> None:
    screen.print(headline(report), highlight=False, markup=False, soft_wrap=True)
    headings, rows = narrow(report)
    table = plain_table()
    words = {"POLICY", *report.varied}
    # Where there is no room, headings take two lines; what stands below them is never cut.
    columns(table, headings, right=set(headings) - words, wrap=set(headings) - words)
    for row in rows:
        table.add_row(*map(Text, row))
    screen.print(table)
    for run in report.runs if decided else ():
        log = plain_table(f"{run.name}: {len(run.result.decisions)} changes")
        headings, rows = decisions(run, len(run.result.decisions))
        columns(log, headings, right={"AFTER", "FROM", "TO"}, wrap={"WHY"})
        for row in rows:
            log.add_row(*map(Text, row))
        screen.print()
        screen.print(log)
