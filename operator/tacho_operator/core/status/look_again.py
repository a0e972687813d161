"""When to look again without being called: reports and deadlines have no watch."""

from __future__ import annotations

from datetime import datetime

from tacho_contract.times import parse_time
from tacho_operator.api.conditions import ConditionType, find_condition
from tacho_operator.core.status.snapshot import Snapshot

MOVING_SECONDS = 2.0
"""While a pod starts or measures, its progress is worth asking for."""
SLOW_SECONDS = 10.0
LONG_SECONDS = 120.0
"""After this, progress is asked for less often: a download of hours must not cost a request every moment."""
UNMEASURED_SECONDS = 10.0
SILENT_SECONDS = 60.0
"""A pod that runs and does not answer is asked again so often."""
STALLED_SECONDS = 300.0
"""What may mend itself where no watch tells of it."""
SOONEST_SECONDS = 0.1


def look_again_seconds(snapshot: Snapshot, now: datetime) -> float | None:
    """Seconds until something may have changed that no watch tells of; None: until one does."""
    inspection = snapshot.planning.inspection
    asked = (
        snapshot.rollout.look_again_seconds,
        snapshot.remeasure.look_again_seconds,
        inspection.look_again_seconds if inspection else None,
        _pace_seconds(snapshot, now),
        snapshot.deadline_seconds,
    )
    return min((max(SOONEST_SECONDS, wait) for wait in asked if wait is not None), default=None)


def _pace_seconds(snapshot: Snapshot, now: datetime) -> float | None:
    """How often to ask pods for their reports; None where none has anything to tell."""
    if snapshot.telling:
        # A known problem is watched, or lasts; and what has moved for long moves slowly.
        slow = _long_under_way(snapshot, now) or any(snapshot.problems())
        return SLOW_SECONDS if slow else MOVING_SECONDS
    if snapshot.persons_problem is not None:
        again = any(problem.kind.tries_again for problem in snapshot.problems())
        return STALLED_SECONDS if again else None
    unmeasured = snapshot.subject is not None and snapshot.current is None and not snapshot.probe_disabled
    if snapshot.serves and unmeasured and not snapshot.remeasure.running:
        return SILENT_SECONDS if snapshot.silent else UNMEASURED_SECONDS
    return None


def _long_under_way(snapshot: Snapshot, now: datetime) -> bool:
    found = find_condition(snapshot.former.conditions, ConditionType.RECONCILING)
    if found is None or found.status != "True":
        return False
    since = parse_time(found.last_transition_time)
    return since is not None and (now - since).total_seconds() > LONG_SECONDS
