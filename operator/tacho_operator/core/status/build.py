"""The status of one moment, whole. What is unknown is left out, and what is stale never looks current."""

from __future__ import annotations

from datetime import datetime

from tacho_contract.units import clipped
from tacho_operator.api.types import AutoscalingStatus, LLMDeploymentStatus, Plan, RevisionStatus, Summary
from tacho_operator.core import names
from tacho_operator.core.manifests.service import url
from tacho_operator.core.measurement.records import summary_of
from tacho_operator.core.revisions.frozen import Revision
from tacho_operator.core.status.conditions import conditions
from tacho_operator.core.status.plan import failure_status, plan_status
from tacho_operator.core.status.snapshot import Snapshot

REVISIONS_SHOWN = 5


def build_status(snapshot: Snapshot, now: datetime) -> LLMDeploymentStatus:
    """status as it is to be stored; equal moments give equal documents."""
    return LLMDeploymentStatus(
        observed_generation=snapshot.resource.metadata.generation,
        replicas=snapshot.server_pods,
        ready_replicas=snapshot.ready_pods,
        selector=names.scale_selector(snapshot.resource.metadata.name),
        url=url(snapshot.resource),
        summary=_summary(snapshot),
        plan=_plan(snapshot),
        measurements=list(snapshot.measurements),
        startup=snapshot.startup,
        revisions=_revisions(snapshot),
        autoscaling=_autoscaling(snapshot),
        conditions=conditions(snapshot, now),
    )


def _summary(snapshot: Snapshot) -> Summary | None:
    gpus = snapshot.subject.plan.gpu_count if snapshot.subject else 0
    return summary_of(snapshot.measurements, gpu_count=gpus, price=snapshot.price)


def _autoscaling(snapshot: Snapshot) -> AutoscalingStatus | None:
    """What the scaler says; until it has looked, what it said before."""
    if snapshot.resource.spec.autoscaling is None:
        return None
    return snapshot.scaling.autoscaling if snapshot.scaling else snapshot.former.autoscaling


def _plan(snapshot: Snapshot) -> Plan | None:
    """The active revision's plan; until one is active, the candidate's, or what was considered."""
    if snapshot.subject is not None:
        return plan_status(snapshot.subject.plan, snapshot.subject.name)
    planning = snapshot.planning
    if planning.plan is not None:
        return plan_status(planning.plan)
    return failure_status(planning.failure) if planning.failure else None


def _revisions(snapshot: Snapshot) -> list[RevisionStatus]:
    """Those that matter now, then the newest."""
    needed = (snapshot.rollout.active, snapshot.rollout.candidate)
    ranked = sorted(snapshot.revisions, key=lambda item: item.name not in needed)[:REVISIONS_SHOWN]
    return [_revision(snapshot, item) for item in sorted(ranked, key=lambda item: (-item.number, item.name))]


def _revision(snapshot: Snapshot, revision: Revision) -> RevisionStatus:
    rollout = snapshot.rollout
    if revision.name == rollout.active:
        return _revision_status(revision, "Active", "Serving", "It serves.", outcome="Accepted")
    if revision.name in (rollout.candidate, snapshot.planning.wanted):
        own = snapshot.candidate_problem if rollout.candidate else snapshot.subject_problem
        problem = snapshot.held_back or own
        if problem is not None:
            return _revision_status(revision, "Candidate", problem.reason, problem.message)
        return _revision_status(revision, "Candidate", "Starting", rollout.reason)
    if rollout.replicas.get(revision.name):
        return _revision_status(
            revision, "Retired", "Superseded", "It serves until others can do without it."
        )
    return _revision_status(revision, "Retired", "Superseded", "Another revision took its place.")


def _revision_status(
    revision: Revision, phase: str, reason: str, message: str, *, outcome: str | None = None
) -> RevisionStatus:
    return RevisionStatus(
        name=revision.name, phase=phase, reason=str(reason), outcome=outcome, message=clipped(message, 1024)
    )
