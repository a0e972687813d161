"""Writes headline, conclusion and settings of a simulation report as text. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from tacho_cli.figures.digits import plain
from tacho_cli.figures.messages import slo_message
from tacho_cli.figures.times import span
from tacho_cli.simulate.report import PolicyRun, SimulationReport
from tacho_cli.simulate.table import slo_text
from tacho_contract.units import counted


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
