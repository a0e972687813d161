"""status.measurements: which measurements are kept, which of them are current, and which one is shown."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from tacho_contract.launch import LiveConfig
from tacho_contract.measurement import INVALIDATING
from tacho_operator.api.types import Measurement, Summary
from tacho_operator.core.measurement.cost import Price, cost_of
from tacho_operator.core.measurement.mapper import PodReport, status_measurement
from tacho_operator.core.measurement.quality import compared
from tacho_operator.core.measurement.runs import is_check, summed_up, with_run
from tacho_operator.core.measurement.states import COMPLETE, INCOMPLETE, PARTIAL, PROVISIONAL, STALE, USABLE
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
        always = item.asked or live.probe.policy == "Always"
        old = found.get(entry.fingerprint) if entry else None
        if entry and _replaces(entry, old, always=always):
            kept = entry.model_copy(update={"history": old.history if old else None})
            found[entry.fingerprint] = summed_up(kept)
        place = _place(item)
        if place in found and (entry or is_check(item)):
            found[place] = with_run(found[place], item)
    judged = [
        item.model_copy(update={"state": STALE if doubted else _state(item, live, subject, running)})
        for item in found.values()
    ]
    newest = sorted(judged, key=_age)
    ranked = sorted(reversed(newest), key=lambda item: item.state == STALE)[:KEPT]
    return compared(sorted(ranked, key=_age, reverse=True), known)


def _place(item: PodReport) -> str:
    """Under which what the pod measured is filed; "": it measured nothing."""
    measured = item.report.measurement
    if measured is None or measured.plan_key != item.report.plan_key:
        return ""
    return item.fingerprint(measured.measure_key)


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


def summary_of(
    measurements: Iterable[Measurement], *, gpu_count: int = 0, price: Price | None = None
) -> Summary | None:
    """Output tokens per second, the median TTFT (of arriving requests where they were tried, else at that
    concurrency), and what a million tokens cost on ``gpu_count`` GPUs at ``price``; None where stale."""
    found = current(measurements)
    if found is None:
        return None
    speed = found.capacity.output_tokens_per_second if found.capacity else None
    ttft = found.latency.ttft_milliseconds_p50 if found.latency else None
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


def clean(measurement: Measurement) -> bool:
    """Whether nothing but the engine moved the figures; an earlier version said so by flags alone."""
    return measurement.confidence != PROVISIONAL and INVALIDATING.isdisjoint(measurement.flags)


def shown(text: str | None, measurement: Measurement) -> str | None:
    """A figure for a person's eye: a provisional one never looks like a clean one."""
    return text if text is None or clean(measurement) else f"~{text}"


def _replaces(new: Measurement, old: Measurement | None, *, always: bool) -> bool:
    """One full measurement per fingerprint: replicas of one configuration do not take turns in status.

    A clean one takes the place of one that is not, whole ones that of those that lack levels; one that is not
    clean never that of a clean one, nor one that lacks levels that of a whole one. ``always``: of equal ones
    the newer.
    """
    if old is None:
        return True
    if (new.observed_time or "") <= (old.observed_time or ""):
        return False
    return _worth(new) > _worth(old) or (always and _worth(new) == _worth(old))


def _worth(item: Measurement) -> tuple[bool, bool]:
    return (clean(item), INCOMPLETE not in item.flags)
