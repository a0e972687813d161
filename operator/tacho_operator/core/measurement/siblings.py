"""What else tacho ran on a node while a pod was measured there: pods that started, loaded or measured.

A pod that only serves counts as none: what its requests take is seen by the measured pod itself.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from tacho_contract.measurement import Measurement as Measured
from tacho_contract.report import Report
from tacho_contract.times import parse_time
from tacho_contract.units import clipped
from tacho_operator.api.types import Measurement
from tacho_operator.core import names
from tacho_operator.core.measurement.states import USABLE
from tacho_operator.core.pods.view import PodView
from tacho_operator.core.types import Manifest

CONTENDED = "Contended"
NEW_SECONDS = 3600.0
"""Figures that are older and not recorded will not be."""
SHORTEST_SECONDS = 1.0
"""Times are told to the second: what only touches is no overlap."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Busy:
    """One pod that took more of its node than one that serves."""

    uid: str
    name: str
    """With its namespace."""
    node: str
    since: datetime
    until: datetime | None
    """None: it still does."""

    def overlaps(self, start: datetime, end: datetime) -> bool:
        least = timedelta(seconds=SHORTEST_SECONDS)
        return self.since + least <= end and (self.until is None or start + least <= self.until)


def busy(pods: Iterable[Manifest]) -> tuple[Busy, ...]:
    """Of all tacho pods that run engines, in a stable order."""
    found = (_busy(PodView(pod)) for pod in pods)
    return tuple(sorted((item for item in found if item), key=lambda item: (item.since, item.name)))


def _busy(pod: PodView) -> Busy | None:
    engine = pod.container(names.ENGINE_CONTAINER)
    since = pod.condition_time("PodScheduled") or pod.created
    if engine is not None and engine.restarts and engine.running_since is not None:
        since = engine.running_since  # it served before
    if pod.role not in (names.ROLE_SERVER, names.ROLE_PROBE) or not pod.node or since is None:
        return None
    ended = parse_time(((engine.terminated if engine else None) or {}).get("finishedAt"))
    over = pod.phase in ("Failed", "Succeeded")
    until = (ended or since) if over else pod.condition_time("Ready")
    if until is None and pod.terminating and pod.role == names.ROLE_SERVER:
        return None  # it drains
    namespace = pod.raw["metadata"].get("namespace", "")
    return Busy(uid=pod.uid, name=f"{namespace}/{pod.name}", node=pod.node, since=since, until=until)


def beside(pod: PodView, start: datetime, end: datetime, found: Iterable[Busy]) -> str:
    """The first that was busy on the pod's node in that time; "": none."""
    others = (item for item in found if item.node == pod.node and item.uid != pod.uid)
    return next((item.name for item in others if item.overlaps(start, end)), "")


def measured_span(measured: Measured) -> tuple[datetime, datetime] | None:
    """From when to when it was measured; None where it does not say so in earnest."""
    end = parse_time(measured.observed_time)
    if end is None or not 0 <= measured.probe_seconds < 86400:
        return None
    try:
        return end - timedelta(seconds=measured.probe_seconds), end
    except OverflowError:
        return None


@dataclass(frozen=True, slots=True, kw_only=True)
class Watched:
    """The reports of own pods, knowing who was beside them."""

    reports: Mapping[str, Report]
    """With Contended where somebody was."""
    seen: Mapping[str, str]
    """By the uid of a pod whose figures are not recorded yet: who was seen beside it."""


def watched(
    pods: Iterable[PodView],
    reports: Mapping[str, Report],
    neighbours: Iterable[Manifest],
    *,
    seen: Mapping[str, str],
    recorded: Iterable[Measurement],
    now: datetime,
) -> Watched:
    """``seen`` is what earlier turns saw: a neighbour may be gone by the time that the figures are there."""
    spans, known = busy(neighbours), _runs(recorded)
    told, kept = dict(reports), {}
    for pod in pods:
        report = reports.get(pod.uid)
        measured = report.measurement if report else None
        sibling = seen.get(pod.uid, "")
        if report is not None and report.phase == "Probing":
            sibling = sibling or beside(pod, now - timedelta(seconds=2 * SHORTEST_SECONDS), now, spans)
        span = _new(pod, measured, known, now)
        if report is not None and measured is not None and span is not None:
            sibling = sibling or beside(pod, *span, spans)
            if sibling:
                told[pod.uid] = replace(report, measurement=_contended(measured, sibling, pod.node))
        if sibling and (measured is None or span is not None or (report and report.phase == "Probing")):
            kept[pod.uid] = sibling
    return Watched(reports=told, seen=kept)


def _runs(recorded: Iterable[Measurement]) -> set[tuple[str, str]]:
    return {(run.time, run.pod) for item in recorded if item.history for run in item.history.runs}


def _contended(measured: Measured, sibling: str, node: str) -> Measured:
    told = f"pod {sibling} was started, loaded or measured on node {node} meanwhile"
    # First: what comes last in a long message is cut.
    message = f"{told}; {measured.message}" if measured.message else told
    flags = tuple(sorted({*measured.flags, CONTENDED}))
    return replace(measured, flags=flags, message=clipped(message, 1024))


def read_seen(text: str) -> dict[str, str]:
    """What ``write_seen`` made; nothing where it cannot be read."""
    try:
        data = json.loads(text) if text else {}
    except (ValueError, RecursionError):
        return {}
    return {str(key): str(value) for key, value in data.items()} if isinstance(data, dict) else {}


def write_seen(seen: Mapping[str, str]) -> str:
    return json.dumps(dict(seen), sort_keys=True) if seen else ""


def asks_for_neighbours(
    pods: Iterable[Manifest], reports: Mapping[str, Report], recorded: Iterable[Measurement], now: datetime
) -> bool:
    """Whether some pod is being measured, or has new figures."""
    known = _runs(recorded)
    return any(
        report.phase == "Probing" or _new(pod, report.measurement, known, now) is not None
        for pod in map(PodView, pods)
        if (report := reports.get(pod.uid)) is not None
    )


def _new(
    pod: PodView, measured: Measured | None, known: Collection[tuple[str, str]], now: datetime
) -> tuple[datetime, datetime] | None:
    """When the pod's figures were measured, where they are usable and not recorded yet."""
    if measured is None or measured.state not in USABLE or (measured.observed_time, pod.name) in known:
        return None
    span = measured_span(measured)
    return span if span and (now - span[1]).total_seconds() < NEW_SECONDS else None
