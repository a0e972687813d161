"""Events, on transitions only: what is worth a line in `kubectl describe` when status changes."""

from __future__ import annotations

from tacho_contract.failure import FailureClass
from tacho_operator.api.conditions import ConditionType, Reason, find_condition
from tacho_operator.api.types import LLMDeploymentStatus
from tacho_operator.core.types import Event

_FAILURES = frozenset(map(str, FailureClass))
_WORTH = {
    ConditionType.READY: frozenset({Reason.SERVING, Reason.SCALED_TO_ZERO}),
    ConditionType.PLANNED: frozenset({Reason.PLAN_READY}),
    ConditionType.MEASURED: frozenset(
        {
            Reason.MEASUREMENT_COMPLETE,
            Reason.MEASUREMENT_PARTIAL,
            Reason.MEASUREMENT_PROVISIONAL,
            Reason.MEASUREMENT_STALE,
            Reason.MEASUREMENT_FAILED,
            Reason.CANNOT_JUDGE,
            Reason.REPORT_UNREACHABLE,
            Reason.DEVIATES_FROM_BASELINE,
        }
    ),
    ConditionType.ROLLOUT_ACCEPTED: frozenset({Reason.ACCEPTED, Reason.JUDGING, Reason.FELL_BACK}),
    ConditionType.STALLED: frozenset[str](),
}
"""Reasons besides the failure classes whose coming is an event, by condition. That a service stops serving
always is one."""
_WARNINGS = frozenset(
    {
        Reason.MEASUREMENT_FAILED,
        Reason.CANNOT_JUDGE,
        Reason.REPORT_UNREACHABLE,
        Reason.DEVIATES_FROM_BASELINE,
        Reason.FELL_BACK,
    }
)


def transition_events(former: LLMDeploymentStatus, status: LLMDeploymentStatus) -> tuple[Event, ...]:
    """One event for each reason that newly holds; a mere change of words is none."""
    found: dict[str, Event] = {}
    for kind, worth in _WORTH.items():
        now, was = find_condition(status.conditions, kind), find_condition(former.conditions, kind)
        if now is None or (was is not None and (now.status, now.reason) == (was.status, was.reason)):
            continue
        failed = now.reason in _FAILURES or (now.status == "False" and now.reason not in worth)
        was_status = was.status if was else None
        lost = kind == ConditionType.READY and (was_status, now.status) == ("True", "False")
        if now.reason in worth or now.reason in _FAILURES or lost:
            warning = failed or now.reason in _WARNINGS
            event = Event(type="Warning" if warning else "Normal", reason=now.reason, message=now.message)
            found.setdefault(now.reason, event)
    if rescaled := _rescaled(former, status):
        found.setdefault(rescaled.reason, rescaled)
    known = {item.reason for item in former.conditions if item.status != "Unknown"}
    repeated = {reason for reason in found if reason in _FAILURES and reason in known}
    return tuple(event for reason, event in found.items() if reason not in repeated)


def _rescaled(former: LLMDeploymentStatus, status: LLMDeploymentStatus) -> Event | None:
    """As a HorizontalPodAutoscaler tells it."""
    was, now = former.autoscaling, status.autoscaling
    if now is None or not now.decisions or (was is not None and was.decisions == now.decisions):
        return None
    latest = now.decisions[0]
    said = f"New size: {latest.to_replicas}; reason: {latest.reason}"
    return Event(type="Normal", reason="SuccessfulRescale", message=said)
