"""The conditions of one moment: for each its status, reason and message, as api/conditions.py promises."""

from __future__ import annotations

from dataclasses import dataclass

from tacho_contract.units import clipped
from tacho_operator.api.conditions import ConditionType, Reason
from tacho_operator.api.status.status import ConditionStatus
from tacho_operator.core.measurement.records import PARTIAL, current
from tacho_operator.core.problems import Problem
from tacho_operator.core.status.situation import Situation


@dataclass(frozen=True, slots=True, kw_only=True)
class Judgement:
    """What one condition says."""

    status: ConditionStatus
    reason: str
    message: str


def _judge(status: ConditionStatus, reason: str, message: str) -> Judgement:
    return Judgement(status=status, reason=str(reason), message=clipped(message))


def judgements(moment: Situation) -> dict[ConditionType, Judgement | None]:
    """Every condition tacho sets; None where it is absent at this moment."""
    return {
        ConditionType.READY: ready(moment),
        ConditionType.RECONCILING: reconciling(moment),
        ConditionType.STALLED: stalled(moment),
        ConditionType.PLANNED: planned(moment),
        ConditionType.MEASURED: measured(moment),
        ConditionType.ROLLOUT_ACCEPTED: rollout_accepted(moment),
    }


def ready(moment: Situation) -> Judgement:
    """Whether somebody who sends a request now gets an answer."""
    if moment.serves:
        count = f"{min(moment.reached_pods, moment.replicas)} of {moment.replicas} replicas serve"
        if moment.reached_pods >= moment.replicas:
            return _judge("True", Reason.SERVING, f"{count}.")
        reasons = (moment.subject_problem, *moment.blocking, moment.progress)
        why = next(reason.message for reason in reasons if reason is not None)
        return _judge("True", Reason.PARTLY_SERVING, f"{count}. {why}")
    for problem in moment.problems():
        return _judge("False", problem.reason, problem.message)
    if _inspecting(moment) and not moment.rollout.active:
        return _judge("False", Reason.INSPECTING, _inspection_message(moment))
    if moment.replicas == 0:
        return _judge("False", Reason.SCALED_TO_ZERO, "spec.replicas is 0. Scale up to serve.")
    return _judge("False", moment.progress.reason, moment.progress.message)


def stalled(moment: Situation) -> Judgement:
    """Whether a person is needed."""
    for problem in moment.problems():
        if problem.needs_person:
            return _judge("True", problem.reason, problem.message)
    return _judge("False", Reason.PROGRESSING, "It goes on by itself, or has arrived.")


def reconciling(moment: Situation) -> Judgement:
    """Whether work is under way. Never together with Stalled: kstatus would call it in progress."""
    if stalled(moment).status == "True":
        return _judge("False", Reason.FAILED, "Nothing can be done before something changes; see Stalled.")
    if _inspecting(moment):
        return _judge("True", Reason.INSPECTING, _inspection_message(moment))
    if not moment.rollout.active and moment.replicas:
        return _judge("True", Reason.STARTING, f"{moment.rollout.reason} {moment.progress.message}")
    if moment.rollout.candidate or moment.rollout.settling:
        return _judge("True", Reason.ROLLING_OUT, moment.rollout.reason)
    if moment.reached_pods < moment.replicas or moment.server_pods > moment.replicas:
        return _judge(
            "True",
            Reason.SCALING,
            f"{moment.reached_pods} of {moment.replicas} replicas are ready. {moment.progress.message}"
            if moment.reached_pods < moment.replicas
            else f"{moment.server_pods} pods are there, {moment.replicas} are wanted.",
        )
    if moment.remeasure.running and not moment.remeasure.outcome:
        return _judge("True", Reason.MEASURING, "A throwaway pod measures the changed workload.")
    return _judge("False", Reason.SETTLED, "What is, is what spec asks for.")


def planned(moment: Situation) -> Judgement:
    """Whether there is a plan for what spec asks for."""
    planning = moment.planning
    if planning.plan is not None:
        words = [planning.plan.message]
        if planning.revision is not None:
            words.insert(0, f"Revision {planning.revision.name}:")
        if moment.token_note:
            words.append(moment.token_note)
        return _judge("True", Reason.PLAN_READY, " ".join(words))
    problem: Problem | None = planning.problem
    if problem is None and planning.inspection:
        problem = planning.inspection.problem
    if problem is None:
        problem = next(iter(moment.blocking), None)
    if problem is not None:
        return _judge("False", problem.reason, problem.message)
    return _judge("Unknown", Reason.INSPECTING, _inspection_message(moment))


def measured(moment: Situation) -> Judgement | None:
    """Whether status.measurements describes the service as it is."""
    if moment.subject is None:
        return None
    entry = current(moment.measurements)
    if entry is not None:
        speed = entry.get("capacity", {}).get("outputTokensPerSecond")
        words = f"{speed} output tokens per second" if speed else "Measured"
        if entry["state"] == PARTIAL:
            why = entry.get("message") or "the time ran out after some levels"
            return _judge("True", Reason.MEASUREMENT_PARTIAL, f"{words}, but not every level: {why}.")
        return _judge("True", Reason.MEASUREMENT_COMPLETE, f"{words}.")
    if moment.probe_disabled:
        return _judge("False", Reason.PROBE_DISABLED, "spec.probe.policy is Disabled.")
    outcome = moment.remeasure.outcome
    if outcome is not None:
        return _judge("False", outcome.reason, outcome.message)
    if any(item.get("planKey") == moment.subject.plan_key for item in moment.measurements):
        follows = "a throwaway pod measures it" if moment.remeasure.running else "a new measurement follows"
        return _judge(
            "False",
            Reason.MEASUREMENT_STALE,
            f"workload, slo, probe or the hardware changed since the last measurement; {follows}.",
        )
    if moment.probing or moment.remeasure.running:
        return _judge("Unknown", Reason.MEASURING, "A measurement runs.")
    return _judge("Unknown", Reason.NOT_MEASURED_YET, "No pod has come far enough.")


def rollout_accepted(moment: Situation) -> Judgement | None:
    """Whether the newest revision was let through. Without a gate: whether it came to serve."""
    rollout = moment.rollout
    if not rollout.active:
        return None
    if rollout.candidate:
        problem = moment.candidate_problem
        if problem is not None and problem.needs_person:
            return _judge("False", problem.reason, f"Revision {rollout.candidate}: {problem.message}")
        why = problem.message if problem else rollout.reason
        return _judge("Unknown", Reason.JUDGING, why)
    if len(moment.revisions) <= 1:
        return _judge("True", Reason.FIRST_REVISION, f"Revision {rollout.active} is the first.")
    return _judge("True", Reason.ACCEPTED, f"Revision {rollout.active} serves.")


def _inspecting(moment: Situation) -> bool:
    inspection = moment.planning.inspection
    return inspection is not None and inspection.running and inspection.facts is None


def _inspection_message(moment: Situation) -> str:
    inspection = moment.planning.inspection
    if inspection is None:
        return "The model's files and headers are being read."
    return inspection.problem.message if inspection.problem else inspection.reason
