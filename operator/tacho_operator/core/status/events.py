"""Kubernetes events for changes of status and for new revisions, as `kubectl describe` shows them."""

from __future__ import annotations

from tacho_contract.failure import FailureClass
from tacho_operator.api.conditions import ConditionType, Reason, find_condition
from tacho_operator.api.status.status import LLMDeploymentStatus
from tacho_operator.core.autoscaling.status_view import RECOMMEND
from tacho_operator.core.revisions.planning import Planning
from tacho_operator.core.types import Observed, ResourceEvent

_FAILURES = frozenset(map(str, FailureClass))
_EVENT_REASONS = {
    ConditionType.READY: frozenset({Reason.SERVING, Reason.SCALED_TO_ZERO}),
    ConditionType.PLANNED: frozenset({Reason.PLAN_READY}),
    ConditionType.MEASURED: frozenset(
        {
            Reason.MEASUREMENT_COMPLETE,
            Reason.MEASUREMENT_PARTIAL,
            Reason.CAPACITY_FLOOR,
            Reason.MEASUREMENT_PROVISIONAL,
            Reason.MEASUREMENT_STALE,
            Reason.MEASUREMENT_FAILED,
            Reason.CANNOT_JUDGE,
            Reason.REPORT_UNREACHABLE,
            Reason.DEVIATES_FROM_BASELINE,
        }
    ),
    ConditionType.ROLLOUT_ACCEPTED: frozenset(
        {
            Reason.ACCEPTED,
            Reason.JUDGING,
            Reason.ROLLED_BACK,
            Reason.REGRESSION,
            Reason.NOT_JUDGED,
        }
    ),
    ConditionType.STALLED: frozenset[str](),
    ConditionType.SCALING_ACTIVE: frozenset({Reason.SLO_UNATTAINABLE, Reason.REPLICAS_IGNORED}),
}
"""By condition, the reasons that give an event. Failure classes, and the end of serving, always do."""
_WARNINGS = frozenset(
    {
        Reason.MEASUREMENT_FAILED,
        Reason.CANNOT_JUDGE,
        Reason.REPORT_UNREACHABLE,
        Reason.DEVIATES_FROM_BASELINE,
        Reason.ROLLED_BACK,
        Reason.REGRESSION,
        Reason.NOT_JUDGED,
        Reason.SLO_UNATTAINABLE,
        Reason.REPLICAS_IGNORED,
    }
)


NOT_FREE = "GPUNotFree"
"""Reason of a revision that another one replaced because no GPU of its kind was free, and of the event."""


def transition_events(former: LLMDeploymentStatus, status: LLMDeploymentStatus) -> tuple[ResourceEvent, ...]:
    """One event for each condition whose reason is new; a changed message alone gives no event."""
    found: dict[str, ResourceEvent] = {}
    for kind, reasons in _EVENT_REASONS.items():
        now, was = find_condition(status.conditions, kind), find_condition(former.conditions, kind)
        if now is None or (was is not None and (now.status, now.reason) == (was.status, was.reason)):
            continue
        failed = now.reason in _FAILURES or (now.status == "False" and now.reason not in reasons)
        was_status = was.status if was else None
        lost = kind == ConditionType.READY and (was_status, now.status) == ("True", "False")
        if now.reason in reasons or now.reason in _FAILURES or lost:
            warning = failed or now.reason in _WARNINGS
            event = ResourceEvent(
                type="Warning" if warning else "Normal", reason=now.reason, message=now.message
            )
            found.setdefault(now.reason, event)
    if rescaled := _rescaled(former, status):
        found.setdefault(rescaled.reason, rescaled)
    known = {item.reason for item in former.conditions if item.status != "Unknown"}
    repeated = {reason for reason in found if reason in _FAILURES and reason in known}
    return tuple(event for reason, event in found.items() if reason not in repeated)


def _rescaled(former: LLMDeploymentStatus, status: LLMDeploymentStatus) -> ResourceEvent | None:
    """The event of a changed replica count, in the words of the HorizontalPodAutoscaler; None: it did not
    change. A size that the API server refused has a second event once it is accepted.
    """
    was, now = former.autoscaling, status.autoscaling
    is_refused, was_refused = _refused_size(status), _refused_size(former)
    if now is None or not now.decisions:
        return None
    if was is not None and now.decisions[0] in was.decisions and (is_refused or not was_refused):
        return None
    latest = now.decisions[0]
    if latest.mode == RECOMMEND:
        message = f"Recommended size: {latest.to_replicas}; reason: {latest.reason}"
        return ResourceEvent(type="Normal", reason="RescaleRecommended", message=message)
    message = f"New size: {latest.to_replicas}; reason: {latest.reason}"
    if is_refused:
        message = f"{message} Error: {is_refused}"
        return ResourceEvent(type="Warning", reason="FailedRescale", message=message)
    return ResourceEvent(type="Normal", reason="SuccessfulRescale", message=message)


def _refused_size(status: LLMDeploymentStatus) -> str:
    """Why the API server refuses the present size; "": it does not."""
    found = find_condition(status.conditions, ConditionType.SCALING_ACTIVE)
    return found.message if found is not None and found.reason == Reason.FAILED_UPDATE_SCALE else ""


def revision_events(observed: Observed, planning: Planning) -> tuple[ResourceEvent, ...]:
    """Warning events for a new revision: that it runs remote code, and the warnings of its plan."""
    if not planning.apply:
        return ()
    trust = "it runs Python code of the model repository. "
    trust += "Set model.trustRemoteCode to false unless you trust its source."
    warnings = [("TrustRemoteCode", trust)] if observed.resource.spec.model.trust_remote_code else []
    warnings += [("PlanWarning", warning) for warning in (planning.plan.warnings if planning.plan else ())]
    if planning.plan and (tried := planning.plan.tried_gpus):
        chosen = planning.plan.gpu_kind
        stays = "; all kinds that fit were tried, so it stays" if chosen in tried else ""
        warnings += [(NOT_FREE, f"no GPU {tried[-1]} was free in time, so {chosen} is planned{stays}.")]
    return tuple(
        ResourceEvent(type="Warning", reason=reason, message=f"Revision {planning.desired_revision}: {what}")
        for reason, what in warnings
    )
