"""status.measurements: which measurements are kept, which of them are current, and which one is shown."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from tacho_contract.launch import LiveConfig
from tacho_operator.api.types import Measurement, Summary
from tacho_operator.core.measurement.mapper import (
    COMPLETE,
    INCOMPLETE,
    PARTIAL,
    STALE,
    USABLE,
    PodReport,
    status_measurement,
)
from tacho_operator.core.revisions.frozen import Revision

KEPT = 4


def updated_measurements(
    former: Iterable[Measurement],
    reports: Iterable[PodReport],
    *,
    live: LiveConfig,
    subject: Revision | None,
    known: Mapping[str, Revision],
    doubted: bool = False,
) -> tuple[Measurement, ...]:
    """Measurements of old and those the pods report now, newest first; Stale where things changed.

    ``subject``: the revision whose figures are the resource's (the active one, or the first candidate).
    ``doubted``: its model's files are no longer those that were measured.
    """
    found = {item.fingerprint: item for item in former}
    running: set[str] = set()
    for item in reports:
        if subject and item.report.plan_key == subject.plan_key and not item.terminating:
            running.add(item.fingerprint(live.measure_key))
        entry = status_measurement(item, known.get(item.report.revision))
        if entry and _replaces(entry, found.get(entry.fingerprint), always=live.probe.policy == "Always"):
            found[entry.fingerprint] = entry
    judged = [
        item.model_copy(update={"state": STALE if doubted else _state(item, live, subject, running)})
        for item in found.values()
    ]
    newest = sorted(judged, key=_age)
    ranked = sorted(reversed(newest), key=lambda item: item.state == STALE)[:KEPT]
    return tuple(sorted(ranked, key=_age, reverse=True))


def _state(item: Measurement, live: LiveConfig, subject: Revision | None, running: set[str]) -> str:
    """Current while spec asks for what it measured, on hardware that some pod still has."""
    keys = (item.plan_key, item.measure_key)
    matches = subject is not None and keys == (subject.plan_key, live.measure_key)
    # Without a report the hardware is unknown, which is no reason to doubt it.
    if not matches or (running and item.fingerprint not in running):
        return STALE
    return PARTIAL if INCOMPLETE in item.flags else COMPLETE


def _age(item: Measurement) -> tuple[str, str]:
    return (item.observed_time or "", item.fingerprint)


def current(measurements: Iterable[Measurement]) -> Measurement | None:
    """The newest current measurement; figures that are stale are never taken for it."""
    return next((item for item in measurements if item.state in USABLE), None)


def summary_of(measurements: Iterable[Measurement]) -> Summary | None:
    """Output tokens per second and the median TTFT at that same concurrency; None where stale."""
    found = current(measurements)
    if found is None:
        return None
    return Summary(
        output_tokens_per_second=found.capacity.output_tokens_per_second if found.capacity else None,
        ttft_milliseconds=found.latency.ttft_milliseconds_p50 if found.latency else None,
    )


def _replaces(new: Measurement, old: Measurement | None, *, always: bool) -> bool:
    """One full measurement per fingerprint: replicas of one configuration do not take turns in status."""
    if old is None:
        return True
    if (new.observed_time or "") <= (old.observed_time or ""):
        return False
    completes = INCOMPLETE in old.flags and INCOMPLETE not in new.flags
    return always or completes
