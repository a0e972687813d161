"""Finds noisy neighbours: pods of tacho that started or were measured on the same node while a pod was
measured.

A pod that only serves requests is not one: the measured pod's own probe detects the CPU and GPU time that it
takes.
"""

from __future__ import annotations

import json
from bisect import bisect_left
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from itertools import accumulate

from tacho_contract.measurement import Measurement
from tacho_contract.report import Report
from tacho_contract.units import clipped, parse_time
from tacho_operator.api.status.measurement import MeasurementEntry
from tacho_operator.core.measurement.states import USABLE
from tacho_operator.core.pods.view import PodView
from tacho_operator.core.types import Manifest, Neighbour

CONTENDED = "Contended"
NEW_SECONDS = 3600.0
"""Age in seconds beyond which a measurement that is not in status yet will never be stored."""
SHORTEST_SECONDS = 1.0
"""Shortest overlap of two intervals in seconds that counts. Times are rounded to seconds, so intervals that
only touch may seem to overlap.
"""
ROUNDED_SECONDS = 1e-3
"""Largest error of a time as a floating-point number."""


def overlaps(neighbour: Neighbour, start: datetime, end: datetime) -> bool:
    """Whether the neighbour started or was measured between ``start`` and ``end``."""
    least = timedelta(seconds=SHORTEST_SECONDS)
    over = (start + least - neighbour.since).total_seconds() > neighbour.limit_seconds or (
        neighbour.until is not None and start + least > neighbour.until
    )
    return neighbour.since + least <= end and not over


class NodeLoads:
    """The neighbours on one node.

    A user may have hundreds there, and as many measured pods on each of dozens of nodes: comparing each pod
    with each neighbour took 5 s.
    """

    def __init__(self, neighbours: Iterable[Neighbour]) -> None:
        self._found = sorted(neighbours, key=lambda item: (item.since, item.namespace, item.name))
        self._latest = list(accumulate(map(_end_seconds, self._found), max))
        """The latest end of each neighbour and those before it."""

    def first(self, uid: str, start: datetime, end: datetime) -> Neighbour | None:
        """The first neighbour active from ``start`` to ``end`` that is not the pod ``uid``; None: none."""
        least = timedelta(seconds=SHORTEST_SECONDS)
        active = (start + least).timestamp() - ROUNDED_SECONDS
        for index in range(bisect_left(self._latest, active), len(self._found)):
            item = self._found[index]
            if item.since + least > end:
                break
            if item.uid != uid and overlaps(item, start, end):
                return item
        return None


def _end_seconds(item: Neighbour) -> float:
    """When the neighbour was no longer active, in Unix time; later than that for one that is still active."""
    limit = item.since.timestamp() + item.limit_seconds
    return limit if item.until is None else min(limit, item.until.timestamp())


def by_node(neighbours: Iterable[Neighbour]) -> dict[str, NodeLoads]:
    found: dict[str, list[Neighbour]] = {}
    for item in neighbours:
        found.setdefault(item.node, []).append(item)
    return {node: NodeLoads(items) for node, items in found.items()}


def noisy_neighbour(pod: PodView, start: datetime, end: datetime, found: Mapping[str, NodeLoads]) -> str:
    """A description of the first neighbour active on the pod's node between ``start`` and ``end``; "": none
    was. A pod of another namespace is not named. ``found``: by node.
    """
    noisy = found[pod.node].first(pod.uid, start, end) if pod.node in found else None
    if noisy is None:
        return ""
    return f"pod {noisy.name}" if noisy.namespace == pod.namespace else "a pod of another namespace"


def probe_interval(measured: Measurement) -> tuple[datetime, datetime] | None:
    """Begin and end of the measurement; None where its times are missing or implausible."""
    end = parse_time(measured.observed_time)
    if end is None or not 0 <= measured.probe_seconds < 86400:
        return None
    try:
        return end - timedelta(seconds=measured.probe_seconds), end
    except OverflowError:
        return None


@dataclass(frozen=True, slots=True, kw_only=True)
class FlaggedReports:
    """The reports of a resource's own pods, flagged where neighbours were active on their nodes."""

    reports: Mapping[str, Report]
    """Reports of own pods, flagged Contended where the pod had a noisy neighbour."""
    seen: Mapping[str, str]
    """Description of the noisy neighbour by pod uid, for pods whose measurement is not in status yet."""


def flag_noisy_neighbours(
    pods: Iterable[PodView],
    reports: Mapping[str, Report],
    neighbours: Iterable[Neighbour],
    *,
    seen: Mapping[str, str],
    recorded: Iterable[MeasurementEntry],
    now: datetime,
) -> FlaggedReports:
    """Adds the flag Contended to the reports of pods that were measured beside an active neighbour.

    ``seen``: neighbours that earlier reconciles found. A neighbour may be deleted before the measurement is
    reported.
    """
    known, loads = _runs(recorded), by_node(neighbours)
    flagged, kept = dict(reports), {}
    for pod in pods:
        report = reports.get(pod.uid)
        measured = report.measurement if report else None
        neighbour = seen.get(pod.uid, "")
        if report is not None and report.phase == "Probing":
            neighbour = neighbour or noisy_neighbour(
                pod, now - timedelta(seconds=2 * SHORTEST_SECONDS), now, loads
            )
        span = _unchecked_interval(pod, measured, known, now)
        if report is not None and measured is not None and span is not None:
            neighbour = neighbour or noisy_neighbour(pod, *span, loads)
            if neighbour:
                flagged[pod.uid] = replace(report, measurement=_contended(measured, neighbour, pod.node))
        if neighbour and (measured is None or span is not None or (report and report.phase == "Probing")):
            kept[pod.uid] = neighbour
    return FlaggedReports(reports=flagged, seen=kept)


def _runs(recorded: Iterable[MeasurementEntry]) -> set[tuple[str, str]]:
    return {(run.time, run.pod) for item in recorded if item.history for run in item.history.runs}


def _contended(measured: Measurement, neighbour: str, node: str) -> Measurement:
    cause = f"{neighbour} was started, loaded or measured on node {node} meanwhile"
    # First: what comes last in a long message is cut.
    message = f"{cause}; {measured.message}" if measured.message else cause
    flags = tuple(sorted({*measured.flags, CONTENDED}))
    return replace(measured, flags=flags, message=clipped(message, 1024))


def read_neighbours(text: str) -> dict[str, str]:
    """The noisy neighbours that ``write_neighbours`` wrote, by pod uid; empty for an unreadable text."""
    try:
        data = json.loads(text) if text else {}
    except (ValueError, RecursionError):
        return {}
    return {str(key): str(value) for key, value in data.items()} if isinstance(data, dict) else {}


def write_neighbours(seen: Mapping[str, str]) -> str:
    return json.dumps(dict(seen), sort_keys=True) if seen else ""


def needs_neighbours(
    pods: Iterable[Manifest],
    reports: Mapping[str, Report],
    recorded: Iterable[MeasurementEntry],
    now: datetime,
) -> bool:
    """Whether neighbours must be read: some pod is being measured, or has a measurement not yet checked for
    them."""
    known = _runs(recorded)
    return any(
        report.phase == "Probing" or _unchecked_interval(pod, report.measurement, known, now) is not None
        for pod in map(PodView, pods)
        if (report := reports.get(pod.uid)) is not None
    )


def _unchecked_interval(
    pod: PodView, measured: Measurement | None, known: Collection[tuple[str, str]], now: datetime
) -> tuple[datetime, datetime] | None:
    """When the pod was measured, as (begin, end); None where it is unusable or already in status."""
    if measured is None or measured.state not in USABLE or (measured.observed_time, pod.name) in known:
        return None
    span = probe_interval(measured)
    return span if span and (now - span[1]).total_seconds() < NEW_SECONDS else None
