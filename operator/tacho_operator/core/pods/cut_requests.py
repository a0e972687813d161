"""Warning events for requests that were cut off because their engine stopped before they ended.

The runtime counts them in its termination message. An annotation of the live ConfigMap records which exits
were reported, so that no exit is reported twice.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from tacho_contract import codec
from tacho_contract.report import CutRequests
from tacho_contract.units import counted, format_time
from tacho_operator.core import names
from tacho_operator.core.pods.view import PodView
from tacho_operator.core.types import ResourceEvent

EVENT = "RequestsCut"
MAX_REPORTED = 1000
"""Most exits that the annotation records; at 11 bytes each they stay far below the limit of 256 KiB."""

MAX_CUT = 10**6
"""Highest number of cut requests per engine that is believed."""

MAX_DRAIN_SECONDS = 10**6
"""Longest drain in seconds that is believed."""

MAX_EVENTS = 10
"""Most pods that get an event of their own in one reconcile; one more event has the count of the others."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CutReport:
    """The events to post about cut requests, and the exits that they report."""

    events: tuple[ResourceEvent, ...] = ()
    requests: int = 0
    """Number of requests that were cut since the last report, for the metric."""
    note: str = ""
    """Hashes of all reported exits, to store on the live ConfigMap."""


def report_cut_requests(servers: Iterable[PodView], note: str, grace_seconds: int) -> CutReport:
    """Events for requests that ``servers`` cut off.

    ``note``: the exits that were reported before. ``grace_seconds``: the grace period of pods in spec.
    """
    reported, requests = frozenset(note.split()), 0
    present: list[str] = []
    ended: list[tuple[PodView, CutRequests]] = []
    for pod in servers:
        engine = pod.container(names.ENGINE_CONTAINER)
        end = engine.terminated if engine else None
        cut = _cut_requests(end.message) if end is not None and end.exit_code == 0 else None
        if end is None or cut is None or len(present) == MAX_REPORTED:
            continue
        present.append(names.digest([pod.uid, end.finished and format_time(end.finished)]))
        if present[-1] not in reported:
            ended.append((pod, cut))
            requests += 0 if cut.are_connections else cut.cut_requests or 0
    events = [_event(pod, cut, grace_seconds) for pod, cut in ended[:MAX_EVENTS]]
    if others := len(ended) - len(events):
        message = f"{counted(others, 'more pod')} ended with unfinished requests."
        events.append(ResourceEvent(type="Warning", reason=EVENT, message=message))
    return CutReport(events=tuple(events), requests=requests, note=" ".join(sorted(present)))


def _cut_requests(message: str) -> CutRequests | None:
    """The document in a termination message; None where it is something else."""
    found = codec.read(CutRequests, message)
    if found is None or not 0 <= found.drain_seconds <= MAX_DRAIN_SECONDS:
        return None
    return found if found.cut_requests is None or 0 < found.cut_requests <= MAX_CUT else None


def _event(pod: PodView, cut: CutRequests, grace_seconds: int) -> ResourceEvent:
    number = "an unknown number of requests"
    if cut.cut_requests is not None:
        number = counted(cut.cut_requests, "connection" if cut.are_connections else "request")
    return ResourceEvent(
        type="Warning",
        reason=EVENT,
        message=f"Pod {pod.name} ended with {number} unfinished, {cut.drain_seconds} s after it was stopped. "
        "For longer requests, raise spec.podTemplate.spec.terminationGracePeriodSeconds "
        f"above {grace_seconds}.",
    )
