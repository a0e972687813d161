"""The gate while no revision serves yet: there is nothing to protect, so nothing is rejected.

A revision that has measured itself is ready within seconds. For that time it is kept, so that a change of
spec in between is compared with it. One that does not get ready never blocks its successor, which says so.
"""

from __future__ import annotations

from datetime import datetime

from tacho_contract.units import parse_time
from tacho_operator.core import names
from tacho_operator.core.gate.evidence import SERVING
from tacho_operator.core.gate.judge import Kind, comparable
from tacho_operator.core.pauses import pause_left
from tacho_operator.core.pods.view import PodView, views
from tacho_operator.core.rollout.decision import RolloutInput
from tacho_operator.core.rollout.record import GateRecord, Gating
from tacho_operator.core.types import Observed

READY_SECONDS = 60.0
"""Seconds after its measurement in which a pod is about to be ready. A readiness probe takes two."""


def without_active(
    at: RolloutInput, observed: Observed, record: GateRecord | None, *, key: str, measure_key: str
) -> Gating:
    """The decision while no revision serves. ``record``: the former one of the desired revision."""
    found = [
        (left, pod.revision)
        for pod in views(observed.pods, names.ROLE_SERVER)
        if pod.revision in at.deployments and pod.revision != at.desired and not pod.terminating
        if (left := _seconds_to_ready(pod, observed, at.now))
    ]
    left, awaits = max(found, default=(0.0, ""))
    if at.replicas and awaits:
        return Gating(record=record, awaits=awaits, requeue_after_seconds=left)
    if record is not None and record.verdict:
        return Gating(record=record)
    if not (before := _measured_before(at, observed, measure_key)):
        return Gating()
    what = f"revision {before} was measured, and had no ready pod"
    made = GateRecord(revision=at.desired, key=key, verdict=str(Kind.UNJUDGED), what=what)
    return Gating(record=made)


def _seconds_to_ready(pod: PodView, observed: Observed, now: datetime) -> float:
    """Seconds in which a pod that has just measured itself is about to be ready; 0: it is not."""
    report = observed.reports.get(pod.uid)
    if report is None or report.measurement is None or report.phase != SERVING:
        return 0.0
    ended = parse_time(report.measurement.observed_time)
    return pause_left(ended, READY_SECONDS, now) if ended else 0.0


def _measured_before(at: RolloutInput, observed: Observed, measure_key: str) -> str:
    """Another revision with clean figures for the present workload, slo and probe; "": none."""
    entries = observed.resource.status.measurements
    found = (item.revision for item in entries if item.measure_key == measure_key and comparable(item))
    return next((name for name in found if name and name != at.desired), "")
