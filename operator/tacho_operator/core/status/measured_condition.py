"""The condition Measured: whether a measurement describes the present service, and what it found."""

from __future__ import annotations

import dataclasses

from tacho_contract.failure import FailureClass
from tacho_contract.measurement import INVALIDATING
from tacho_operator.api.base import decimal
from tacho_operator.api.conditions import Reason
from tacho_operator.api.spec.service import MAX_BUDGET_SECONDS
from tacho_operator.api.status.measurement import MeasurementEntry
from tacho_operator.api.status.status import ConditionStatus
from tacho_operator.core import names
from tacho_operator.core.measurement.cost import NEVER_MET
from tacho_operator.core.measurement.due import Cause
from tacho_operator.core.measurement.records import shown
from tacho_operator.core.measurement.runs import deviation_message
from tacho_operator.core.measurement.states import PARTIAL, clean, unfinished
from tacho_operator.core.measurement.step import MeasurementPlan
from tacho_operator.core.planner.probe_budget import probe_budget
from tacho_operator.core.pods.deadlines import unreachable_message
from tacho_operator.core.problems import DETAILS, with_full_stop
from tacho_operator.core.status.condition_value import ConditionValue
from tacho_operator.core.status.snapshot import Snapshot

OF_OTHERS = "The workload was measured on other hardware, or with another image, than the serving pods have."
TRY_AGAIN = f"For another measurement, change {names.MEASURE_AGAIN_ANNOTATION}."
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
        value = _measurement(measuring.current, measuring, _more_time(snapshot, measuring.current))
        return _not_again(value, measuring)
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
        if _is_of_others(snapshot):
            return ConditionValue("False", Reason.MEASUREMENT_STALE, OF_OTHERS, TRY_AGAIN)
        follows = "A probe pod measures again." if remeasure.running else "A new measurement follows."
        return ConditionValue(
            "False",
            Reason.MEASUREMENT_STALE,
            "workload, slo, probe, image or hardware changed since the last measurement.",
            follows,
        )
    if snapshot.probing or remeasure.running:
        return ConditionValue("Unknown", Reason.MEASURING, "A measurement is running.")
    return ConditionValue("Unknown", Reason.NOT_MEASURED_YET, "No pod is ready to be measured.")


def _is_of_others(snapshot: Snapshot) -> bool:
    """Whether the present workload was measured, but not as the serving pods are, and no measurement follows.

    Another probe pod may get such a machine again. A pod that starts measures itself.
    """
    measuring, subject = snapshot.measuring, snapshot.subject
    keys = (subject.plan_key, measuring.live.measure_key) if subject else ()
    known = any((item.plan_key, item.measure_key) == keys for item in measuring.measurements)
    return known and measuring.remeasure.cause is None and not snapshot.reporting


def _not_again(value: ConditionValue, measuring: MeasurementPlan) -> ConditionValue:
    """``value`` of a current measurement, whether it is of all pods, and why the next one, requested or due
    by doubts, has not come.
    """
    remeasure, outcome = measuring.remeasure, measuring.remeasure.outcome
    if measuring.unlike:
        value = dataclasses.replace(value, what=f"{value.what} {measuring.unlike}")
    if outcome is None:
        return value
    subject = "The requested measurement" if remeasure.cause == Cause.REQUESTED else "A new measurement"
    ends = "has failed" if outcome.reason == Reason.MEASUREMENT_FAILED else "is not done yet"
    return dataclasses.replace(
        value, next_step=f"{subject} {ends}.", quotation=outcome.message.replace(DETAILS, " ")
    )


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
    deviating = measuring.deviating
    capacity = entry.capacity
    speed = shown(decimal(capacity.output_tokens_per_second), entry) if capacity else None
    text = f"{speed} output tokens per second" if speed else "Measured"
    if not clean(entry):
        flags = ", ".join(flag for flag in entry.flags if flag in INVALIDATING)
        cause = f": {with_full_stop(entry.message)}" if entry.message else "."
        what = f"{text}, provisional ({flags}){cause}"
        return ConditionValue("Unknown", Reason.MEASUREMENT_PROVISIONAL, what, "It is measured again.")
    if deviating is not None:
        confirmed = deviating.time <= (entry.observed_time or "")
        next_step = "Check that pod and its node." if confirmed else "A probe pod measures in full."
        what = f"{text}; the check of pod {deviating.pod} found {deviation_message(deviating, entry)}."
        return ConditionValue("False", Reason.DEVIATES_FROM_BASELINE, what, next_step)
    if unfinished(entry):
        why = "" if "BudgetExhausted" in entry.flags else (entry.message or "").split("; ")[0]
        what = f"{f'At least {text}' if speed else text}: {why or 'the time ran out'}."
        return ConditionValue("True", Reason.CAPACITY_FLOOR, what, more_time)
    if entry.state == PARTIAL:
        why = entry.message or "the time ran out"
        what = f"{text}; levels of concurrency are missing: {why}."
        return ConditionValue("True", Reason.MEASUREMENT_PARTIAL, what, more_time)
    if entry.capacity is not None and entry.capacity.boundary == NEVER_MET:
        text += "; an idle replica misses spec.slo, which no number of replicas meets"
    return ConditionValue("True", Reason.MEASUREMENT_COMPLETE, f"{text}.")
