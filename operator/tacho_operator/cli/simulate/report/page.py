"""A report as one HTML file that needs nothing else. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from html import escape

from tacho_contract.units import counted
from tacho_operator.cli.figures.document import document, rows
from tacho_operator.cli.simulate.report import sheet, tradeoff
from tacho_operator.cli.simulate.report.arrivals import arrivals_plot, arrivals_table
from tacho_operator.cli.simulate.report.nouns import Report, Run
from tacho_operator.cli.simulate.report.replicas import replicas_plot, replicas_table
from tacho_operator.cli.simulate.report.table import Table, decisions, latencies, summary
from tacho_operator.cli.simulate.report.words import settings, verdict

MOST_DECISIONS = 500
"""Of a run that are on the page; a file of numbers holds all of them."""
STYLE = (
    sheet.STYLE
    + """
h2 { font-size: 1.1rem; margin: 2rem 0 0.5rem; }
dl { grid-template-columns: fit-content(50%) minmax(0, 1fr); }
details { margin: 0.4rem 0; } summary { cursor: pointer; }
td:first-child, th:first-child, .said td:last-child, .said th:last-child { text-align: left; }
.said td:last-child { white-space: normal; min-width: 22rem; }
"""
)


def page(report: Report) -> str:
    """The whole file."""
    return document(report.title, _body(report), STYLE)


def _body(report: Report) -> Iterator[str]:
    yield from (f"<p>{escape(line)}</p>" for line in verdict(report))
    yield from (f'<p class="notes">{escape(line)}</p>' for line in report.remarks)
    yield from rows("what each run cost and kept", *summary(report))
    yield '<p class="notes">* no other run keeps more requests for fewer GPU-hours.</p>'
    yield "<h2>What it costs to keep the promise</h2>"
    yield from tradeoff.tradeoff_plot(report)
    yield "<h2>Arrivals</h2>"
    yield from arrivals_plot(report.trace)
    yield from _folded("Arrivals as a table", arrivals_table(report.trace))
    yield "<h2>Replicas over time</h2>"
    yield from replicas_plot(report)
    yield from _folded("Replicas as a table", replicas_table(report))
    yield "<h2>Time to first token</h2>"
    yield from tradeoff.first_token_plot(report)
    yield from rows("latencies of requests that were answered", *latencies(report))
    yield "<h2>Decisions</h2>"
    for run in report.runs:
        yield from _decisions(run)
    yield "<h2>Settings</h2>"
    yield "<dl>"
    yield from (f"<dt>{escape(what)}</dt><dd>{escape(words)}</dd>" for what, words in settings(report))
    yield "</dl>"


def _decisions(run: Run) -> Iterator[str]:
    count = len(run.result.decisions)
    headings, cells = decisions(run, MOST_DECISIONS)
    title = f"{run.name}: {counted(count, 'change')} of replicas"
    if not cells:
        yield f"<p>{escape(title)}</p>"
        return
    more = f", the first {MOST_DECISIONS} of them here" if count > MOST_DECISIONS else ""
    yield from _folded(title + more, (headings, cells), "said")


def _folded(title: str, table: Table, kind: str = "") -> Iterator[str]:
    yield f'<details class="{kind}">' if kind else "<details>"
    yield f"<summary>{escape(title)}</summary>"
    yield from rows(title, *table)
    yield "</details>"
