"""status.measurements: which measurements are kept, which are current, and which one the summary shows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from datetime import timedelta
from heapq import nlargest

from tacho_contract.launch import LiveConfig
from tacho_contract.report import Report
from tacho_contract.units import parse_time
from tacho_operator.api.base import decimal
from tacho_operator.api.status.measurement import MeasurementEntry
from tacho_operator.api.status.status import Summary
from tacho_operator.core.measurement.cost import Price, cost_of
from tacho_operator.core.measurement.entry import PodReport, measurement_entry
from tacho_operator.core.measurement.runs import history_for, is_check, summed_up, with_run
from tacho_operator.core.measurement.states import (
    COMPLETE,
    INCOMPLETE,
    PARTIAL,
    STALE,
    USABLE,
    clean,
    current,
)
from tacho_operator.core.revisions.controller_revision import Revision

KEPT = 4
MOST_READ = 100
"""Most pods' measurements that a decision reads: those that were requested, then the newest.

One takes up to 7 ms, and few are kept: 1,000 pods with forged ones stopped the event loop for 7 s.
"""
CLOCKS_DIFFER = timedelta(days=1)
"""Time by which a measurement's date may be ahead of a pod's report. One further ahead has a wrong date, as
reports are at most an hour old.
"""


def updated_measurements(
    former: Iterable[MeasurementEntry],
    reports: Iterable[PodReport],
    *,
    live: LiveConfig,
    subject: Revision | None,
    known: Mapping[str, Revision],
    doubted: bool = False,
    silent: bool = False,
) -> tuple[MeasurementEntry, ...]:
    """The stored measurements with those that pods report now, newest first. Of several current ones, that of
    the machine of most serving pods is first.

    A measurement becomes Stale where the configuration has changed. ``subject``: the revision that the
    summary describes (the active one, or the first candidate). ``doubted``: the model's files are no longer
    the measured ones. ``silent``: a serving pod's machine is not known yet, which is no reason to doubt it.
    """
    found = {item.fingerprint: item for item in former}
    before, reports = current(found.values()), tuple(reports)
    read = {item.pod for item in nlargest(MOST_READ, reports, key=_recency_key)}
    own = [item for item in reports if subject and item.report.plan_key == subject.plan_key]
    present = [item for item in own if not item.terminating and item.is_of_known_machine]
    # A probe pod may have another size, or another machine, than the pods that serve.
    serving = [item for item in present if not item.is_probe]
    running = {item.fingerprint(live.measure_key) for item in serving or present}
    if silent and not serving:
        usable = [item for item in found.values() if item.state in USABLE]
        last = {item.fingerprint for item in usable if _state(item, live, subject, set()) != STALE}
        running = last or running
    for item in reports:
        is_read = item.pod in read
        entry = measurement_entry(item, known.get(item.report.revision)) if is_read else None
        always = item.requested or live.probe.policy == "Always"
        old = found.get(entry.fingerprint) if entry else None
        ahead = old is not None and _is_dated_in_future(old, item.report)
        if entry and _replaces(entry, old, always=always, ahead=ahead):
            kept = {"history": history_for(entry, old)} if old else {}
            found[entry.fingerprint] = summed_up(entry.model_copy(update=kept))
        place = _stored_fingerprint(item) if is_read else ""
        if place in found and (entry or (is_check(item) and not item.is_of_former_run)):
            found[place] = with_run(found[place], item)
    judged = [
        item.model_copy(update={"state": STALE if doubted else _state(item, live, subject, running)})
        for item in found.values()
    ]
    return _ordered(judged, serving_kinds(own, live.measure_key), before)


def serving_kinds(reports: Iterable[PodReport], measure_key: str) -> Counter[str]:
    """Number of ready serving pods by the fingerprint that a measurement of each has."""
    serving = (item for item in reports if item.report.ready and not (item.is_probe or item.terminating))
    return Counter(item.fingerprint(measure_key) for item in serving)


def _ordered(
    entries: Iterable[MeasurementEntry], pods: Counter[str], before: MeasurementEntry | None
) -> tuple[MeasurementEntry, ...]:
    """The measurements to keep, in the order of status. ``pods``: number of serving pods by fingerprint.

    Of as many pods, ``before`` stays first, as the scaler forgets the load with each change.
    """

    def pods_key(item: MeasurementEntry) -> tuple[int, bool]:
        return (pods[item.fingerprint], before is not None and item.fingerprint == before.fingerprint)

    newest = sorted(entries, key=_age_key, reverse=True)
    most = max((item for item in newest if item.state != STALE), key=pods_key, default=None)
    ranked = sorted(newest, key=lambda item: (item.state == STALE, item is not most))[:KEPT]
    found = sorted(ranked, key=_age_key, reverse=True)
    return tuple(found if current(found) is most else sorted(found, key=lambda item: item is not most))


def _recency_key(item: PodReport) -> tuple[bool, str]:
    measured = item.report.measurement
    return (measured is not None and item.requested, measured.observed_time if measured else "")


def _stored_fingerprint(item: PodReport) -> str:
    """The fingerprint under which the pod's measurement is stored; "" where the pod measured nothing."""
    measured = item.report.measurement
    if measured is None or measured.plan_key != item.report.plan_key:
        return ""
    return item.fingerprint(measured.measure_key)


def _state(item: MeasurementEntry, live: LiveConfig, subject: Revision | None, running: set[str]) -> str:
    """State of a stored measurement. It is current while the spec still has its plan and workload and a pod
    still has its hardware; else Stale.
    """
    keys = (item.plan_key, item.measure_key)
    matches = subject is not None and keys == (subject.plan_key, live.measure_key)
    # Without a report the hardware is unknown, which is no reason to doubt it.
    if not matches or (running and item.fingerprint not in running):
        return STALE
    return PARTIAL if INCOMPLETE in item.flags else COMPLETE


def _age_key(item: MeasurementEntry) -> tuple[str, str]:
    return (item.observed_time or "", item.fingerprint)


def summary_of(
    measurements: Iterable[MeasurementEntry],
    *,
    gpu_count: int = 0,
    price: Price | None = None,
) -> Summary | None:
    """status.summary: output tokens per second, median TTFT, and the cost of a million output tokens.

    TTFT is that of open-loop requests where measured, else that at the same concurrency. The cost is for
    ``gpu_count`` GPUs at ``price``. None where the measurement is stale.
    """
    found = current(measurements)
    if found is None:
        return None
    capacity = found.capacity
    speed = decimal(capacity.output_tokens_per_second if capacity else None)
    ttft = decimal(found.latency.ttft_milliseconds_p50 if found.latency else None)
    cost = cost_of(found, gpu_count, price)
    return Summary(
        output_tokens_per_second=speed,
        ttft_milliseconds=ttft,
        confidence=found.confidence,
        output_tokens_per_second_shown=shown(speed, found),
        ttft_milliseconds_shown=shown(ttft, found),
        cost_per_million_output_tokens=cost.per_million_output_tokens if cost else None,
        cost_currency=cost.currency if cost else None,
        cost_basis=cost.basis if cost else None,
        cost_shown=shown(f"{cost.per_million_output_tokens} {cost.currency}", found) if cost else None,
    )


def shown(text: str | None, measurement: MeasurementEntry) -> str | None:
    """A value as the summary shows it: with ``~`` in front where the measurement is provisional."""
    return text if text is None or clean(measurement) else f"~{text}"


def _is_dated_in_future(item: MeasurementEntry, report: Report) -> bool:
    """Whether a wrong clock dated the measurement in the future. Until then none could replace it."""
    measured, now = parse_time(item.observed_time), parse_time(report.observed_time)
    return measured is not None and now is not None and measured - now > CLOCKS_DIFFER


def _replaces(new: MeasurementEntry, old: MeasurementEntry | None, *, always: bool, ahead: bool) -> bool:
    """Whether ``new`` replaces ``old``. One full measurement per fingerprint is kept: replicas do not take
    turns in status.

    A clean measurement replaces a provisional one, and a complete one replaces an incomplete one; never the
    reverse. ``always``: of equally good measurements the newer is kept. ``ahead``: ``old`` has a wrong date.
    """
    if old is None:
        return True
    if not ahead and (new.observed_time or "") <= (old.observed_time or ""):
        return False
    return _quality_key(new) > _quality_key(old) or (always and _quality_key(new) == _quality_key(old))


def _quality_key(item: MeasurementEntry) -> tuple[bool, bool]:
    return (clean(item), INCOMPLETE not in item.flags)
