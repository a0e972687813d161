"""Builds the status of an LLMDeployment. Unknown values are absent, and a stale measurement is never the
current one."""

from __future__ import annotations

from datetime import datetime

from tacho_contract.units import clipped
from tacho_operator.api.status import plan as api
from tacho_operator.api.status.status import AutoscalingStatus, LLMDeploymentStatus, RevisionStatus, Summary
from tacho_operator.api.types import LLMDeploymentSpec
from tacho_operator.core import names
from tacho_operator.core.manifests.objects import url
from tacho_operator.core.measurement.records import summary_of
from tacho_operator.core.planner.probe_budget import probe_budget
from tacho_operator.core.planner.shown_plan import ALTERNATIVES_LIMIT, shown_plan, shown_prediction
from tacho_operator.core.planner.types import ModelPlan, PlanFailure
from tacho_operator.core.revisions.controller_revision import Revision
from tacho_operator.core.rollout.reading import rejection
from tacho_operator.core.status.conditions import ACCEPTED, conditions, served_revisions
from tacho_operator.core.status.events import NOT_FREE
from tacho_operator.core.status.snapshot import Snapshot

REVISIONS_SHOWN = 5


def build_status(snapshot: Snapshot, now: datetime) -> LLMDeploymentStatus:
    """The status to store; equal snapshots give equal documents."""
    return LLMDeploymentStatus(
        observed_generation=snapshot.resource.metadata.generation,
        replicas=snapshot.pods.count,
        ready_replicas=snapshot.pods.ready,
        selector=names.scale_selector(snapshot.resource.metadata.name),
        url=url(snapshot.resource),
        summary=_summary(snapshot),
        plan=_plan(snapshot),
        measurements=list(snapshot.measuring.measurements),
        startup=snapshot.pods.startup,
        revisions=_revisions(snapshot),
        autoscaling=_autoscaling(snapshot),
        conditions=conditions(snapshot, now),
    )


def _summary(snapshot: Snapshot) -> Summary | None:
    gpus = snapshot.subject.plan.gpu_count if snapshot.subject else 0
    return summary_of(snapshot.measuring.measurements, gpu_count=gpus, price=snapshot.price)


def _autoscaling(snapshot: Snapshot) -> AutoscalingStatus | None:
    """The scaler's status, the stored one before its first decision here. None without autoscaling."""
    if snapshot.resource.spec.autoscaling is None:
        return None
    return snapshot.scaling.autoscaling if snapshot.scaling else snapshot.former.autoscaling


def _plan(snapshot: Snapshot) -> api.Plan | None:
    """status.plan: the plan of the active revision, before one is active of the candidate, else of the
    attempt that failed.
    """
    if snapshot.subject is not None:
        return plan_status(snapshot.subject.plan, snapshot.resource.spec, snapshot.subject.name)
    planning = snapshot.planning
    if planning.plan is not None:
        return plan_status(planning.plan, snapshot.resource.spec)
    return failure_status(planning.failure) if planning.failure else None


def _revisions(snapshot: Snapshot) -> list[RevisionStatus]:
    """status.revisions: the active one and the candidate first, then the newest others."""
    needed = (snapshot.rollout.active, snapshot.rollout.candidate, snapshot.rollout.rejected)
    ranked = sorted(snapshot.revisions, key=lambda item: item.name not in needed)[:REVISIONS_SHOWN]
    return [_revision(snapshot, item) for item in sorted(ranked, key=lambda item: (-item.number, item.name))]


def _revision(snapshot: Snapshot, revision: Revision) -> RevisionStatus:
    rollout = snapshot.rollout
    outcome = ACCEPTED if revision.name in served_revisions(snapshot) else None

    def shown(phase: str, reason: str, message: str) -> RevisionStatus:
        return _revision_status(revision, phase, reason, message, outcome=outcome)

    if revision.name == rollout.active:
        if outcome is None:
            return shown("Active", "Starting", "It has not served yet.")
        return shown("Active", "Serving", "It serves.")
    if revision.name == rollout.rejected and (refused := rejection(rollout)) is not None:
        return shown("Rejected", refused.reason, refused.message)
    if revision.name in (rollout.candidate, snapshot.planning.desired_revision):
        own = snapshot.problems.candidate if rollout.candidate else snapshot.problems.subject
        problem = snapshot.held_back or own
        if problem is not None:
            return shown("Candidate", problem.reason, problem.message)
        return shown("Candidate", "Starting", rollout.reason)
    chosen = snapshot.planning.revision
    if chosen is not None and chosen.of_spec == revision.of_spec:
        tried = f"No GPU {revision.plan.gpu_kind} was free in time"
        return shown("Retired", NOT_FREE, f"{tried}: {chosen.name} is for {chosen.plan.gpu_kind}.")
    if rollout.replicas.get(revision.name):
        return shown("Retired", "Superseded", "It serves until its successor has all replicas.")
    return shown("Retired", "Superseded", "Another revision replaced it.")


def _revision_status(
    revision: Revision, phase: str, reason: str, message: str, *, outcome: str | None
) -> RevisionStatus:
    hashed = f"sha256:{revision.runtime_sha256}" if revision.runtime_sha256 else ""
    return RevisionStatus(
        name=revision.name,
        phase=phase,
        reason=str(reason),
        outcome=outcome,
        message=clipped(message, 1024),
        runtime=clipped(" ".join(filter(None, (revision.tacho_image, hashed))), 512),
    )


def plan_status(plan: ModelPlan, spec: LLMDeploymentSpec, revision: str = "") -> api.Plan:
    budget = probe_budget(spec, plan)
    return shown_plan(plan).model_copy(
        update={
            "revision": revision,
            "probe_budget_seconds": budget.seconds if budget else None,
            "probe_budget_message": clipped(budget.message, 1024) if budget else None,
        }
    )


def failure_status(failure: PlanFailure) -> api.Plan:
    """status.plan where no plan fits: the alternatives, and the prediction of the nearest attempt."""
    return api.Plan(
        predicted=shown_prediction(failure.predicted),
        message=clipped(f"{failure.failure.message} {failure.failure.next_step}".strip()),
        alternatives=list(failure.alternatives[:ALTERNATIVES_LIMIT]),
    )
