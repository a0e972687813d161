"""What was found of one fingerprint, run by run and pod by pod: how far it agrees, and which pod does not."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator
from dataclasses import dataclass

from tacho_contract.measurement import Measurement as Measured
from tacho_operator.api.types import MeasuredRun, Measurement, MeasurementHistory
from tacho_operator.core.measurement.digits import figure
from tacho_operator.core.measurement.mapper import CHECK, FULL, PodReport, confidence_of, usable
from tacho_operator.core.measurement.states import CLEAN

KEPT_RUNS = 8
AGREEING_PERCENT = 5.0
DEVIATING_PERCENT = 15.0


def with_run(entry: Measurement, found: PodReport) -> Measurement:
    """``entry`` with what this pod of the same fingerprint found, once; the latest runs are kept."""
    measured = found.report.measurement
    if measured is None or not found.pod or not usable(measured):
        return entry
    runs = list(entry.history.runs) if entry.history else []
    if any((run.time, run.pod) == (measured.observed_time, found.pod) for run in runs):
        return entry
    try:
        run = _run(entry, found.pod, measured)
    except ValueError:  # pydantic's ValidationError is one: the API could not hold it
        return entry
    newest = sorted([*runs, run], key=_order, reverse=True)[:KEPT_RUNS]
    return summed_up(entry.model_copy(update={"history": MeasurementHistory(runs=newest)}))


def is_check(found: PodReport) -> bool:
    return found.report.measurement is not None and found.report.measurement.kind == CHECK


def summed_up(entry: Measurement) -> Measurement:
    """With the figures of its history brought up to what the entry and the runs say."""
    runs = entry.history.runs if entry.history else []
    if not runs:
        return entry
    clean = [run for run in runs if run.confidence == CLEAN]
    speeds = [speed for run in clean if (speed := _comparable(run, entry)) is not None]
    mean = sum(speeds) / len(speeds) if speeds else None
    history = MeasurementHistory(
        clean_runs=len(clean),
        agreeing_runs=sum(_agrees(run, entry) for run in clean),
        last_clean_time=max((run.time for run in clean), default=None),
        output_tokens_per_second_mean=figure(mean),
        spread_percent=figure(100 * (max(speeds) - min(speeds)) / mean) if mean else None,
        runs=list(runs),
    )
    return entry.model_copy(update={"history": history})


def deviating(entry: Measurement | None, pods: Collection[str]) -> MeasuredRun | None:
    """The latest check of one of ``pods`` that is further from the measurement than pods differ."""
    if entry is None or entry.history is None:
        return None
    latest: dict[str, MeasuredRun] = {}
    for run in sorted(entry.history.runs, key=_order):
        if run.confidence == CLEAN:
            latest[run.pod] = run
    found = [run for run in latest.values() if run.kind == CHECK and run.pod in pods and _off(run, entry)]
    return max(found, key=_order, default=None)


def deviation_words(run: MeasuredRun, entry: Measurement) -> str:
    """``35 instead of 50 output tokens per second``, of what is off."""
    for pair in _pairs(run, entry):
        if pair.off:
            return f"{figure(pair.mine)} instead of {figure(pair.its)} {pair.what}"
    return "other figures"


def _run(entry: Measurement, pod: str, measured: Measured) -> MeasuredRun:
    level = entry.capacity.concurrency if entry.capacity else None
    at = next((point for point in measured.curve if point.concurrency == level), None)
    if measured.kind == FULL and measured.capacity is not None:
        level, speed, ci = (
            measured.capacity.concurrency,
            measured.capacity.output_tokens_per_second,
            measured.capacity.ci_percent,
        )
    elif at is not None:
        speed, ci = _carried_share(entry) * at.output_tokens_per_second, at.ci_percent
    else:
        level, speed, ci = None, None, None
    single = measured.single_stream
    return MeasuredRun(
        time=measured.observed_time,
        pod=pod[:253],
        kind=measured.kind,
        confidence=confidence_of(measured.flags),
        concurrency=level,
        output_tokens_per_second=figure(speed, ci),
        ci_percent=figure(ci),
        decode_tokens_per_second=figure(single.decode_tokens_per_second, single.decode_ci_percent)
        if single
        else None,
        decode_ci_percent=figure(single.decode_ci_percent) if single else None,
    )


def _carried_share(entry: Measurement) -> float:
    """Of what its level gave, what the capacity is: less than all where requests that arrive by themselves
    kept the service level only at a lower rate."""
    capacity = entry.capacity
    level = capacity.concurrency if capacity else None
    at = next((point for point in entry.curve if point.concurrency == level), None)
    whole = _number(at.output_tokens_per_second) if at else None
    carried = _number(capacity.output_tokens_per_second) if capacity else None
    return carried / whole if whole and carried else 1.0


def _order(run: MeasuredRun) -> tuple[str, str]:
    return (run.time, run.pod)


def _number(text: str | None) -> float | None:
    return float(text) if text is not None else None


def _comparable(run: MeasuredRun, entry: Measurement) -> float | None:
    """Its throughput, where it is that of the measurement's own concurrency."""
    if entry.capacity is None or run.concurrency != entry.capacity.concurrency:
        return None
    return _number(run.output_tokens_per_second)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Pair:
    """One figure of a run beside the measurement's."""

    mine: float
    its: float
    both_percent: float
    """Half the interval of the difference, of two independent measurements of this very figure."""
    what: str

    @property
    def apart_percent(self) -> float:
        return 100 * abs(self.mine - self.its) / self.its

    @property
    def off(self) -> bool:
        return self.apart_percent > max(DEVIATING_PERCENT, self.both_percent)


def _pairs(run: MeasuredRun, entry: Measurement) -> Iterator[_Pair]:
    """Of what both have."""
    yield from (pair for pair in (_carried(run, entry), _alone(run, entry)) if pair is not None)


def _carried(run: MeasuredRun, entry: Measurement) -> _Pair | None:
    mine = _comparable(run, entry)
    its = _number(entry.capacity.output_tokens_per_second) if entry.capacity else None
    if entry.capacity is None or mine is None or not its:
        return None
    both = _both_percent(run.ci_percent, entry.capacity.ci_percent)
    return _Pair(mine=mine, its=its, both_percent=both, what="output tokens per second")


def _alone(run: MeasuredRun, entry: Measurement) -> _Pair | None:
    single, mine = entry.single_stream, _number(run.decode_tokens_per_second)
    its = _number(single.decode_tokens_per_second) if single else None
    if single is None or mine is None or not its:
        return None
    both = _both_percent(run.decode_ci_percent, single.decode_ci_percent)
    what = "output tokens per second of one request alone"
    return _Pair(mine=mine, its=its, both_percent=both, what=what)


def _agrees(run: MeasuredRun, entry: Measurement) -> bool:
    pair = _carried(run, entry)
    return pair is not None and pair.apart_percent <= max(AGREEING_PERCENT, pair.both_percent)


def _off(run: MeasuredRun, entry: Measurement) -> bool:
    return any(pair.off for pair in _pairs(run, entry))


def _both_percent(one: str | None, other: str | None) -> float:
    return math.hypot(_number(one) or 0.0, _number(other) or 0.0)
