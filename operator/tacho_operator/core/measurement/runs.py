"""The history of a measurement: a run for each pod that measured, how far they agree, and which deviates."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, fields

from tacho_contract.measurement import Baseline, Environment, Measurement
from tacho_operator.api.base import decimal
from tacho_operator.api.status.measurement import MeasuredRun, MeasurementEntry, MeasurementHistory
from tacho_operator.core.measurement.entry import PodReport, flags_of, usable
from tacho_operator.core.measurement.rounding import interval, rounded
from tacho_operator.core.measurement.states import CHECK, CLEAN, FULL, clean as is_clean, confidence_of

KEPT_RUNS = 8
AGREEING_PERCENT = 5.0
DEVIATING_PERCENT = 15.0


def with_run(entry: MeasurementEntry, found: PodReport) -> MeasurementEntry:
    """``entry`` with this pod's run added to its history; unchanged where it is there already or unusable.

    Only the newest runs are kept.
    """
    measured = found.report.measurement
    if measured is None or not found.pod or not usable(measured):
        return entry
    runs = list(entry.history.runs) if entry.history else []
    if any((run.time, run.pod) == (measured.observed_time, found.pod) for run in runs):
        return entry
    try:
        run = _measured_run(entry, found.pod, measured)
    except ValueError:  # pydantic's ValidationError is one: the API could not hold it
        return entry
    newest = sorted([*runs, run], key=_order, reverse=True)[:KEPT_RUNS]
    return summed_up(entry.model_copy(update={"history": MeasurementHistory(runs=newest)}))


def is_check(found: PodReport) -> bool:
    return found.report.measurement is not None and found.report.measurement.kind == CHECK


def summed_up(entry: MeasurementEntry) -> MeasurementEntry:
    """``entry`` with count, mean and spread of its history computed from its runs."""
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
        output_tokens_per_second_mean=rounded(mean),
        spread_percent=rounded(100 * (max(speeds) - min(speeds)) / mean) if mean else None,
        runs=list(runs),
    )
    return entry.model_copy(update={"history": history})


def deviating(entry: MeasurementEntry | None, pods: Collection[str]) -> MeasuredRun | None:
    """The latest run among ``pods`` that differs from the measurement by more than pods usually do; None:
    none does."""
    if entry is None or entry.history is None:
        return None
    latest: dict[str, MeasuredRun] = {}
    for run in sorted(entry.history.runs, key=_order):
        if run.confidence == CLEAN:
            latest[run.pod] = run
    checks = (run for run in latest.values() if run.kind == CHECK and run.pod in pods)
    found = [run for run in checks if any(pair.off for pair in _compared_rates(run, entry))]
    return max(found, key=_order, default=None)


def confirms(found: PodReport, entry: MeasurementEntry) -> bool:
    """Whether a pod's check found the rates of ``entry``: no further apart than measurements that agree."""
    measured = found.report.measurement
    if measured is None or not usable(measured):
        return False
    try:
        run = _measured_run(entry, found.pod, measured)
    except ValueError:
        return False
    pairs = list(_compared_rates(run, entry))
    agree = all(pair.apart_percent <= max(AGREEING_PERCENT, pair.both_percent) for pair in pairs)
    return run.confidence == CLEAN and bool(pairs) and agree


def deviation_message(run: MeasuredRun, entry: MeasurementEntry) -> str:
    """A clause with the deviating rate, for example ``35 instead of 50 output tokens per second``."""
    for pair in _compared_rates(run, entry):
        if pair.off:
            mine, its = decimal(rounded(pair.mine)), decimal(rounded(pair.its))
            return f"{mine} instead of {its} {pair.what}"
    return "other figures"


def _measured_run(entry: MeasurementEntry, pod: str, measured: Measurement) -> MeasuredRun:
    level = entry.capacity.concurrency if entry.capacity else None
    at = next((point for point in measured.curve if point.concurrency == level), None)
    if measured.kind == FULL and measured.capacity is not None:
        level, speed, ci = (
            measured.capacity.concurrency,
            measured.capacity.output_tokens_per_second,
            measured.capacity.ci_percent,
        )
    elif at is not None and at.output_tokens_per_second is not None:
        speed, ci = _carried_share(entry) * at.output_tokens_per_second, at.ci_percent
    else:
        level, speed, ci = None, None, None
    single = measured.single_stream
    decode_ci = single.decode_ci_percent if single else None
    return MeasuredRun(
        time=measured.observed_time,
        pod=pod[:253],
        kind=measured.kind,
        confidence=confidence_of(flags_of(measured)),
        concurrency=level,
        output_tokens_per_second=rounded(speed, ci),
        ci_percent=interval(ci),
        decode_tokens_per_second=rounded(single.decode_tokens_per_second, decode_ci) if single else None,
        decode_ci_percent=interval(decode_ci),
    )


def _carried_share(entry: MeasurementEntry) -> float:
    """Capacity as a share of the closed-loop throughput at its concurrency. Below 1 where open-loop requests
    met the SLO only at a lower rate.
    """
    capacity = entry.capacity
    level = capacity.concurrency if capacity else None
    at = next((point for point in entry.curve if point.concurrency == level), None)
    whole = at.output_tokens_per_second if at else None
    carried = capacity.output_tokens_per_second if capacity else None
    return carried / whole if whole and carried else 1.0


def history_for(entry: MeasurementEntry, old: MeasurementEntry) -> MeasurementHistory | None:
    """The history of ``old``, which ``entry`` replaces. Rates of checks are shares of closed-loop rates, by
    the share of ``old``; here by that of ``entry``, so that they compare with its capacity.
    """
    ratio = _carried_share(entry) / _carried_share(old)
    if old.history is None or ratio == 1.0:
        return old.history
    runs = [
        run.model_copy(update={"output_tokens_per_second": rounded(ratio * speed, run.ci_percent)})
        if run.kind == CHECK and (speed := run.output_tokens_per_second)
        else run
        for run in old.history.runs
    ]
    return old.history.model_copy(update={"runs": runs})


def _order(run: MeasuredRun) -> tuple[str, str]:
    return (run.time, run.pod)


def _comparable(run: MeasuredRun, entry: MeasurementEntry) -> float | None:
    """The run's throughput in output tokens per second; None where it was measured at another concurrency
    than the capacity.
    """
    if entry.capacity is None or run.concurrency != entry.capacity.concurrency:
        return None
    return run.output_tokens_per_second


@dataclass(frozen=True, slots=True, kw_only=True)
class ComparedRate:
    """One rate of a run compared with the same rate of the measurement."""

    mine: float
    its: float
    both_percent: float
    """Half the 95 % interval of the difference between two independent measurements of this rate, in percent.
    """
    what: str

    @property
    def apart_percent(self) -> float:
        return 100 * abs(self.mine - self.its) / self.its

    @property
    def off(self) -> bool:
        return self.apart_percent > max(DEVIATING_PERCENT, self.both_percent)


def _compared_rates(run: MeasuredRun, entry: MeasurementEntry) -> Iterator[ComparedRate]:
    """The rates that both the run and the measurement have: at the capacity, and of a single stream."""
    yield from (
        pair for pair in (_throughput_rates(run, entry), _single_stream_rates(run, entry)) if pair is not None
    )


def _throughput_rates(run: MeasuredRun, entry: MeasurementEntry) -> ComparedRate | None:
    mine = _comparable(run, entry)
    its = entry.capacity.output_tokens_per_second if entry.capacity else None
    if entry.capacity is None or mine is None or not its:
        return None
    both = math.hypot(run.ci_percent or 0.0, entry.capacity.ci_percent or 0.0)
    return ComparedRate(mine=mine, its=its, both_percent=both, what="output tokens per second")


def _single_stream_rates(run: MeasuredRun, entry: MeasurementEntry) -> ComparedRate | None:
    single, mine = entry.single_stream, run.decode_tokens_per_second
    its = single.decode_tokens_per_second if single else None
    if single is None or mine is None or not its:
        return None
    both = math.hypot(run.decode_ci_percent or 0.0, single.decode_ci_percent or 0.0)
    what = "output tokens per second of one request alone"
    return ComparedRate(mine=mine, its=its, both_percent=both, what=what)


def _agrees(run: MeasuredRun, entry: MeasurementEntry) -> bool:
    pair = _throughput_rates(run, entry)
    return pair is not None and pair.apart_percent <= max(AGREEING_PERCENT, pair.both_percent)


# --- what checks of later pods are compared with ----------------------------------------------------
def baselines(measurements: Iterable[MeasurementEntry]) -> tuple[Baseline, ...]:
    """The baselines for pods that start later, one for each clean measurement with a capacity, in a stable
    order.

    A pod that finds its baseline runs a short check instead of a full measurement.
    """
    found = (_baseline(item) for item in measurements if is_clean(item))
    kept = [item for item in found if item is not None]
    return tuple(sorted(kept, key=lambda item: (item.plan_key, item.measure_key, repr(item.environment))))


def _baseline(item: MeasurementEntry) -> Baseline | None:
    capacity, machine = item.capacity, machine_of(item)
    if not (capacity and capacity.concurrency and capacity.output_tokens_per_second and machine):
        return None
    single = item.single_stream
    return Baseline(
        plan_key=item.plan_key or "",
        measure_key=item.measure_key or "",
        environment=machine,
        observed_time=item.observed_time or "",
        concurrency=capacity.concurrency,
        output_tokens_per_second=capacity.output_tokens_per_second,
        ci_percent=capacity.ci_percent,
        decode_tokens_per_second=single.decode_tokens_per_second if single else None,
        decode_ci_percent=single.decode_ci_percent if single else None,
    )


def machine_of(item: MeasurementEntry) -> Environment | None:
    """The machine of a stored measurement, in the form in which pods report theirs; None where it is not
    stored."""
    shown = item.environment
    if shown is None:
        return None
    shared = {item.name for item in fields(Environment)}
    return Environment(**{name: value for name, value in shown if name in shared and value is not None})
