"""Finds the outcome of a request to measure a deployment again, from the cluster's objects. Pure."""

from __future__ import annotations

import json
from dataclasses import dataclass

from tacho_cli.status.rows import condition
from tacho_operator.api.conditions import Reason
from tacho_operator.core import names
from tacho_operator.core.measurement.attempts import DISRUPT
from tacho_operator.core.pods.view import PodView
from tacho_operator.core.types import Manifest

MeasurementKeys = frozenset[tuple[str, str]]
"""(fingerprint, observed time) of measurements, and (pod, time) of their runs."""
PROVISIONAL = "Provisional"


@dataclass(frozen=True, slots=True, kw_only=True)
class ReprobeOutcome:
    """The outcome of a request to measure again.

    ``entry``: the requested measurement; None: ``why`` says why there is none.
    """

    entry: Manifest | None = None
    why: str = ""
    provisional: bool = False
    """The measurement exists, and something other than the engine disturbed it."""


def request_text(now: str, *, disrupt: bool) -> str:
    """The value of the annotation that requests a measurement: a different one each time."""
    return f"{DISRUPT}-{now}" if disrupt else now


def seen(resource: Manifest) -> MeasurementKeys:
    """Identities of the measurements and runs that exist before the request."""
    return frozenset((*map(_identity, _entries(resource)), *map(_run, _runs(resource))))


def tried(live: Manifest, request: str) -> bool:
    """Whether the operator has completed the request, or at least measured for it.

    ``live``: the ConfigMap with the operator's notes.
    """
    return _kept(live, names.ANSWERED_ANNOTATION) == request or _outcome(live, request) is not None


def unanswered(resource: Manifest, live: Manifest, request: str, before: MeasurementKeys) -> ReprobeOutcome:
    """The outcome of a completed request without a new measurement: no result, or no better one."""
    there = "the result is provisional, and the clean measurement stays current"
    if (note := _outcome(live, request)) and note.get("reason") == Reason.MEASUREMENT_PROVISIONAL:
        why = f"{note.get('message') or 'a disturbance changed it'}; it is measured again later."
        return ReprobeOutcome(why=f"{there}: {why}", provisional=True)
    fresh = [run for run in _runs(resource) if _run(run) not in before]
    if fresh and all(run.get("confidence") == PROVISIONAL for run in fresh):
        pods = ", ".join(sorted({run.get("pod", "") for run in fresh}))
        return ReprobeOutcome(why=f"{there}: a disturbance changed the result of {pods}", provisional=True)
    measured = condition(resource.get("status") or {}, "Measured")
    now = f" {measured['reason']}: {measured.get('message', '')}" if measured else ""
    return ReprobeOutcome(why=f"the measured pod has no better result than the present one.{now}")


def ended(resource: Manifest, live: Manifest, request: str, before: MeasurementKeys) -> ReprobeOutcome | None:
    """The outcome of the request; None while it is in progress."""
    given_up = _document(_kept(live, names.MEASURE_REQUESTED_ANNOTATION))
    if given_up.get("request") == request and given_up.get("message"):
        return ReprobeOutcome(why=str(given_up["message"]))
    note = _outcome(live, request)
    if note and note.get("reason") != Reason.MEASUREMENT_PROVISIONAL:
        again = "" if note.get("reason") == Reason.MEASUREMENT_FAILED else " It is retried later."
        return ReprobeOutcome(why=f"{note.get('reason')}: {note.get('message')}{again}")
    if not tried(live, request):
        return None
    # The operator writes its notes and the status one after the other.
    fresh = (item for item in _entries(resource) if _identity(item) not in before)
    newest = max(fresh, key=lambda item: item.get("observedTime", ""), default=None)
    return ReprobeOutcome(entry=newest) if newest else None


def stage(resource: Manifest, pods: list[Manifest], live: Manifest | None, request: str) -> str:
    """The present state of the request, in a few words. ``pods``: probe pods."""
    accepted = _document(_kept(live, names.MEASURE_REQUESTED_ANNOTATION)) if live else {}
    if accepted.get("request") == request and accepted.get("pod"):
        return f"{accepted['pod']} receives the request within two minutes, leaves the Service and measures"
    for pod in map(PodView, pods):
        if not pod.terminating:
            waits = (container.waiting_reason for container in pod.containers())
            why = next(filter(None, (pod.condition("PodScheduled").reason, *waits)), "")
            return f"{pod.name}: {pod.phase or 'Pending'}{f', {why}' if why else ''}"
    ready = condition(resource.get("status") or {}, "Ready")
    if ready.get("status") == "True":
        return "requested; waiting for the operator"
    return f"requested; not ready: {ready.get('reason', 'no operator has reconciled it yet')}"


def _entries(resource: Manifest) -> list[Manifest]:
    return (resource.get("status") or {}).get("measurements") or []


def _runs(resource: Manifest) -> list[Manifest]:
    return [run for entry in _entries(resource) for run in (entry.get("history") or {}).get("runs") or []]


def _run(run: Manifest) -> tuple[str, str]:
    return run.get("pod", ""), run.get("time", "")


def _identity(entry: Manifest) -> tuple[str, str]:
    return entry.get("fingerprint", ""), entry.get("observedTime", "")


def _kept(live: Manifest, annotation: str) -> str:
    return str((live["metadata"].get("annotations") or {}).get(annotation, ""))


def _outcome(live: Manifest, request: str) -> Manifest | None:
    """The result of the last probe pod, where it worked on this request."""
    note = _document(_kept(live, names.OUTCOME_ANNOTATION))
    return note if note.get("request") == request else None


def _document(text: str) -> Manifest:
    try:
        found = json.loads(text or "{}")
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}
