"""A user's request that a serving pod measures itself: which pod gets it, its answer, when it is too late."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime

from tacho_contract import codec
from tacho_contract.launch import Again, LiveConfig
from tacho_contract.report import Report
from tacho_contract.units import clipped, format_time, parse_time
from tacho_operator.core.measurement.attempts import DISRUPT
from tacho_operator.core.pods.view import PodView
from tacho_operator.core.types import ResourceEvent

HOSTNAME_LENGTH = 63
"""Length to which a kubelet cuts a pod's name for its hostname; trailing dashes and dots are removed."""
BEGIN_SECONDS = 300.0
"""Seconds in which a serving pod has to begin its measurement. The kubelet updates a mounted ConfigMap within
two minutes.
"""
END_SECONDS = 3600.0
"""Seconds in which a serving pod has to end its measurement, once begun, or if its report cannot be read."""
SERVING = "Serving"
EVENT = "NotMeasuredAgain"


@dataclass(frozen=True, slots=True, kw_only=True)
class ReprobeNote:
    """The request that a serving pod has received, as stored between reconciles."""

    request: str = ""
    pod: str = ""
    since: str = ""
    """When the pod received the request (RFC 3339)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReprobePlan:
    """The request to send to a serving pod, and the user's last request whose measurement has ended."""

    again: Again = Again()
    answered: str = ""
    note: str = ""
    """The request and its pod, as JSON to store on the live ConfigMap."""
    requeue_after_seconds: float | None = None
    events: tuple[ResourceEvent, ...] = ()


def plan_reprobe(
    request: str,
    answered: str,
    *,
    servers: Iterable[PodView],
    reports: Mapping[str, Report],
    former: Again,
    note: str,
    now: datetime,
) -> ReprobePlan:
    """Which serving pod gets the user's request to measure itself, and whether the request is completed.

    One pod at a time: the pod that already has the request while it exists, else the oldest ready pod.
    """
    if request == answered or not request.startswith(DISRUPT):
        return ReprobePlan(answered=answered)
    pods = [pod for pod in servers if not pod.terminating]
    found = [report.measurement for pod in pods if (report := reports.get(pod.uid))]
    if any(measurement and measurement.request == request for measurement in found):
        return ReprobePlan(answered=request)
    before = codec.read(ReprobeNote, note) or ReprobeNote()
    former_pods = [pod for pod in pods if former.request == request and hostname(pod) == former.hostname]
    chosen = next(iter(former_pods), None) or next((pod for pod in pods if pod.ready), None)
    if chosen is None:
        return ReprobePlan(answered=answered)
    since = parse_time(before.since) if (before.request, before.pod) == (request, chosen.name) else None
    return _await_answer(request, answered, chosen, reports.get(chosen.uid), min(since or now, now), now)


def _await_answer(
    request: str, answered: str, pod: PodView, report: Report | None, since: datetime, now: datetime
) -> ReprobePlan:
    idle = report is not None and report.phase == SERVING
    left = (BEGIN_SECONDS if idle else END_SECONDS) - (now - since).total_seconds()
    if left > 0:
        note = ReprobeNote(request=request, pod=pod.name, since=format_time(since))
        again = Again(request=request, hostname=hostname(pod))
        return ReprobePlan(again=again, answered=answered, note=codec.dumps(note), requeue_after_seconds=left)
    message = clipped(_unanswered_message(pod, report))
    event = ResourceEvent(type="Warning", reason=EVENT, message=message)
    return ReprobePlan(answered=request, events=(event,))


def _unanswered_message(pod: PodView, report: Report | None) -> str:
    if report is None:
        return (
            f"Pod {pod.name} has a request to measure itself and cannot be reached. Check that "
            "NetworkPolicies let the operator reach port 9400 of it."
        )
    return (
        f"Pod {pod.name} has a request to measure itself and has not finished: its phase is {report.phase}. "
        f"Request it without {DISRUPT}, so that a probe pod measures."
    )


def hostname(pod: PodView) -> str:
    return hostname_of(pod.name)


def hostname_of(name: str) -> str:
    """The hostname in the pod of that name."""
    return name[:HOSTNAME_LENGTH].rstrip("-.")


def former_request(live: str) -> Again:
    """The request that serving pods read from their mounted settings ``live``; an empty one where these are
    unreadable."""
    found = codec.read(LiveConfig, live)
    return found.again if found else Again()
