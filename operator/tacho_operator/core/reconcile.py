"""One reconcile pass as a pure function: observed state in, every effect out. The core's table of contents.

revisions/    is this spec a known revision; else its model is inspected, planned and frozen as one
pods/claims   what the claims allow
autoscaling/  how many replicas
gate/         whether a new revision may receive requests, by what was measured
rollout/      which revision serves now, and how many pods each revision has
pods/         which nodes new pods avoid (avoided_nodes)
measurement/  which figures are current, and whether to measure again
status/       all of that as one snapshot; from it the status, its events, and the time of the next reconcile
children      what to apply and what to delete
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from tacho_operator.core import names
from tacho_operator.core.autoscaling.target import desired_replicas
from tacho_operator.core.children import deletion_costs, measured_pods, to_apply, to_delete, to_try
from tacho_operator.core.gate.gating import with_gate
from tacho_operator.core.measurement.step import plan_measurement
from tacho_operator.core.planner.types import PlanResult
from tacho_operator.core.pods.avoided_nodes import NodeMarkers, mark_nodes
from tacho_operator.core.pods.claims import claim_limits
from tacho_operator.core.pods.view import PodView, deployment_sizes, views
from tacho_operator.core.problems import refused_child
from tacho_operator.core.reconcile_plan import ReconcilePlan
from tacho_operator.core.revisions import controller_revision
from tacho_operator.core.revisions.planning import PLAN_PENDING, plan_step
from tacho_operator.core.rollout.decision import RolloutInput, next_step
from tacho_operator.core.rollout.reading import (
    lost_nodes,
    pod_counts,
    read_serving,
    recent_disruption,
    revision_problem,
)
from tacho_operator.core.rollout.surge import surge
from tacho_operator.core.status.build import build_status
from tacho_operator.core.status.events import revision_events, transition_events
from tacho_operator.core.status.requeue import requeue_after_seconds
from tacho_operator.core.status.snapshot import take_snapshot
from tacho_operator.core.status.undecided import StoredResource, deleting_status
from tacho_operator.core.types import Config, Observed, ReconcileDecision


def decide(
    observed: Observed, config: Config, now: datetime, planned: PlanResult | None = None
) -> ReconcileDecision:
    """All effects of one reconcile pass for one resource. Pure: equal arguments give equal decisions.

    If a plan is missing, the first decision requests it (``pending_plan``). The caller makes the plan and
    calls again with it as ``planned``.
    """
    if observed.resource.metadata.deletion_timestamp:
        why = "It is being deleted: garbage collection deletes the children."
        status = deleting_status(StoredResource.of(observed), now)
        return ReconcileDecision(status=status, now=now, reason=why)
    reconcile_plan = plan_reconcile(observed, config, now, planned)
    snapshot = take_snapshot(observed, config, reconcile_plan, now)
    status = build_status(snapshot, now)
    return ReconcileDecision(
        apply=to_apply(observed, config, reconcile_plan),
        trial=to_try(observed, config, reconcile_plan),
        delete=to_delete(observed, reconcile_plan),
        delete_measured=measured_pods(observed, reconcile_plan),
        deletion_costs=deletion_costs(observed),
        status=status,
        events=(
            *transition_events(snapshot.former, status),
            *revision_events(observed, reconcile_plan.planning),
            *reconcile_plan.markers.events,
        ),
        noted_events=tuple(reconcile_plan.measuring.events),
        gpu_fault_nodes=len(reconcile_plan.markers.faulty),
        requeue_after_seconds=requeue_after_seconds(snapshot, now),
        pending_plan=reconcile_plan.planning.pending_plan,
        awaits_probe_turn=reconcile_plan.measuring.remeasure.queued,
        now=now,
        reason=_reason(reconcile_plan),
    )


def plan_reconcile(
    observed: Observed, config: Config, now: datetime, planned: PlanResult | None
) -> ReconcilePlan:
    """The results of all packages of the core for one resource, computed in an order in which later ones use
    earlier ones.
    """
    revisions = controller_revision.read_all(observed.revisions)
    planning = plan_step(observed, config, revisions, now, planned)
    if planning.revision is not None:
        revisions.setdefault(planning.revision.name, planning.revision)
    serving = read_serving(observed)
    desired = desired_replicas(observed)
    limits = claim_limits(
        observed, active=serving.active, desired=planning.desired_revision, replicas=desired
    )
    replicas = desired if limits.max_replicas is None else min(desired, limits.max_replicas)
    servers = views(observed.pods, names.ROLE_SERVER)
    deployments = deployment_sizes(observed.deployments)
    rollout_spec = observed.resource.spec.rollout
    at = RolloutInput(
        desired="" if limits.no_candidate else planning.desired_revision,
        known=revisions.keys(),
        replicas=replicas,
        surge=surge(rollout_spec.max_surge if rollout_spec else None, replicas),
        pods=pod_counts(servers, now),
        deployments=deployments,
        serving=serving,
        trouble=revision_problem(
            observed,
            planning.desired_revision,
            pods=servers,
            desired=deployments.get(planning.desired_revision, 0),
            lost=lost_nodes(observed.nodes),
            now=now,
        )
        or recent_disruption(servers, planning.desired_revision, now),
        now=now,
    )
    rollout = next_step(with_gate(at, observed, revisions))
    return ReconcilePlan(
        revisions=revisions,
        planning=planning,
        rollout=rollout,
        measuring=plan_measurement(observed, planning, rollout, revisions, now),
        desired_replicas=desired,
        replicas=replicas,
        markers=_node_markers(observed, servers, now),
        blocking=limits.problems,
    )


def _node_markers(observed: Observed, servers: Sequence[PodView], now: datetime) -> NodeMarkers:
    """The marker pods for nodes with a recent GPU fault."""
    return mark_nodes(
        observed.resource.metadata.name,
        (*servers, *views(observed.pods, names.ROLE_PROBE)),
        views(observed.pods, names.ROLE_AVOID),
        observed.nodes,
        refused={
            item.name: item.message or refused_child(item).what
            for item in observed.refusals
            if item.role == names.ROLE_AVOID
        },
        now=now,
    )


def _reason(reconcile_plan: ReconcilePlan) -> str:
    """What the reconcile pass decided and why, for the log."""
    planning = reconcile_plan.planning
    parts = [planning.inspection.reason] if planning.inspection and planning.inspection.facts is None else []
    if planning.pending_plan:
        parts.append(PLAN_PENDING)
    if planning.problem:
        parts.append(f"{planning.problem.reason}: {planning.problem.message}")
    parts.append(reconcile_plan.rollout.reason)
    return " ".join(parts)
