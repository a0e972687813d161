"""The conditions of one reconcile: status, reason and message of each, as api/conditions.py documents them.

A message has at most OWN_LIMIT_CHARS characters of tacho's text: figure, reason, next step. A quotation may
follow, MESSAGE_LIMIT_CHARS in all. Longer texts are in status.plan, status.revisions and status.measurements.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Self

from tacho_contract.failure import FailureClass
from tacho_contract.measurement import INVALIDATING, NOT_STEADY
from tacho_contract.units import clipped, format_time
from tacho_operator.api.base import decimal
from tacho_operator.api.conditions import (
    ConditionType,
    Reason,
    find_condition,
    remove_condition,
    set_condition,
)
from tacho_operator.api.defaults import scaling_mode
from tacho_operator.api.spec.service import MAX_BUDGET_SECONDS
from tacho_operator.api.status.measurement import MeasurementEntry
from tacho_operator.api.status.status import Condition, ConditionStatus
from tacho_operator.core.measurement.attempts import ATTEMPTS
from tacho_operator.core.measurement.cost import NEVER_MET
from tacho_operator.core.measurement.due import Cause
from tacho_operator.core.measurement.probe_pods import RemeasurePlan
from tacho_operator.core.measurement.records import shown
from tacho_operator.core.measurement.runs import deviation_message
from tacho_operator.core.measurement.states import PARTIAL, clean
from tacho_operator.core.measurement.step import MeasurementPlan
from tacho_operator.core.measurement.traffic import carried
from tacho_operator.core.planner.probe_budget import probe_budget
from tacho_operator.core.pods.deadlines import unreachable_message
from tacho_operator.core.problems import DETAILS, Problem, with_full_stop
from tacho_operator.core.revisions.planning import PLAN_PENDING
from tacho_operator.core.status.reachability import serving_message
from tacho_operator.core.status.snapshot import Snapshot

SCALING = (ConditionType.ABLE_TO_SCALE, ConditionType.SCALING_ACTIVE, ConditionType.SCALING_LIMITED)
OWN_LIMIT_CHARS = 160
STEP_LIMIT_CHARS = 100
MESSAGE_LIMIT_CHARS = 512


@dataclass(frozen=True, slots=True)
class ConditionValue:
    """Status, reason and message of one condition."""

    status: ConditionStatus
    reason: str
    what: str
    next_step: str = ""
    quotation: str = ""

    @classmethod
    def of(cls, status: ConditionStatus, problem: Problem, prefix: str = "") -> Self:
        """The condition for ``problem``. If its text is too long for the message, the whole text follows as
        the quotation.
        """
        too_long = len(prefix) + len(problem.what) + 1 + len(problem.next_step) > OWN_LIMIT_CHARS
        quotation = problem.quotation or (problem.message if too_long else "")
        return cls(status, problem.reason, prefix + problem.what, problem.next_step, quotation)

    @property
    def message(self) -> str:
        return condition_message(self.what, self.next_step, self.quotation)


def condition_message(what: str, next_step: str = "", quotation: str = "") -> str:
    """A condition's message within both length limits. The next step keeps STEP_LIMIT_CHARS in any case."""
    what, _, quoted = what.partition(DETAILS)
    what = with_full_stop(what)
    step = _shortened(with_full_stop(next_step), max(STEP_LIMIT_CHARS, OWN_LIMIT_CHARS - len(what) - 1))
    limit = OWN_LIMIT_CHARS - (len(step) + 1 if step else 0)
    own = " ".join(filter(None, (_shortened(what, limit), step)))
    quotation = " ".join((quotation or quoted).split())
    return clipped(f"{own}{DETAILS}{quotation}", MESSAGE_LIMIT_CHARS) if quotation else own


def _shortened(text: str, limit: int) -> str:
    """``text`` cut to ``limit`` characters, after a sentence or word if half of it stays, else inside a long
    name.
    """
    if len(text) <= limit:
        return text
    sentences = text[: limit + 1].rfind(". ")
    if sentences + 1 >= limit // 2:
        return text[: sentences + 1]
    words = text[: limit - 1].rpartition(" ")[0].rstrip()
    if words.count("(") > words.count(")") and words.rindex("(") > limit // 2:
        words = words[: words.rindex("(")].rstrip()
    if len(words) < limit // 2 and not words.endswith("."):
        words = text[: limit - 1]
    return words if words.endswith(".") else f"{words}…"


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
    """The condition Reconciling: whether work is in progress; never True while Stalled is (kstatus)."""
    if snapshot.stalling_problem is not None:
        return ConditionValue("False", Reason.FAILED, "User action is required.", "See Stalled.")
    if snapshot.work is None:
        return ConditionValue("False", Reason.SETTLED, "The cluster matches spec.")
    if (found := snapshot.unanswered) is not None:
        what = f"The API server did not accept {found.kind} {found.name}."
        return ConditionValue("True", Reason.RETRYING, what, "It is retried.", found.message)
    return ConditionValue("True", snapshot.work, _WORK[snapshot.work](snapshot))


def _scaling(snapshot: Snapshot) -> str:
    reached, desired, pods = snapshot.pods.reached, snapshot.replicas, snapshot.pods.count
    if reached < desired:
        return f"{reached} of {desired} replicas are ready. {snapshot.pods.progress.message}"
    enforced = snapshot.scaling and scaling_mode(snapshot.resource.spec) == "Enforce"
    source = "The scaler requests" if enforced else "spec.replicas is"
    return f"{source} {desired}; {pods} {'pod exists' if pods == 1 else 'pods exist'}."


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


QUEUED = "A probe pod waits for its turn (maxProbePods of the chart)."


def measured(snapshot: Snapshot) -> ConditionValue | None:
    """The condition Measured: whether a measurement describes the present service; None: absent."""
    value = _measured(snapshot)
    if value is None or not snapshot.measuring.remeasure.queued:
        return value
    if value.reason == Reason.NOT_MEASURED_YET:
        return dataclasses.replace(value, what=QUEUED)
    return dataclasses.replace(value, next_step=QUEUED)


def _measured(snapshot: Snapshot) -> ConditionValue | None:
    if snapshot.subject is None:
        return None
    measuring = snapshot.measuring
    remeasure = measuring.remeasure
    if measuring.current is not None:
        return _measurement(measuring.current, measuring, _more_time(snapshot, measuring.current))
    if measuring.disabled:
        return ConditionValue("False", Reason.PROBE_DISABLED, "spec.probe.policy is Disabled.")
    if remeasure.outcome is not None:
        unreachable = remeasure.outcome.reason == Reason.REPORT_UNREACHABLE
        status: ConditionStatus = "Unknown" if unreachable else "False"
        return ConditionValue(status, remeasure.outcome.reason, remeasure.outcome.message)
    if snapshot.pods.unanswered is not None:
        return ConditionValue(
            "Unknown", Reason.REPORT_UNREACHABLE, unreachable_message(snapshot.pods.unanswered)
        )
    if any(item.plan_key == snapshot.subject.plan_key for item in measuring.measurements):
        problem = snapshot.problems.subject
        if problem is not None and problem.reason == FailureClass.MODEL_CHANGED:
            return ConditionValue(
                "False",
                Reason.MEASUREMENT_STALE,
                "The model's files changed since the last measurement.",
                problem.next_step,
            )
        follows = "A probe pod measures again." if remeasure.running else "A new measurement follows."
        return ConditionValue(
            "False",
            Reason.MEASUREMENT_STALE,
            "workload, slo, probe or the hardware changed since the last measurement.",
            follows,
        )
    if snapshot.probing or remeasure.running:
        return ConditionValue("Unknown", Reason.MEASURING, "A measurement is running.")
    return ConditionValue("Unknown", Reason.NOT_MEASURED_YET, "No pod is ready to be measured.")


def _more_time(snapshot: Snapshot, entry: MeasurementEntry) -> str:
    """The next step to raise the probe's budget, where that gives a better capacity; "": it does not."""
    budget = probe_budget(snapshot.resource.spec, snapshot.subject.plan) if snapshot.subject else None
    if budget is None or "BudgetExhausted" not in entry.flags or budget.seconds >= MAX_BUDGET_SECONDS:
        return ""
    probe = snapshot.resource.spec.probe
    held = probe is not None and (probe.timeout_seconds or budget.seconds + 1) <= budget.seconds
    return f"Raise probe.budgetSeconds{' and timeoutSeconds' if held else ''} above {budget.seconds}."


def _measurement(entry: MeasurementEntry, measuring: MeasurementPlan, more_time: str) -> ConditionValue:
    """The condition Measured of a resource with a current measurement."""
    deviating, remeasure = measuring.deviating, measuring.remeasure
    capacity = carried(entry)
    speed = shown(decimal(capacity.output_tokens_per_second), entry) if capacity else None
    text = f"{speed} output tokens per second" if speed else "Measured"
    if not clean(entry):
        flags = ", ".join(flag for flag in entry.flags if flag in INVALIDATING)
        cause = f": {with_full_stop(_disturbances_first(entry.message))}" if entry.message else "."
        what = f"{text}, provisional ({flags}){cause}"
        if unknown := _unknown_rate(entry):
            rates = f"{text}; the {unknown}" if speed else unknown.capitalize()
            what = f"{rates} is not known: its interval exceeds 100 %. Provisional ({flags}){cause}"
        return ConditionValue("Unknown", Reason.MEASUREMENT_PROVISIONAL, what, "It is measured again.")
    if deviating is not None:
        confirmed = deviating.time <= (entry.observed_time or "")
        next_step = "Check that pod and its node." if confirmed else "A probe pod measures in full."
        what = f"{text}; the check of pod {deviating.pod} found {deviation_message(deviating, entry)}."
        return ConditionValue("False", Reason.DEVIATES_FROM_BASELINE, what, next_step)
    if remeasure.cause == Cause.UNFINISHED:
        why = "" if "BudgetExhausted" in entry.flags else (entry.message or "").split("; ")[0]
        return _lower_bound(f"At least {text}" if speed else text, why, remeasure, more_time)
    if entry.state == PARTIAL:
        why = entry.message or "the time ran out"
        what = f"{text}; levels of concurrency are missing: {why}."
        return ConditionValue("True", Reason.MEASUREMENT_PARTIAL, what, more_time)
    if entry.capacity is not None and entry.capacity.boundary == NEVER_MET:
        text += "; an idle replica misses spec.slo, which no number of replicas meets"
    return ConditionValue("True", Reason.MEASUREMENT_COMPLETE, f"{text}.")


def _disturbances_first(message: str) -> str:
    """The notes of a measurement, those about its duration last: they do not say why it is provisional."""
    return "; ".join(sorted(message.split("; "), key=lambda note: "(raise probe." in note))


def _lower_bound(text: str, why: str, remeasure: RemeasurePlan, more_time: str) -> ConditionValue:
    """The condition Measured where the capacity is a lower bound because the search ended early."""
    attempts, why = remeasure.attempts, why or "the time ran out"
    if attempts >= ATTEMPTS:
        what = f"{text}: {ATTEMPTS} probe pods resumed the search and did not end it."
        return ConditionValue("True", Reason.CAPACITY_FLOOR, what, more_time)
    if remeasure.outcome is not None:
        what = f"{text}: {why}, and no probe pod can resume."
        crowded = remeasure.outcome.reason == Reason.CANNOT_JUDGE
        correct = "Correct that, then measure again (tacho probe)."
        next_step = "Free resources for one more pod." if crowded else correct
        quotation = remeasure.outcome.message.replace(DETAILS, " ")
        return ConditionValue("True", Reason.CANNOT_RESUME, what, next_step, quotation)
    follows = "resumes" if remeasure.running else "will resume"
    next_step = f"Probe pod {attempts + 1} of {ATTEMPTS} {follows} the search."
    return ConditionValue("True", Reason.CAPACITY_FLOOR, f"{text}: {why}.", next_step)


def _unknown_rate(entry: MeasurementEntry) -> str:
    """Which rate is unknown as its interval is too wide (``entry.flags_of``); "": none."""
    capacity, single = entry.capacity, entry.single_stream
    if NOT_STEADY not in entry.flags:
        return ""
    if capacity is not None and capacity.output_tokens_per_second is None:
        return "capacity"
    return "rate of one stream" if single is not None and single.decode_tokens_per_second is None else ""


def rollout_accepted(snapshot: Snapshot) -> ConditionValue | None:
    """The condition RolloutAccepted: whether the newest revision serves, or was rolled back; None: absent."""
    rollout, problem = snapshot.rollout, snapshot.problems.candidate
    if not rollout.active:
        return None
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
        return ConditionValue("Unknown", Reason.JUDGING, rollout.reason)
    if snapshot.held_back is not None:
        return ConditionValue.of("False", snapshot.held_back)
    if len(snapshot.revisions) <= 1:
        return ConditionValue("True", Reason.FIRST_REVISION, f"Revision {rollout.active} is the first.")
    return ConditionValue("True", Reason.ACCEPTED, f"Revision {rollout.active} serves.")


def _of_scaler(kind: ConditionType) -> Callable[[Snapshot], ConditionValue | None]:
    """A function for a condition that the scaler sets; before its first decision the stored one stays."""

    def value_of(snapshot: Snapshot) -> ConditionValue | None:
        if snapshot.resource.spec.autoscaling is None:
            return None
        if kind == ConditionType.ABLE_TO_SCALE and snapshot.scale_refused:
            what = "The API server refused a change of the replicas."
            return ConditionValue("False", Reason.FAILED_UPDATE_SCALE, what, quotation=snapshot.scale_refused)
        if snapshot.scaling is None:
            former = find_condition(snapshot.former.conditions, kind)
            return ConditionValue(former.status, former.reason, former.message) if former else None
        value = next((item for item in snapshot.scaling.conditions if item.type == kind), None)
        return ConditionValue(value.status, value.reason, value.message) if value else None

    return value_of


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
    **{kind: _of_scaler(kind) for kind in SCALING},
}
