"""The conditions of one reconcile: status, reason and message of each, as in api/conditions.py."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from datetime import datetime

from tacho_contract.units import format_time
from tacho_operator.api.conditions import (
    ConditionType,
    Reason,
    find_condition,
    remove_condition,
    set_condition,
)
from tacho_operator.api.defaults import scaling_mode
from tacho_operator.api.status.status import Condition
from tacho_operator.core.autoscaling.status_view import ORDINARY, RECOMMEND
from tacho_operator.core.gate.judge import Kind
from tacho_operator.core.problems import DETAILS, Problem
from tacho_operator.core.revisions.planning import PLAN_PENDING
from tacho_operator.core.rollout.reading import rejection
from tacho_operator.core.status.condition_value import ConditionValue
from tacho_operator.core.status.measured_condition import measured
from tacho_operator.core.status.reachability import serving_message
from tacho_operator.core.status.snapshot import Snapshot

ACCEPTED = "Accepted"
"""Outcome in status of a revision that has served."""


def conditions(snapshot: Snapshot, now: datetime) -> list[Condition]:
    """All conditions at ``now``; those that no longer apply are removed."""
    found = [condition for condition in snapshot.former.conditions if condition.type in _VALUES]
    for kind, value_of in _VALUES.items():
        value = value_of(snapshot)
        if value is None:
            found = remove_condition(found, kind)
        else:
            generation = snapshot.resource.metadata.generation
            found = set_condition(found, condition_of(kind, value, generation, now))
    return found


def condition_of(kind: ConditionType, value: ConditionValue, generation: int, now: datetime) -> Condition:
    """A condition in the form in which status stores it."""
    return Condition(
        type=str(kind),
        status=value.status,
        reason=str(value.reason),
        message=value.message,
        last_transition_time=format_time(now),
        observed_generation=generation,
    )


def ready(snapshot: Snapshot) -> ConditionValue:
    """The condition Ready: whether requests are answered now."""
    if snapshot.serves:
        reached, desired = snapshot.pods.reached, snapshot.replicas
        count = serving_message(reached, desired)
        if reached >= desired:
            exposure = snapshot.problems.exposure
            return ConditionValue("True", Reason.SERVING, count, exposure.what if exposure else "")
        problem = next(
            (item for item in (snapshot.problems.subject, *snapshot.problems.blocking) if item), None
        )
        if problem is None:
            return ConditionValue("True", Reason.PARTLY_SERVING, f"{count} {snapshot.pods.progress.message}")
        return dataclasses.replace(
            ConditionValue.of("True", problem, f"{count} "), reason=Reason.PARTLY_SERVING
        )
    for problem in snapshot.all_problems():
        return ConditionValue.of("False", problem)
    if snapshot.inspecting and not snapshot.rollout.active:
        return ConditionValue("False", Reason.INSPECTING, _inspection_message(snapshot))
    if snapshot.replicas == 0:
        return ConditionValue("False", Reason.SCALED_TO_ZERO, "spec.replicas is 0.", "Scale up to serve.")
    if snapshot.unanswered is not None and snapshot.pods.ready:
        what = "Pods are ready, and the Service does not lead to them."
        return ConditionValue("False", Reason.STARTING, what, "See Reconciling.")
    return ConditionValue("False", snapshot.pods.progress.reason, snapshot.pods.progress.message)


def stalled(snapshot: Snapshot) -> ConditionValue:
    """The condition Stalled: whether user action is required."""
    problem = snapshot.stalling_problem
    if problem is not None:
        return ConditionValue.of("True", problem)
    if not snapshot.serves and any(snapshot.all_problems()):
        return ConditionValue("False", Reason.PROGRESSING, "It may still resolve by itself.", "See Ready.")
    return ConditionValue("False", Reason.PROGRESSING, "No user action is required.")


def reconciling(snapshot: Snapshot) -> ConditionValue:
    """The condition Reconciling: whether work is in progress; never True while Stalled is (kstatus).

    It also names a node that no marker keeps new pods off.
    """
    found = _reconciling(snapshot)
    return dataclasses.replace(found, quotation=found.quotation or snapshot.unmarked)


def _reconciling(snapshot: Snapshot) -> ConditionValue:
    if snapshot.stalling_problem is not None:
        return ConditionValue("False", Reason.FAILED, "User action is required.", "See Stalled.")
    if snapshot.work is None:
        return ConditionValue("False", Reason.SETTLED, "The cluster matches spec.")
    if (found := snapshot.unanswered) is not None:
        what = f"The write of {found.kind} {found.name} is not done."
        return ConditionValue("True", Reason.RETRYING, what, "It is retried.", found.message)
    # A pod more than desired is awaited, as of a template that somebody else changed.
    quotation = snapshot.pods.progress.unscheduled if snapshot.work == Reason.SCALING else ""
    return ConditionValue("True", snapshot.work, _WORK[snapshot.work](snapshot), quotation=quotation)


def _scaling(snapshot: Snapshot) -> str:
    reached, desired, pods = snapshot.pods.reached, snapshot.replicas, snapshot.pods.count
    if reached < desired:
        return f"{reached} of {desired} replicas are ready. {snapshot.pods.progress.message}"
    enforced = snapshot.scaling and scaling_mode(snapshot.resource.spec) == "Enforce"
    source = "The scaler requests" if enforced else "spec.replicas is"
    text = f"{source} {desired}; {pods} {'pod exists' if pods == 1 else 'pods exist'}."
    if snapshot.pods.replacing:
        text = f"{text} Deployment {snapshot.pods.replacing} replaces pods of an earlier ReplicaSet."
    return f"{text} {snapshot.pods.progress.message}" if snapshot.pods.progress.unscheduled else text


def planned(snapshot: Snapshot) -> ConditionValue:
    """The condition Planned: whether the spec has a plan."""
    planning = snapshot.planning
    if planning.plan is not None:
        name = f"Revision {planning.revision.name}: " if planning.revision else ""
        return ConditionValue("True", Reason.PLAN_READY, name + planning.plan.message, snapshot.token_note)
    problem: Problem | None = planning.problem
    if problem is None and planning.inspection:
        problem = planning.inspection.problem
    if problem is None:
        problem = next(iter(snapshot.problems.blocking), None)
    if problem is not None:
        return ConditionValue.of("False", problem)
    return ConditionValue("Unknown", Reason.INSPECTING, _inspection_message(snapshot))


def served_revisions(snapshot: Snapshot) -> frozenset[str]:
    """Names of the revisions that have served: by the stored status, and the active one if it serves now."""
    found = {item.name for item in snapshot.former.revisions if item.outcome == ACCEPTED}
    return frozenset(found | {snapshot.rollout.active} if snapshot.pods.reached else found)


def rollout_accepted(snapshot: Snapshot) -> ConditionValue | None:
    """The condition RolloutAccepted: whether the newest revision serves, or was rolled back; None: absent."""
    rollout, problem = snapshot.rollout, snapshot.problems.candidate
    if not rollout.active:
        return None
    if (refused := rejection(rollout)) is not None:
        return ConditionValue.of("False", refused)
    if rollout.candidate and rollout.rolled_back:
        record = rollout.serving.rollback
        cause = f"{record.reason}: {record.message}" if record and record.reason else ""
        stalls = problem is not None and problem.needs_user_action
        reason = problem.reason if problem is not None and stalls else Reason.ROLLED_BACK
        return ConditionValue("False", reason, rollout.reason, quotation=cause.replace(DETAILS, " "))
    if rollout.candidate and problem is not None:
        if problem.needs_user_action:
            return ConditionValue.of("False", problem, f"Revision {rollout.candidate}: ")
        return dataclasses.replace(ConditionValue.of("Unknown", problem), reason=Reason.JUDGING)
    if rollout.candidate:
        return ConditionValue("Unknown", Reason.JUDGING, rollout.reason, quotation=_figures(snapshot))
    if snapshot.held_back is not None:
        return ConditionValue.of("False", snapshot.held_back)
    if not snapshot.planning.desired_revision:
        return _unplanned(snapshot)
    if rollout.active not in served_revisions(
        snapshot
    ):  # changed while it was scaled to zero, and nothing has tried it since
        what = f"Revision {rollout.active} has not served yet."
        return ConditionValue("Unknown", Reason.JUDGING, what) if len(snapshot.revisions) > 1 else None
    return _accepted(snapshot)


def _accepted(snapshot: Snapshot) -> ConditionValue:
    """RolloutAccepted of a revision that serves, with what the gate found of it."""
    rollout, serves = snapshot.rollout, f"Revision {snapshot.rollout.active} serves"
    record = rollout.serving.gate
    if record is None:
        if len(snapshot.revisions) <= 1:
            return ConditionValue("True", Reason.FIRST_REVISION, f"Revision {rollout.active} is the first.")
        return ConditionValue("True", Reason.ACCEPTED, f"{serves}.")
    quotation = _figures(snapshot)
    if record.verdict == Kind.UNJUDGED:
        return ConditionValue(
            "True", Reason.NOT_JUDGED, f"{serves}; it was not judged: {record.what}.", quotation=quotation
        )
    is_worse = record.verdict == Kind.REGRESSION
    reason = Reason.REGRESSION if is_worse else Reason.ACCEPTED
    return ConditionValue("True", reason, f"{serves}: {record.what}.", quotation=quotation)


def _figures(snapshot: Snapshot) -> str:
    """What the gate has found so far, with intervals and tolerances; "": nothing."""
    record = snapshot.rollout.serving.gate
    return record.details.replace(DETAILS, " ") if record else ""


def _unplanned(snapshot: Snapshot) -> ConditionValue:
    """RolloutAccepted while spec has no revision yet, so that what serves is of a former spec."""
    planning = snapshot.planning
    found = planning.problem or next(iter(snapshot.problems.blocking), None)
    if found is None and planning.inspection:
        found = planning.inspection.problem
    if found is not None and found.needs_user_action:
        return ConditionValue.of("False", found)
    return ConditionValue("Unknown", Reason.INSPECTING, _inspection_message(snapshot))


def scaling_active(snapshot: Snapshot) -> ConditionValue | None:
    """The condition ScalingActive: whether replicas follow the load. Before the scaler's first decision in
    this mode the stored one stays, if it is of this mode.
    """
    if snapshot.resource.spec.autoscaling is None:
        return None
    if snapshot.scale_refused:
        what = "The API server refused a change of the replicas."
        return ConditionValue("False", Reason.FAILED_UPDATE_SCALE, what, quotation=snapshot.scale_refused)
    if snapshot.scaling is None and _is_of_another_mode(snapshot):
        return None
    if snapshot.scaling is None:
        former = find_condition(snapshot.former.conditions, ConditionType.SCALING_ACTIVE)
        return ConditionValue(former.status, former.reason, former.message) if former else None
    active = snapshot.scaling.active
    if snapshot.ignored_write and (active is None or active.reason in ORDINARY):
        return ConditionValue("True", Reason.REPLICAS_IGNORED, *snapshot.ignored_write)
    return ConditionValue(active.status, active.reason, active.message) if active else None


def _is_of_another_mode(snapshot: Snapshot) -> bool:
    mode = scaling_mode(snapshot.resource.spec)
    former = snapshot.former.autoscaling
    return former is not None and (former.mode == RECOMMEND) != (mode == RECOMMEND)


def _inspection_message(snapshot: Snapshot) -> str:
    inspection = snapshot.planning.inspection
    if snapshot.planning.pending_plan is not None:
        return PLAN_PENDING
    if inspection is None:
        return "The model's files and headers are being read."
    return inspection.problem.message if inspection.problem else inspection.reason


_WORK: dict[Reason, Callable[[Snapshot], str]] = {
    Reason.INSPECTING: _inspection_message,
    Reason.STARTING: lambda snapshot: f"{snapshot.rollout.reason} {snapshot.pods.progress.message}",
    Reason.ROLLING_OUT: lambda snapshot: snapshot.rollout.reason,
    Reason.SCALING: _scaling,
    Reason.MEASURING: lambda _: "A probe pod measures the service.",
}
"""Functions for the message of condition Reconciling, by its reason."""

_VALUES: dict[ConditionType, Callable[[Snapshot], ConditionValue | None]] = {
    ConditionType.READY: ready,
    ConditionType.RECONCILING: reconciling,
    ConditionType.STALLED: stalled,
    ConditionType.PLANNED: planned,
    ConditionType.MEASURED: measured,
    ConditionType.ROLLOUT_ACCEPTED: rollout_accepted,
    ConditionType.SCALING_ACTIVE: scaling_active,
}
