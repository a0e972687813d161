"""The table and the sentences of a simulation report: runs, headline, conclusion, settings. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from tacho_cli.figures.digits import plain
from tacho_cli.figures.messages import NONE, slo_message
from tacho_cli.figures.times import clock, span
from tacho_cli.simulate.report import PolicyRun, SimulationReport
from tacho_contract.units import counted
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


def settings(report: SimulationReport) -> Iterator[tuple[str, str]]:
    """(name, value) of each setting that is given for all runs, then of each varied setting."""
    for name, value in report.common.items():
        items = value if isinstance(value, list) else [] if value is None else [value]
        if items:
            yield name, ", ".join(f"{item:.4g}" if isinstance(item, float) else str(item) for item in items)
    for number, name in enumerate(report.varied):
        values = dict.fromkeys(run.variant[number][1] for run in report.runs)
        yield f"varied: {name}", ", ".join(values)


def headline(report: SimulationReport) -> str:
    """The trace and the common settings in one line."""
    trace, same = report.trace, report.common
    parts = [f"{trace.name}: {counted(len(trace), 'request')} in {span(trace.duration_seconds)}"]
    if "minReplicas" in same and "maxReplicas" in same:
        parts.append(f"{same['minReplicas']} to {same['maxReplicas']} replicas")
    starts = same.get("startSeconds") or ()
    if starts and max(starts) > min(starts):
        parts.append(f"cold start {min(starts):.0f} to {max(starts):.0f} s")
    elif "coldStartSeconds" in same:
        parts.append(f"cold start {same['coldStartSeconds']:.0f} s")
    if same.get("faults"):
        parts.append(", ".join(same["faults"]))
    objectives = {slo_message(run.slo) for run in report.runs}
    if len(objectives) == 1:
        parts.append(objectives.pop() or "no SLO: every completed request counts")
    return "; ".join(parts)


def verdict(report: SimulationReport) -> Iterator[str]:
    """The headline, then the cheapest run that meets the SLO, else the closest one."""
    yield f"{headline(report)}."
    with_slo = [run for run in report.runs if slo_message(run.slo)]
    if not with_slo:
        return
    meeting = [run for run in with_slo if run.slo_percent >= run.slo.percentile]
    if meeting:
        cheapest = min(meeting, key=lambda run: run.gpu_hours)
        yield f"Cheapest run that meets the SLO: {_summary(cheapest)}."
    else:
        closest = max(with_slo, key=lambda run: run.slo_percent)
        yield f"No run meets the SLO. Closest: {_summary(closest)}."


def _summary(run: PolicyRun) -> str:
    return f"{run.name}, {plain(run.gpu_hours)} GPU-hours, SLO met for {slo_text(run)} % of requests"
