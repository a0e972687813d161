"""What the runs say together, in sentences. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from tacho_contract.units import counted
from tacho_operator.cli.figures.digits import plain
from tacho_operator.cli.figures.times import span
from tacho_operator.cli.figures.words import slo_words
from tacho_operator.cli.simulate.report.nouns import Report, Run
from tacho_operator.cli.simulate.report.table import kept

SETTINGS = {
    "minReplicas": "replicas, at least",
    "maxReplicas": "replicas, at most",
    "coldStartSeconds": "a start, in seconds",
    "startSeconds": "of which each start draws one, in seconds",
    "ttftMilliseconds": "promised time to first token, in ms",
    "tpotMilliseconds": "promised time per token, in ms",
    "percentile": "of 100 requests, promised to",
    "gpusPerReplica": "GPUs of a replica",
    "pricePerGpuHour": "price of a GPU-hour",
    "requestsPerSecondPerReplica": "requests/s that one carries, as measured",
    "concurrencyPerReplica": "requests at once that one carries, as measured",
    "quantizationMethod": "quantization, as measured",
    "observedTime": "measured at",
    "faults": "what goes wrong",
    "seed": "seed",
}
"""By their names for programs."""


def settings(report: Report) -> Iterator[tuple[str, str]]:
    """(what, in words) of what is the same in every run and was said, and of what varies."""
    for name, value in report.common.items():
        if name == "startSeconds":
            # One is the start itself.
            if value[1:]:
                yield SETTINGS[name], ", ".join(f"{item:.4g}" for item in value)
        elif isinstance(value, list):
            if value:
                yield SETTINGS[name], ", ".join(value)
        elif value is not None:
            yield SETTINGS[name], f"{value:.4g}" if isinstance(value, float) else str(value)
    for number, name in enumerate(report.varied):
        values = dict.fromkeys(run.variant[number][1] for run in report.runs)
        yield f"varied: {name}", ", ".join(values)


def headline(report: Report) -> str:
    """The trace and what is the same in every run, in one line."""
    trace, same = report.trace, report.common
    parts = [f"{trace.name}: {counted(len(trace), 'request')} in {span(trace.duration_seconds)}"]
    if "minReplicas" in same and "maxReplicas" in same:
        parts.append(f"{same['minReplicas']} to {same['maxReplicas']} replicas")
    starts = same.get("startSeconds") or ()
    if starts and max(starts) > min(starts):
        parts.append(f"a start takes {min(starts):.0f} to {max(starts):.0f} s")
    elif "coldStartSeconds" in same:
        parts.append(f"a start takes {same['coldStartSeconds']:.0f} s")
    if same.get("faults"):
        parts.append(", ".join(same["faults"]))
    promised = {slo_words(run.slo) for run in report.runs}
    if len(promised) == 1:
        parts.append(promised.pop() or "nothing is promised: what is answered is kept")
    return "; ".join(parts)


def verdict(report: Report) -> Iterator[str]:
    """The trace, then the cheapest run that keeps the promise, or that none does."""
    yield f"{headline(report)}."
    promising = [run for run in report.runs if slo_words(run.slo)]
    if not promising:
        return
    holding = [run for run in promising if run.kept_percent >= run.slo.percentile]
    if holding:
        least = min(holding, key=lambda run: run.gpu_hours)
        yield f"Cheapest that keeps the promise: {_told(least)}."
    else:
        most = max(promising, key=lambda run: run.kept_percent)
        yield f"No run keeps the promise; the nearest is {_told(most)}."


def _told(run: Run) -> str:
    return f"{run.name}, with {plain(run.gpu_hours)} GPU-hours and {kept(run)} % of requests"
