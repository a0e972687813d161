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
    headings = ["RUN", *_costs(report), "REPLICAS", "MOST", "CHANGES", "LOST"]
    rows = []
    for run in report.runs:
        row = [("* " if run in best else "") + run.name, *_cost(report, run), plain(run.mean_replicas)]
        rows.append([*row, str(run.most_replicas), *_counts(run)])
    return headings, rows


def narrow(report: Report) -> Table:
    """What a terminal has room for: a column for each setting that varies, in place of some figures."""
    several = len({run.result.policy for run in report.runs}) > 1 or not report.varied
    headings = [*(["POLICY"] if several else []), *report.varied, *_costs(report), "MOST", "CHANGES", "LOST"]
    headings += ["TTFT P50 S", "P95", "P99", *([] if report.varied else ["E2E P50 S", "P99"]), "TPOT P95 MS"]
    rows = []
    for run in report.runs:
        result, values = run.result, [value for _, value in run.variant]
        row = [*([result.policy] if several else []), *values, *_cost(report, run)]
        row += [str(run.most_replicas), *_counts(run), *_times(result.ttft_seconds)]
        whole, each = _times(result.e2e_seconds), _times(result.tpot_seconds, 1000)
        rows.append([*row, *([] if report.varied else [whole[0], whole[2]]), each[1]])
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


def _costs(report: Report) -> list[str]:
    """The headings; money where somebody said a price."""
    priced = any(run.cost is not None for run in report.runs)
    return ["KEPT %", "GPU-H", *([report.currency] if priced else [])]


def _cost(report: Report, run: Run) -> list[str]:
    money = [NONE if run.cost is None else f"{run.cost:.2f}"]
    return [kept(run), plain(run.gpu_hours), *money[: len(_costs(report)) - 2]]


def _counts(run: Run) -> list[str]:
    return [str(len(run.result.decisions)), str(run.result.unfinished)]


def _times(found: Quantiles | None, factor: float = 1.0) -> Sequence[str]:
    return [NONE] * 3 if found is None else [plain(value * factor) for value in found]
