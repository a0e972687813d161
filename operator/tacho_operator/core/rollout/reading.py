"""Reads the rollout record, the pod counts and the problems of a revision's pods from the observed
children."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Iterable, Sequence
from datetime import datetime
from math import inf

from tacho_contract.failure import Escalation, FailureClass, failure_kind
from tacho_operator.api.conditions import Reason
from tacho_operator.api.defaults import gpu_resource, scaling_mode
from tacho_operator.api.types import LLMDeployment
from tacho_operator.core import names
from tacho_operator.core.pods.claims import sole_claims
from tacho_operator.core.pods.deadlines import RECENT_SECONDS, start_limits
from tacho_operator.core.pods.diagnosis import (
    creation_refused,
    diagnose,
    disruption,
    never_ready,
    overdue,
    stuck,
)
from tacho_operator.core.pods.scheduling import with_figures
from tacho_operator.core.pods.view import FINISHED, PodView, named
from tacho_operator.core.problems import Problem, after_restarts, most_pressing
from tacho_operator.core.rollout.decision import PodCount, Rollout
from tacho_operator.core.rollout.record import MIN_READY_SECONDS, Serving, read_record
from tacho_operator.core.types import NodeFacts, Observed

SCHEDULE_TIMEOUT_SECONDS = 600
_LACKING = frozenset({FailureClass.UNSCHEDULABLE, FailureClass.QUOTA_EXCEEDED, FailureClass.POD_NOT_PREPARED})
"""Problems that a pod on a lost node can cause, because it still holds a GPU, quota or volumes."""


def schedule_timeout_seconds(resource: LLMDeployment) -> int:
    rollout = resource.spec.rollout
    return (rollout.schedule_timeout_seconds if rollout else None) or SCHEDULE_TIMEOUT_SECONDS


def read_serving(observed: Observed) -> Serving:
    """The rollout record in the Service; without a Service, only the active revision, from status."""
    resource = observed.resource
    found = named(observed.services, names.service_name(resource.metadata.name))
    active = next((item.name for item in resource.status.revisions if item.phase == "Active"), "")
    return Serving(active=active) if found is None else read_record(found, active)


def pod_counts(pods: Iterable[PodView], now: datetime) -> dict[str, PodCount]:
    """The number of ready and of available pods, by revision."""
    waits: dict[str, list[float]] = {}
    for pod in pods:
        if pod.ready:
            waits.setdefault(pod.revision, []).append(_until_available(pod, now))
    return {
        revision: PodCount(
            ready=len(found),
            available=sum(not wait for wait in found),
            requeue_after_seconds=min((wait for wait in found if wait), default=None),
        )
        for revision, found in waits.items()
    }


def _until_available(pod: PodView, now: datetime) -> float:
    """Seconds until a ready pod is available; 0: it is now.

    The node's clock set the ready time. A ready time further in the future than the whole wait is wrong, and
    is ignored so that it cannot delay a rollout.
    """
    since = pod.condition_time("Ready")
    wait = MIN_READY_SECONDS - (now - since).total_seconds() if since else MIN_READY_SECONDS
    return wait if 0 < wait <= 2 * MIN_READY_SECONDS else 0.0


def live_pods(pods: Iterable[PodView]) -> tuple[PodView, ...]:
    """The pods that have not ended and are not being deleted."""
    return tuple(pod for pod in pods if not pod.terminating and pod.phase not in FINISHED)


def lost_nodes(nodes: Sequence[NodeFacts] | None) -> frozenset[str]:
    return frozenset(node.name for node in nodes or () if not node.ready)


def revision_problem(
    observed: Observed,
    revision: str,
    *,
    pods: Sequence[PodView],
    desired: int,
    lost: Collection[str],
    now: datetime,
) -> Problem | None:
    """Why fewer than ``desired`` pods of ``revision`` are ready; None: all are ready or still starting.

    Of several problems, one that requires user action comes first. ``lost``: nodes that stopped reporting.
    """
    mine = [pod for pod in pods if pod.revision == revision and not pod.terminating]
    held = [pod for pod in pods if pod.revision == revision and pod.is_stuck(lost)]
    if sum(pod.ready for pod in mine) >= desired:
        return None
    if (refused := creation_refused(observed.deployments, observed.replica_sets, revision)) is not None:
        return _with_held(refused, held)
    limit_seconds = schedule_timeout_seconds(observed.resource)
    start_limit = start_limits(observed.deployments).get(revision, inf)
    found = [
        problem
        # A failed pod is replaced; it counts only while it has no successor.
        for pod in (live_pods(mine) or mine)
        if (
            problem := _of_longest_start(
                pod,
                diagnose(
                    pod,
                    lost_nodes=lost,
                    schedule_overdue=overdue(pod, now, limit_seconds),
                    now=now,
                    fetch=report.fetch if (report := observed.reports.get(pod.uid)) else None,
                ),
                never_ready(pod, start_limit, report, now),
            )
        )
    ]
    if not found:
        # The cluster evicts a pod by deleting it: its reason counts until its successor runs.
        leaving = (pod for pod in pods if pod.revision == revision and pod.terminating)
        found = [evicted for pod in leaving if not pod.is_stuck(lost) and (evicted := disruption(pod))]
        found += [stuck(pod) for pod in held]
    pressing = _with_figures(observed, revision, _with_claim(observed, most_pressing(found)))
    pressing = _with_eviction(pressing, (pod for pod in pods if pod.revision == revision))
    return _with_held(pressing, held) or _own_evictions(mine)


def _of_longest_start(pod: PodView, found: Problem | None, unready: Problem | None) -> Problem | None:
    """``found``, or that the pod stays ``unready``: also where ``found`` is the end of an earlier run.

    A present run that neither ends nor gets ready matters more.
    """
    engine = pod.container(names.ENGINE_CONTAINER)
    runs_again = engine is not None and engine.running_since is not None
    if found is None or (runs_again and not (found.needs_user_action or found.caused_by_platform)):
        return unready or found
    return found


def _with_figures(observed: Observed, revision: str, problem: Problem | None) -> Problem | None:
    """``problem``, with the requested and available amounts where ``revision`` exceeds every node."""
    found = named(observed.deployments, revision)
    template = ((found or {}).get("spec") or {}).get("template") or {}
    if problem is None or not problem.missing_resources:
        return problem
    return with_figures(problem, template.get("spec") or {}, observed.nodes or ())


def _with_eviction(problem: Problem | None, pods: Iterable[PodView]) -> Problem | None:
    """``problem``, with why the cluster evicted a pod that is leaving, where its successor finds no node."""
    if problem is None or problem.reason != FailureClass.UNSCHEDULABLE:
        return problem
    evictions = (disruption(pod) for pod in pods if pod.terminating)
    why = next((evicted.what for evicted in evictions if evicted), "")
    return dataclasses.replace(problem, quotation=f"{why} {problem.quotation}") if why else problem


def _with_claim(observed: Observed, problem: Problem | None) -> Problem | None:
    """``problem``, with a next step where a volume claim can be mounted on one node only, so that pods
    elsewhere cannot start.
    """
    if problem is None or problem.reason != FailureClass.POD_NOT_PREPARED or problem.quotation:
        return problem  # nor where the node says what it lacks
    if not (found := sole_claims(observed.resource.spec, observed.claims)):
        return problem
    step = f"If another node mounts claim {found[0]}, run the pods there or use ReadWriteMany."
    return dataclasses.replace(problem, next_step=step)


def _with_held(problem: Problem | None, held: Sequence[PodView]) -> Problem | None:
    """``problem``, with the next step to repair a lost node whose pods (``held``) keep the GPU, quota or
    volume that is missing.
    """
    if problem is None or not held or problem.reason not in _LACKING:
        return problem
    step = f"Repair node {held[0].node}, where a pod cannot end, or taint it out-of-service."
    return dataclasses.replace(problem, next_step=step)


def _own_evictions(pods: Iterable[PodView]) -> Problem | None:
    """The problem of pods evicted repeatedly for their own resource use, while their replacement starts."""
    evictions = (disruption(pod) for pod in pods if pod.phase == "Failed")
    found = [item for item in evictions if item and item.caused_by_pod]
    return dataclasses.replace(found[-1], escalations=after_restarts(len(found))) if found else None


def recent_disruption(pods: Iterable[PodView], revision: str, now: datetime) -> Problem | None:
    """Why the cluster evicted pods of ``revision`` recently, even if they were replaced; None: it did not."""
    for pod in pods:
        since = pod.condition_time("DisruptionTarget")
        recent = since is not None and abs((now - since).total_seconds()) < RECENT_SECONDS
        if pod.revision == revision and recent and (evicted := disruption(pod)) is not None:
            return evicted
    return None


def without_spare_gpu(resource: LLMDeployment, problem: Problem | None) -> Problem | None:
    """``problem``, changed to NoSpareGPU where a candidate waits for a GPU that the active revision holds."""
    if problem is None or gpu_resource(resource.spec) not in problem.missing_resources:
        return problem
    reason, step = FailureClass.NO_SPARE_GPU, failure_kind(FailureClass.NO_SPARE_GPU).next_step
    if scaling_mode(resource.spec) == "Enforce":
        step = step.replace("or run", "or remove spec.autoscaling and run")
    return dataclasses.replace(problem, reason=reason, next_step=step)


def rejection(rollout: Rollout) -> Problem | None:
    """Why the gate refuses the desired revision; None: it does not."""
    record = rollout.serving.gate
    if not rollout.rejected or record is None:
        return None
    return Problem(
        reason=Reason.REGRESSION,
        what=f"Revision {rollout.rejected}: {record.what}.",
        next_step="Change spec, revert it, or loosen rollout.gate (tolerancePercent, onRegression).",
        quotation=record.details,
        escalations=frozenset({Escalation.FINAL}),
    )
