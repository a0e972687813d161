"""What the runs say together, in sentences. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from tacho_contract.units import counted
from tacho_operator.cli.figures.digits import plain
from tacho_operator.cli.figures.times import span
from tacho_operator.cli.figures.words import slo_words
from tacho_operator.cli.simulate.report.nouns import Report, Run
from tacho_operator.cli.simulate.report.table import kept


def verdict(report: Report) -> Iterator[str]:
    """The trace, then the cheapest run that keeps the promise, or that none does."""
    trace = report.trace
    yield (
        f"{trace.name}: {counted(len(trace), 'request')} in {span(trace.duration_seconds)}, "
        f"by {counted(len(report.runs), 'run')}."
    )
    asked = sorted({slo_words(run.slo) for run in report.runs} - {""})
    if not asked:
        yield "No service level was asked for, so every answered request keeps it."
    elif len(asked) == 1:
        yield f"The service level: {asked[0]}."
    if not report.runs:
        return
    holding = [run for run in report.runs if run.kept_percent >= run.slo.percentile]
    if holding:
        least = min(holding, key=lambda run: run.gpu_hours)
        yield f"Cheapest that keeps it: {_told(least)}."
    else:
        most = max(report.runs, key=lambda run: run.kept_percent)
        yield f"No run keeps it; the nearest is {_told(most)}."


def _told(run: Run) -> str:
    return f"{run.name}, with {plain(run.gpu_hours)} GPU-hours and {kept(run)} % of requests"
