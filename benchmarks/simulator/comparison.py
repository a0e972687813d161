"""Measured and simulated latencies of the same arrivals. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from statistics import median
from typing import Any

from benchmarks.simulator.arrivals import KINDS, Arrivals, drawn
from benchmarks.simulator.traffic import ALONE, Answered
from tacho_operator.api.status.measurement import MeasurementEntry
from tacho_simulate.loops import answered
from tacho_simulate.measured_model import from_measurement
from tacho_simulate.performance_model import PerformanceModel
from tacho_simulate.replica import Timed

GOALS = {"tokens/s": 5.0, "TPOT": 5.0, "TTFT": 15.0, "end to end": 15.0}
"""Percent by which a simulated figure may differ from the measured one."""
OTHERS_PERCENT, SPEED_PERCENT = 5.0, 10.0
"""Above these a run was disturbed: the share of the core's time that others had, and the
difference of a single request's duration from that at the measurement."""


@dataclass(frozen=True, slots=True)
class Compared:
    """One setting; figures by the names of GOALS."""

    kind: str
    share: float
    """Arrival rate as a share of the highest measured one."""
    runs: int
    disturbed: int
    longer_percent: float
    """By how much single requests around the runs took longer than at the measurement."""
    measured: Mapping[str, float]
    """Medians over the runs: tokens per second, and milliseconds."""
    simulated: Mapping[str, float]
    as_fast: Mapping[str, float]
    """Simulated by a replica that is as fast as single requests around the runs were."""
    spread_percent: Mapping[str, float]
    """Half the range of the runs, in percent of their median."""

    def off_percent(self, name: str) -> float:
        return 100 * (self.simulated[name] / self.measured[name] - 1)

    def as_fast_percent(self, name: str) -> float:
        return 100 * (self.as_fast[name] / self.measured[name] - 1)

    def kept(self, name: str) -> bool:
        """Whether the difference, without the runs' own spread, is within the goal."""
        return abs(self.off_percent(name)) - self.spread_percent[name] <= GOALS[name]


def figures(answers: Sequence[Answered]) -> dict[str, float]:
    """Medians of one run's latencies in milliseconds, and its output tokens per second."""
    seconds = max(one.last for one in answers) - min(one.due for one in answers)
    return {
        "tokens/s": sum(one.tokens for one in answers) / seconds,
        "TPOT": 1000 * median((one.last - one.first) / (one.tokens - 1) for one in answers if one.tokens > 1),
        "TTFT": 1000 * median(one.first - one.due for one in answers),
        "end to end": 1000 * median(one.last - one.due for one in answers),
    }


def simulated(model: PerformanceModel, arrivals: Arrivals, input_tokens: int) -> list[Answered]:
    prompts = [input_tokens] * len(arrivals.seconds)
    ledger = answered(model, arrivals.seconds, prompts, arrivals.output_tokens)
    rows = zip(arrivals.seconds, ledger.first, ledger.last, arrivals.output_tokens, strict=True)
    return [Answered(*row) for row in rows]


def disturbed(run: Mapping[str, Any], alone_seconds: float) -> bool:
    """``alone_seconds``: of a single request, by the measurement."""
    return run["othersPercent"] > OTHERS_PERCENT or any(
        100 * abs(seconds / alone_seconds - 1) > SPEED_PERCENT
        for seconds in (median(half) for half in (run["aloneSeconds"][:ALONE], run["aloneSeconds"][ALONE:]))
    )


def alone_seconds(entry: MeasurementEntry) -> float:
    """Duration of a single request, by the measurement."""
    alone, shape = entry.single_stream, entry.workload
    assert alone is not None
    assert shape is not None
    gaps = (shape.output_tokens or 1) - 1
    return ((alone.ttft_milliseconds_p50 or 0.0) + gaps * (alone.tpot_milliseconds_p50 or 0.0)) / 1000


def _setting(run: Mapping[str, Any]) -> tuple[int, float]:
    """Arrivals and share of a run, in the page's order."""
    return KINDS.index(run["arrivals"]), run["share"]


def compared(document: Mapping[str, Any]) -> Iterator[Compared]:
    """Each setting of a file of results, with the undisturbed runs where there are any."""
    entry = MeasurementEntry.model_validate(document["measurement"])
    assert entry.workload is not None
    model, prompt = from_measurement(entry, max_num_seqs=document["slots"]), entry.workload.input_tokens or 1
    runs_of_all = sorted(document["runs"], key=_setting)
    for (order, share), rows in groupby(runs_of_all, key=_setting):
        kind = KINDS[order]
        runs = list(rows)
        quiet = [run for run in runs if not disturbed(run, alone_seconds(entry))]
        used = quiet or runs
        found = [figures([Answered(*row) for row in run["requests"]]) for run in used]
        slower = median(median(run["aloneSeconds"]) for run in used) / alone_seconds(entry)
        first = runs[0]
        arrivals = drawn(
            kind,
            first["requestsPerSecond"],
            len(first["requests"]),
            entry.workload.output_tokens or 1,
            first["seed"],
        )
        middle = {name: median(one[name] for one in found) for name in GOALS}
        yield Compared(
            kind=kind,
            share=share,
            runs=len(found),
            disturbed=len(runs) - len(quiet),
            longer_percent=100 * (slower - 1),
            measured=middle,
            simulated=figures(simulated(model, arrivals, prompt)),
            as_fast=figures(simulated(Timed.of(model, slower).model, arrivals, prompt)),
            spread_percent={
                name: 50 * (max(one[name] for one in found) - min(one[name] for one in found)) / middle[name]
                for name in GOALS
            },
        )
