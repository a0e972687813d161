"""The conditions of one moment: for each its status, reason and message, as api/conditions.py promises."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from tacho_contract.failure import FailureClass
from tacho_contract.measurement import INVALIDATING
from tacho_contract.times import format_time
from tacho_contract.units import clipped
from tacho_operator.api.conditions import (
    ConditionType,
    Reason,
    find_condition,
    remove_condition,
    set_condition,
)
from tacho_operator.api.types import Condition, ConditionStatus, MeasuredRun, Measurement
from tacho_operator.core.measurement.records import clean, shown
from tacho_operator.core.measurement.runs import deviation_words
from tacho_operator.core.measurement.states import PARTIAL
from tacho_operator.core.pods.reachability import unreachable_message
from tacho_operator.core.problems import Problem, ended
from tacho_operator.core.status.snapshot import Snapshot

SCALING = (ConditionType.ABLE_TO_SCALE, ConditionType.SCALING_ACTIVE, ConditionType.SCALING_LIMITED)


@dataclass(frozen=True, slots=True)
class ConditionValue:
    """What one condition says."""

    status: ConditionStatus
    reason: str
    message: str


def conditions(snapshot: Snapshot, now: datetime) -> list[Condition]:
    """The former conditions, brought up to ``now``; those that are absent at this moment are gone, and so are
    those of another version, which nobody would bring up to date."""
    found = [condition for condition in snapshot.former.conditions if condition.type in _VALUES]
    for kind, value_of in _VALUES.items():
        value = value_of(snapshot)
        if value is None:
            found = remove_condition(found, kind)
        else:
            judged = Condition(
                type=str(kind),
                status=value.status,
                reason=str(value.reason),
                message=clipped(value.message),
                last_transition_time=format_time(now),
                observed_generation=snapshot.resource.metadata.generation,
            )
            found = set_condition(found, judged)
    return found


def ready(snapshot: Snapshot) -> ConditionValue:
    """Whether somebody who sends a request now gets an answer."""
    if snapshot.serves:
        count = f"{min(snapshot.reached_pods, snapshot.replicas)} of {snapshot.replicas} replicas serve"
        if snapshot.reached_pods >= snapshot.replicas:
            return ConditionValue("True", Reason.SERVING, f"{count}.")
        reasons = (snapshot.subject_problem, *snapshot.blocking, snapshot.progress)
        why = next(reason.message for reason in reasons if reason is not None)
        return ConditionValue("True", Reason.PARTLY_SERVING, f"{count}. {why}")
    for problem in snapshot.problems():
        return ConditionValue("False", problem.reason, problem.message)
    if snapshot.inspecting and not snapshot.rollout.active:
        return ConditionValue("False", Reason.INSPECTING, _inspection_message(snapshot))
    if snapshot.replicas == 0:
        return ConditionValue("False", Reason.SCALED_TO_ZERO, "spec.replicas is 0. Scale up to serve.")
    return ConditionValue("False", snapshot.progress.reason, snapshot.progress.message)


def stalled(snapshot: Snapshot) -> ConditionValue:
    """Whether a person is needed."""
    problem = snapshot.persons_problem
    if problem is not None:
        return ConditionValue("True", problem.reason, problem.message)
    return ConditionValue("False", Reason.PROGRESSING, "No person is needed.")


def reconciling(snapshot: Snapshot) -> ConditionValue:
    """Whether work is under way. Never together with Stalled: kstatus would call it in progress."""
    if snapshot.persons_problem is not None:
        return ConditionValue("False", Reason.FAILED, "It cannot go on without a person; see Stalled.")
    if snapshot.work is None:
        return ConditionValue("False", Reason.SETTLED, "Everything is as spec asks for.")
    return ConditionValue("True", snapshot.work, _WORK[snapshot.work](snapshot))


def _scaling(snapshot: Snapshot) -> str:
    reached, wanted, there = snapshot.reached_pods, snapshot.replicas, snapshot.server_pods
    if reached < wanted:
        return f"{reached} of {wanted} replicas are ready. {snapshot.progress.message}"
    who = "The scaler wants" if snapshot.scaling else "spec.replicas is"
    return f"{who} {wanted}; {there} {'pod is' if there == 1 else 'pods are'} still there."


def planned(snapshot: Snapshot) -> ConditionValue:
    """Whether there is a plan for what spec asks for."""
    planning = snapshot.planning
    if planning.plan is not None:
        words = [planning.plan.message]
        if planning.revision is not None:
            words.insert(0, f"Revision {planning.revision.name}:")
        if snapshot.token_note:
            words.append(snapshot.token_note)
        return ConditionValue("True", Reason.PLAN_READY, " ".join(words))
    problem: Problem | None = planning.problem
    if problem is None and planning.inspection:
        problem = planning.inspection.problem
    if problem is None:
        problem = next(iter(snapshot.blocking), None)
    if problem is not None:
        return ConditionValue("False", problem.reason, problem.message)
    return ConditionValue("Unknown", Reason.INSPECTING, _inspection_message(snapshot))


def measured(snapshot: Snapshot) -> ConditionValue | None:
    """Whether status.measurements describes the service as it is."""
    if snapshot.subject is None:
        return None
    entry, remeasure = snapshot.current, snapshot.remeasure
    if entry is not None:
        return _figures(entry, snapshot.deviating)
    if snapshot.probe_disabled:
        return ConditionValue("False", Reason.PROBE_DISABLED, "spec.probe.policy is Disabled.")
    if remeasure.outcome is not None:
        silent = remeasure.outcome.reason == Reason.REPORT_UNREACHABLE
        status: ConditionStatus = "Unknown" if silent else "False"
        return ConditionValue(status, remeasure.outcome.reason, remeasure.outcome.message)
    if snapshot.silent is not None:
        return ConditionValue("Unknown", Reason.REPORT_UNREACHABLE, unreachable_message(snapshot.silent))
    if any(item.plan_key == snapshot.subject.plan_key for item in snapshot.measurements):
        problem = snapshot.subject_problem
        if problem is not None and problem.reason == FailureClass.MODEL_CHANGED:
            return ConditionValue(
                "False",
                Reason.MEASUREMENT_STALE,
                f"The model's files have changed since the last measurement. {problem.message}",
            )
        follows = "a throwaway pod measures it" if remeasure.running else "a new measurement follows"
        return ConditionValue(
            "False",
            Reason.MEASUREMENT_STALE,
            f"workload, slo, probe or the hardware changed since the last measurement; {follows}.",
        )
    if snapshot.probing or remeasure.running:
        return ConditionValue("Unknown", Reason.MEASURING, "A measurement is running.")
    return ConditionValue("Unknown", Reason.NOT_MEASURED_YET, "No pod has come far enough to be measured.")


def _figures(entry: Measurement, off: MeasuredRun | None) -> ConditionValue:
    """What is said where there are figures."""
    speed = shown(entry.capacity.output_tokens_per_second, entry) if entry.capacity else None
    words = f"{speed} output tokens per second" if speed else "Measured"
    if not clean(entry):
        flags = ", ".join(flag for flag in entry.flags if flag in INVALIDATING)
        told = f" {ended(entry.message)}" if entry.message else ""
        text = f"{words}, provisional ({flags}).{told} It is measured again until the figures are clean."
        return ConditionValue("Unknown", Reason.MEASUREMENT_PROVISIONAL, text)
    if off is not None:
        confirmed = off.time <= (entry.observed_time or "")
        then = "A full measurement since then did not find it so: look at that pod and its node."
        next_ = then if confirmed else "A throwaway pod measures in full."
        text = f"{words}, but pod {off.pod} was checked with {deviation_words(off, entry)}. {next_}"
        return ConditionValue("False", Reason.DEVIATES_FROM_BASELINE, text)
    if entry.state == PARTIAL:
        why = entry.message or "the time ran out after some levels"
        return ConditionValue("True", Reason.MEASUREMENT_PARTIAL, f"{words}, but not every level: {why}.")
    return ConditionValue("True", Reason.MEASUREMENT_COMPLETE, f"{words}.")


def rollout_accepted(snapshot: Snapshot) -> ConditionValue | None:
    """Whether the newest revision was let through. Without a gate: whether it came to serve."""
    rollout = snapshot.rollout
    if not rollout.active:
        return None
    if rollout.candidate:
        problem = snapshot.candidate_problem
        if problem is not None and problem.needs_person:
            what = rollout.reason if rollout.fell_back else f"Revision {rollout.candidate}: {problem.message}"
            return ConditionValue("False", problem.reason, what)
        if rollout.fell_back:
            return ConditionValue("False", Reason.FELL_BACK, rollout.reason)
        why = problem.message if problem else rollout.reason
        return ConditionValue("Unknown", Reason.JUDGING, why)
    if snapshot.held_back is not None:
        return ConditionValue("False", snapshot.held_back.reason, snapshot.held_back.message)
    if len(snapshot.revisions) <= 1:
        return ConditionValue("True", Reason.FIRST_REVISION, f"Revision {rollout.active} is the first.")
    return ConditionValue("True", Reason.ACCEPTED, f"Revision {rollout.active} serves.")


def _of_scaler(kind: ConditionType) -> Callable[[Snapshot], ConditionValue | None]:
    """What the scaler says; until it has looked, what it said before."""

    def value_of(snapshot: Snapshot) -> ConditionValue | None:
        if snapshot.resource.spec.autoscaling is None:
            return None
        if kind == ConditionType.ABLE_TO_SCALE and snapshot.scale_refused:
            return ConditionValue("False", Reason.FAILED_UPDATE_SCALE, snapshot.scale_refused)
        if snapshot.scaling is None:
            former = find_condition(snapshot.former.conditions, kind)
            return ConditionValue(former.status, former.reason, former.message) if former else None
        said = next((item for item in snapshot.scaling.conditions if item.type == kind), None)
        return ConditionValue(said.status, said.reason, said.message) if said else None

    return value_of


def _inspection_message(snapshot: Snapshot) -> str:
    inspection = snapshot.planning.inspection
    if inspection is None:
        return "The model's files and headers are being read."
    return inspection.problem.message if inspection.problem else inspection.reason


_WORK: dict[Reason, Callable[[Snapshot], str]] = {
    Reason.INSPECTING: _inspection_message,
    Reason.STARTING: lambda snapshot: f"{snapshot.rollout.reason} {snapshot.progress.message}",
    Reason.ROLLING_OUT: lambda snapshot: snapshot.rollout.reason,
    Reason.SCALING: _scaling,
    Reason.MEASURING: lambda _: "A throwaway pod measures the service.",
}
"""The message of Reconciling, by what the work is."""

_VALUES: dict[ConditionType, Callable[[Snapshot], ConditionValue | None]] = {
    ConditionType.READY: ready,
    ConditionType.RECONCILING: reconciling,
    ConditionType.STALLED: stalled,
    ConditionType.PLANNED: planned,
    ConditionType.MEASURED: measured,
    ConditionType.ROLLOUT_ACCEPTED: rollout_accepted,
    **{kind: _of_scaler(kind) for kind in SCALING},
}
