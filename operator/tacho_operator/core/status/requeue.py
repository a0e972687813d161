"""When to reconcile without a cluster event: reports and deadlines of pods cause none."""

from __future__ import annotations

from datetime import datetime

from tacho_contract.units import parse_time
from tacho_operator.api.conditions import ConditionType, find_condition
from tacho_operator.core.status.snapshot import Snapshot

MOVING_SECONDS = 2.0
"""Seconds between two reads of the reports while a pod starts or is measured."""
SLOW_SECONDS = 10.0
LONG_SECONDS = 120.0
"""Seconds after which reports are read only every SLOW_SECONDS, as a download may take hours."""
UNMEASURED_SECONDS = 10.0
UNANSWERED_SECONDS = 60.0
"""Seconds between two tries to read the report of a running pod that does not answer."""
STALLED_SECONDS = 300.0
"""Seconds between two reconciles while user action is required."""
SOONEST_SECONDS = 0.1


def requeue_after_seconds(snapshot: Snapshot, now: datetime) -> float | None:
    """Seconds until the next reconcile if no event comes before; None: only an event causes it."""
    inspection = snapshot.planning.inspection
    waits = (
        snapshot.rollout.requeue_after_seconds,
        snapshot.measuring.remeasure.requeue_after_seconds,
        inspection.requeue_after_seconds if inspection else None,
        _report_seconds(snapshot, now),
        snapshot.deadline_seconds,
    )
    return min((max(SOONEST_SECONDS, wait) for wait in waits if wait is not None), default=None)


def _report_seconds(snapshot: Snapshot, now: datetime) -> float | None:
    """Seconds until the reports are read again; None: no pod has a new report."""
    if snapshot.reporting:
        # A known problem has a watch, or lasts; and a long start changes slowly.
        slow = _long_in_progress(snapshot, now) or any(snapshot.all_problems())
        return SLOW_SECONDS if slow else MOVING_SECONDS
    if snapshot.stalling_problem is not None:
        again = any(problem.kind.tries_again for problem in snapshot.all_problems())
        return STALLED_SECONDS if again else None
    measuring = snapshot.measuring
    unmeasured = snapshot.subject is not None and measuring.current is None and not measuring.disabled
    if snapshot.serves and unmeasured and not measuring.remeasure.running:
        return UNANSWERED_SECONDS if snapshot.pods.unanswered else UNMEASURED_SECONDS
    return None


def _long_in_progress(snapshot: Snapshot, now: datetime) -> bool:
    found = find_condition(snapshot.former.conditions, ConditionType.RECONCILING)
    if found is None or found.status != "True":
        return False
    since = parse_time(found.last_transition_time)
    return since is not None and (now - since).total_seconds() > LONG_SECONDS
