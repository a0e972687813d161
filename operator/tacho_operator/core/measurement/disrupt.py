"""A request that a serving pod is to answer: which one, whether it has, and how long it is waited for."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime

from tacho_contract import codec
from tacho_contract.launch import Again, LiveConfig
from tacho_contract.report import Report
from tacho_contract.times import format_time, parse_time
from tacho_contract.units import clipped
from tacho_operator.core.measurement.due import DISRUPT
from tacho_operator.core.pods.view import PodView
from tacho_operator.core.types import Event

HOSTNAME_LENGTH = 63
"""To which a kubelet cuts a pod's name for its hostname, less dashes and dots at the end."""
BEGIN_SECONDS = 300.0
"""Within which a pod that serves has begun. A kubelet shows a changed ConfigMap after two minutes at most."""
END_SECONDS = 3600.0
"""Within which one that has begun, or cannot be asked, has answered."""
SERVING = "Serving"
EVENT = "NotMeasuredAgain"


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What is remembered of a request, from turn to turn."""

    request: str = ""
    pod: str = ""
    since: str = ""
    """When that pod was told (RFC 3339)."""
    message: str = ""
    """Why it was given up; "": it was not."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Disruption:
    """What the serving pods are told, and which request was dealt with last."""

    again: Again = Again()
    answered: str = ""
    note: str = ""
    """To keep on the live ConfigMap."""
    look_again_seconds: float | None = None
    events: tuple[Event, ...] = ()


def disruption(
    asked: str,
    answered: str,
    *,
    servers: Iterable[PodView],
    reports: Mapping[str, Report],
    former: Again,
    note: str,
    now: datetime,
) -> Disruption:
    """One pod at a time: the one that was told before, while it is there, else the oldest that serves."""
    before = read_asked(note)
    if asked == answered or not asked.startswith(DISRUPT):
        given_up = asked == before.request and before.message
        return Disruption(answered=answered, note=note if given_up else "")
    pods = [pod for pod in servers if not pod.terminating]
    if any(_answer(reports.get(pod.uid)) == asked for pod in pods):
        return Disruption(answered=asked)
    told = [pod for pod in pods if former.request == asked and hostname(pod) == former.hostname]
    chosen = next(iter(told), None) or next((pod for pod in pods if pod.ready), None)
    if chosen is None:
        return Disruption(answered=answered)
    since = parse_time(before.since) if (before.request, before.pod) == (asked, chosen.name) else None
    return _waited_for(asked, answered, chosen, reports.get(chosen.uid), min(since or now, now), now)


def _waited_for(
    asked: str, answered: str, pod: PodView, report: Report | None, since: datetime, now: datetime
) -> Disruption:
    idle = report is not None and report.phase == SERVING
    left = (BEGIN_SECONDS if idle else END_SECONDS) - (now - since).total_seconds()
    kept = Asked(request=asked, pod=pod.name, since=format_time(since))
    if left > 0:
        again = Again(request=asked, hostname=hostname(pod))
        return Disruption(again=again, answered=answered, note=codec.dumps(kept), look_again_seconds=left)
    message = clipped(_given_up(pod, report))
    given_up = Asked(request=asked, pod=pod.name, since=kept.since, message=message)
    event = Event(type="Warning", reason=EVENT, message=message)
    return Disruption(answered=asked, note=codec.dumps(given_up), events=(event,))


def _given_up(pod: PodView, report: Report | None) -> str:
    if report is None:
        return (
            f"Pod {pod.name} was asked to measure itself and cannot be reached. Check that NetworkPolicies "
            "let the operator reach port 9400 of it."
        )
    if report.phase == SERVING:
        return (
            f"Pod {pod.name} was asked to measure itself and serves on: its runtime, "
            f"{report.runtime_version}, may be too old to know the request. Have a throwaway pod measure "
            f"(a request without {DISRUPT}), or give it a new revision."
        )
    return f"Pod {pod.name} was asked to measure itself and has not come to an end: it is {report.phase}."


def read_asked(text: str) -> Asked:
    """What an earlier turn has kept; nothing where it cannot be read."""
    try:
        return codec.from_dict(Asked, json.loads(text)) if text else Asked()
    except ValueError:  # of both
        return Asked()


def _answer(report: Report | None) -> str:
    """The request that the pod's measurement answers."""
    return report.measurement.request if report and report.measurement else ""


def hostname(pod: PodView) -> str:
    return pod.name[:HOSTNAME_LENGTH].rstrip("-.")


def told_before(live: str) -> Again:
    """What an earlier turn has told the pods; nothing where it cannot be read."""
    try:
        return codec.loads(LiveConfig, live).again
    except codec.DocumentError:
        return Again()
