"""Reads off the children who serves, and what is wrong with a revision's pods."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Iterable, Sequence
from datetime import datetime

from tacho_contract.failure import FailureClass
from tacho_operator.api.defaults import gpu_resource
from tacho_operator.api.types import LLMDeployment, LLMDeploymentStatus
from tacho_operator.core import names
from tacho_operator.core.pods.diagnosis import creation_refused, diagnose, overdue
from tacho_operator.core.pods.disruption import disruption
from tacho_operator.core.pods.view import PodView
from tacho_operator.core.pods.waiting import RECENT_SECONDS
from tacho_operator.core.problems import Problem, after_restarts, most_pressing
from tacho_operator.core.rollout.decision import Headcount
from tacho_operator.core.rollout.remembered import Serving, recall
from tacho_operator.core.rollout.times import MIN_READY_SECONDS
from tacho_operator.core.types import Manifest, NodeFacts, Observed

SCHEDULE_TIMEOUT_SECONDS = 600


def schedule_timeout_seconds(resource: LLMDeployment) -> int:
    rollout = resource.spec.rollout
    return (rollout.schedule_timeout_seconds if rollout else None) or SCHEDULE_TIMEOUT_SECONDS


def read_serving(observed: Observed) -> Serving:
    """From the Service; where it is gone, the status still knows which revision was active."""
    name = names.service_name(observed.resource.metadata.name)
    found = next((item for item in observed.services if item["metadata"]["name"] == name), None)
    remembered = _remembered(observed.resource.status)
    if found is None:
        return Serving(active=remembered)
    return recall(found, remembered)


def _remembered(status: LLMDeploymentStatus) -> str:
    return next((item.name for item in status.revisions if item.phase == "Active"), "")


def sizes(deployments: Iterable[Manifest]) -> dict[str, int]:
    """Deployments that stay, with their size."""
    return {
        item["metadata"]["name"]: int((item.get("spec") or {}).get("replicas", 1))
        for item in deployments
        if not item["metadata"].get("deletionTimestamp")
    }


def headcounts(pods: Iterable[PodView], now: datetime) -> dict[str, Headcount]:
    """Ready and available pods by revision."""
    waits: dict[str, list[float]] = {}
    for pod in pods:
        if pod.ready:
            waits.setdefault(pod.revision, []).append(_until_available(pod, now))
    return {
        revision: Headcount(
            ready=len(found),
            available=sum(not wait for wait in found),
            look_again_seconds=min((wait for wait in found if wait), default=None),
        )
        for revision, found in waits.items()
    }


def _until_available(pod: PodView, now: datetime) -> float:
    """Seconds until a ready pod is available; 0 when it is.

    The time is by the node's clock. One that lies further ahead than the wait itself says nothing but that
    this clock is wrong, and a wrong clock must not hold a rollout up for ever.
    """
    since = pod.condition_time("Ready")
    wait = MIN_READY_SECONDS - (now - since).total_seconds() if since else MIN_READY_SECONDS
    return wait if 0 < wait <= 2 * MIN_READY_SECONDS else 0.0


def alive(pods: Iterable[PodView]) -> tuple[PodView, ...]:
    """Pods that run or will run."""
    return tuple(pod for pod in pods if not pod.terminating and pod.phase not in ("Failed", "Succeeded"))


def lost_nodes(nodes: Sequence[NodeFacts] | None) -> frozenset[str]:
    return frozenset(node.name for node in nodes or () if not node.ready)


def revision_problem(
    observed: Observed,
    revision: str,
    *,
    pods: Sequence[PodView],
    wanted: int,
    lost: Collection[str],
    now: datetime,
) -> Problem | None:
    """What keeps ``revision`` from having all its ``wanted`` pods ready; None where it has, or just starts.

    A pod that only a person can help is named before one that may heal.
    """
    mine = [pod for pod in pods if pod.revision == revision and not pod.terminating]
    if sum(pod.ready for pod in mine) >= wanted:
        return None
    if (refused := creation_refused(observed.deployments, observed.replica_sets, revision)) is not None:
        return refused
    limit = schedule_timeout_seconds(observed.resource)
    found = [
        problem
        # What failed for good is replaced; it only tells something while nothing took its place.
        for pod in (alive(mine) or mine)
        if (
            problem := diagnose(
                pod,
                lost_nodes=lost,
                schedule_overdue=overdue(pod, now, limit),
                fetch=report.fetch if (report := observed.reports.get(pod.uid)) else None,
            )
        )
    ]
    if not found:
        # The cluster takes a pod away by deleting it: what it went for is told until its successor runs.
        leaving = (pod for pod in pods if pod.revision == revision and pod.terminating)
        found = [gone for pod in leaving if (gone := disruption(pod))]
    return most_pressing(found) or _brought_about(mine)


def _brought_about(pods: Iterable[PodView]) -> Problem | None:
    """For what the cluster took pods away again and again, where they brought it about themselves: what took
    their place just starts, and will do the same."""
    found = [gone for pod in pods if pod.phase == "Failed" and (gone := disruption(pod)) and gone.own_doing]
    return dataclasses.replace(found[-1], happened=after_restarts(len(found))) if found else None


def taken_away(pods: Iterable[PodView], revision: str, now: datetime) -> Problem | None:
    """Why the cluster has taken pods of ``revision`` away just now, also where others took their place."""
    for pod in pods:
        since = pod.condition_time("DisruptionTarget")
        recent = since is not None and abs((now - since).total_seconds()) < RECENT_SECONDS
        if pod.revision == revision and recent and (gone := disruption(pod)) is not None:
            return gone
    return None


def beside_active(resource: LLMDeployment, problem: Problem | None) -> Problem | None:
    """A candidate that waits for a GPU which the active revision holds has a class of its own."""
    if problem is None or gpu_resource(resource.spec) not in problem.missing_resources:
        return problem
    return dataclasses.replace(problem, reason=FailureClass.NO_SPARE_GPU)
