"""Children that a finalizer keeps while they are being deleted."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from tacho_contract.units import parse_time
from tacho_operator.api.defaults import GRACE_SECONDS
from tacho_operator.core import names
from tacho_operator.core.pods.deadlines import time_left
from tacho_operator.core.pods.view import PodView
from tacho_operator.core.problems import Problem, deletion_blocked
from tacho_operator.core.reconcile_plan import ReconcilePlan
from tacho_operator.core.rollout.reading import live_pods
from tacho_operator.core.types import Observed

FINALIZER_SECONDS = 60.0
"""Seconds that a finalizer's controller has, before a child in deletion counts as a problem."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LeavingChild:
    """A child in deletion that a finalizer keeps."""

    kept: Problem
    """The child and its finalizers, whatever it waits for."""
    problem: Problem
    """The same, or the pod that has to end first."""
    seconds_left: float | None
    """Seconds until its time is over; None: it is, and the child counts as a problem if it is needed."""
    needed: bool
    """Whether the service needs it or its place, or it is ``former``."""
    former: bool
    """Whether it is of a former revision whose pods run on."""


def leaving_children(
    observed: Observed, reconcile_plan: ReconcilePlan, servers: Sequence[PodView], now: datetime
) -> Iterator[LeavingChild]:
    """Deployments, ReplicaSets and Services whose deletion a finalizer blocks.

    Kubernetes creates no pod for a Deployment or ReplicaSet that is being deleted. A foreground deletion
    first deletes the pods. Pods of a former revision that run on hold GPUs.
    """
    rollout = reconcile_plan.rollout
    sized = (name for name, size in rollout.replicas.items() if size)
    current = {rollout.active or reconcile_plan.desired_revision, rollout.candidate, *sized} - {""}
    former = {pod.revision for pod in live_pods(servers)} - current - {""}
    # Read once: a user may have made 200 such children, and thousands of pods.
    first: dict[str, str] = {}
    last: dict[str, datetime] = {}
    for pod in servers:
        first.setdefault(pod.revision, pod.name)
        if (pod_ends := pod.ends) is not None:
            last[pod.revision] = max(pod_ends, last.get(pod.revision, pod_ends))
    for child in (*observed.deployments, *observed.replica_sets, *observed.services):
        metadata = child["metadata"]
        ends, finalizers = parse_time(metadata.get("deletionTimestamp")), metadata.get("finalizers")
        if ends is None or not finalizers:
            continue
        name, waits = (metadata.get("labels") or {}).get(names.REVISION_LABEL, ""), ""
        if "foregroundDeletion" in finalizers:
            waits, frozen = first.get(name, ""), reconcile_plan.revisions.get(name)
            grace = (frozen.pod_template["spec"] if frozen else {}).get("terminationGracePeriodSeconds")
            ends += timedelta(seconds=GRACE_SECONDS if grace is None else grace)
            ends = max(ends, last.get(name, ends))
        yield LeavingChild(
            kept=deletion_blocked(child),
            problem=deletion_blocked(child, waits),
            seconds_left=time_left(ends, FINALIZER_SECONDS, now),
            needed=child["kind"] == "Service" or name in current | former,
            former=child["kind"] != "Service" and name in former,
        )
