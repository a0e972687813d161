"""Tables of a simulation report, as rows of text for the terminal and the page. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from tacho_cli.figures.digits import plain
from tacho_cli.figures.table import NONE
from tacho_cli.figures.times import clock
from tacho_cli.simulate.report import PolicyRun, SimulationReport
from tacho_simulate.result import Quantiles

Table = tuple[list[str], list[list[str]]]
"""Headings and rows of a table."""


def summary(report: SimulationReport) -> Table:
    """The table of runs, with one column for each setting that varies."""
    several = len({run.result.policy for run in report.runs}) > 1 or not report.varied
    headings = [
        *(["POLICY"] if several else []),
        *report.varied,
        *_costs(report),
        "MAX REPLICAS",
        "CHANGES",
        "FAILED",
    ]
    headings += ["TTFT P50 S", "P95", "P99", *([] if report.varied else ["E2E P50 S", "P99"]), "TPOT P95 MS"]
    rows = []
    for run in report.runs:
        result, values = run.result, [value for _, value in run.variant]
        row = [*([result.policy] if several else []), *values, *_cost(report, run)]
        row += [str(run.max_replicas), *_counts(run), *_times(result.ttft_seconds)]
        whole, each = _times(result.e2e_seconds), _times(result.tpot_seconds, 1000)
        rows.append([*row, *([] if report.varied else [whole[0], whole[2]]), each[1]])
    return headings, rows


def decisions(run: PolicyRun, limit: int) -> Table:
    """The table of the first ``limit`` replica changes of a run, with their reasons."""
    rows = [
        [clock(found.time_seconds), str(found.before), str(found.after), found.reason]
        for found in run.result.decisions[:limit]
    ]
    return ["TIME", "FROM", "TO", "REASON"], rows


def slo_text(run: PolicyRun) -> str:
    """SLO attainment in percent; only complete attainment is written as 100."""
    percent = run.slo_percent
    return "100" if percent == 100 else f"{min(percent, 99.99):.2f}"


def _costs(report: SimulationReport) -> list[str]:
    """Headings of the cost columns; that of the currency only if a price is known."""
    priced = any(run.cost is not None for run in report.runs)
    return ["SLO %", "GPU-H", *([report.currency] if priced else [])]


def _cost(report: SimulationReport, run: PolicyRun) -> list[str]:
    money = [NONE if run.cost is None else f"{run.cost:.2f}"]
    return [slo_text(run), plain(run.gpu_hours), *money[: len(_costs(report)) - 2]]


def _counts(run: PolicyRun) -> list[str]:
    return [str(len(run.result.decisions)), str(run.result.unfinished)]


def _times(found: Quantiles | None, factor: float = 1.0) -> Sequence[str]:
    return [NONE] * 3 if found is None else [plain(value * factor) for value in found]
