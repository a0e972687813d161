"""Events, on transitions only: what is worth a line in `kubectl describe` when status changes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tacho_contract.failure import FailureClass
from tacho_operator.api.conditions import ConditionType, Reason
from tacho_operator.core.types import Event, Manifest

_FAILURES = frozenset(FailureClass)
_WORTH = {
    ConditionType.READY: frozenset({Reason.SERVING, Reason.SCALED_TO_ZERO}),
    ConditionType.PLANNED: frozenset({Reason.PLAN_READY}),
    ConditionType.MEASURED: frozenset(
        {
            Reason.MEASUREMENT_COMPLETE,
            Reason.MEASUREMENT_PARTIAL,
            Reason.MEASUREMENT_STALE,
            Reason.MEASUREMENT_FAILED,
            Reason.CANNOT_JUDGE,
        }
    ),
    ConditionType.ROLLOUT_ACCEPTED: frozenset({Reason.ACCEPTED, Reason.JUDGING}),
    ConditionType.STALLED: frozenset[str](),
}
"""Reasons besides the failure classes whose coming is an event, by condition. That a service stops serving
always is one."""
_WARNINGS = frozenset({Reason.MEASUREMENT_FAILED, Reason.CANNOT_JUDGE})


def _conditions(status: Mapping[str, Any]) -> dict[str, Manifest]:
    return {item["type"]: item for item in status.get("conditions") or ()}


def transition_events(before: Mapping[str, Any], after: Mapping[str, Any]) -> tuple[Event, ...]:
    """One event for each reason that newly holds; a mere change of words is none."""
    old, new = _conditions(before), _conditions(after)
    found: dict[str, Event] = {}
    for kind, worth in _WORTH.items():
        now, was = new.get(kind), old.get(kind, {})
        if now is None or (now["status"], now["reason"]) == (was.get("status"), was.get("reason")):
            continue
        reason = now["reason"]
        failed = reason in _FAILURES or (now["status"] == "False" and reason not in worth)
        lost = kind == ConditionType.READY and (was.get("status"), now["status"]) == ("True", "False")
        if reason in worth or reason in _FAILURES or lost:
            kind_ = "Warning" if failed or reason in _WARNINGS else "Normal"
            found.setdefault(reason, Event(type=kind_, reason=reason, message=now["message"]))
    known = {item["reason"] for item in old.values() if item["status"] != "Unknown"}
    repeated = {reason for reason in found if reason in _FAILURES and reason in known}
    return tuple(event for reason, event in found.items() if reason not in repeated)
