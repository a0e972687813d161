"""The runs as rows of text: one table for the terminal, HTML and its plots. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from tacho_operator.cli.figures.digits import plain
from tacho_operator.cli.figures.table import NONE
from tacho_operator.cli.figures.times import clock
from tacho_operator.cli.simulate.report.nouns import Report, Run, front
from tacho_operator.simulate.result import Quantiles

Table = tuple[list[str], list[list[str]]]
"""Headings and rows."""


def summary(report: Report) -> Table:
    """Cost and promise, a row a run; those that no other beats in both are marked."""
    best = front(report.runs)
    headings = ["RUN", "SLO KEPT %", "GPU-HOURS"]
    priced = any(run.cost is not None for run in report.runs)
    if priced:
        headings.append(f"COST {report.currency}".strip())
    headings += ["REPLICAS", "MOST", "CHANGES", "UNANSWERED"]
    rows = []
    for run in report.runs:
        result = run.result
        row = [("* " if run in best else "") + run.name, kept(run), plain(run.gpu_hours)]
        if priced:
            row.append(NONE if run.cost is None else f"{run.cost:.2f}")
        most = max((moment.asked for moment in result.trajectory), default=0)
        counts = (most, len(result.decisions), result.unfinished)
        rows.append([*row, plain(run.mean_replicas), *map(str, counts)])
    return headings, rows


def latencies(report: Report) -> Table:
    """Of requests that were answered to the end."""
    headings = ["RUN"]
    for what, unit in (("TTFT", "S"), ("E2E", "S"), ("TPOT", "MS")):
        headings += [f"{what} P50 {unit}", "P95", "P99"]
    rows = []
    for run in report.runs:
        found = run.result
        cells = [*_times(found.ttft_seconds), *_times(found.e2e_seconds), *_times(found.tpot_seconds, 1000)]
        rows.append([run.name, *cells])
    return headings, rows


def decisions(run: Run, most: int) -> Table:
    """The first ``most`` of them."""
    rows = [
        [clock(found.time_seconds), str(found.before), str(found.after), found.sentence]
        for found in run.result.decisions[:most]
    ]
    return ["AFTER", "FROM", "TO", "WHY"], rows


def kept(run: Run) -> str:
    """Never rounded up to all of them."""
    percent = run.kept_percent
    return "100" if percent == 100 else f"{min(percent, 99.99):.2f}"


def _times(found: Quantiles | None, factor: float = 1.0) -> Sequence[str]:
    return [NONE] * 3 if found is None else [plain(value * factor) for value in found]
