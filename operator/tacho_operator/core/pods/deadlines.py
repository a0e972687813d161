"""Deadlines of pods: after which time a waiting pod becomes a problem, and when a pod's report is overdue."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from datetime import datetime

from tacho_contract.failure import RESTARTS_BEFORE_USER_ACTION
from tacho_contract.pod import RUNTIME_PORT
from tacho_operator.core import names
from tacho_operator.core.pods.view import FINISHED, PodView
from tacho_operator.core.types import Manifest

READY_SECONDS = 30.0
"""Seconds after readiness by which a pod should have answered the operator. Its runtime works, so the network
is the likely cause.
"""
PREPARE_SECONDS = 480.0
"""Seconds that a node may take to mount volumes and set up the network of a pod. Cloud disks take two
minutes; from a lost node Kubernetes detaches one after six.
"""
RUNNING_SECONDS = 120.0
"""Seconds after its start by which a pod that is not ready should have answered once; it may be busy."""


def unreachable(pods: Iterable[PodView], answered: Collection[str], now: datetime) -> PodView | None:
    """The first pod whose report is overdue. ``answered``: uids of the pods that reported."""
    return next((pod for pod in pods if pod.uid not in answered and _is_overdue(pod, now)), None)


def _is_overdue(pod: PodView, now: datetime) -> bool:
    engine = pod.container(names.ENGINE_CONTAINER)
    running = engine.running_since if engine else None
    if pod.terminating or pod.phase != "Running" or running is None:
        return False
    since = pod.condition_time("Ready")
    if since is not None and (now - since).total_seconds() > READY_SECONDS:
        return True
    return (now - running).total_seconds() > RUNNING_SECONDS


def unreachable_message(pod: PodView) -> str:
    """The message about a pod whose report is overdue."""
    return (
        f"Pod {pod.name} does not answer the operator on port {RUNTIME_PORT}. "
        "Check NetworkPolicies and service mesh for that port."
    )


RECENT_SECONDS = 120.0
"""Seconds for which a pod's disruption explains why its revision has too few pods."""


def reports_progress(pods: Iterable[PodView]) -> bool:
    """Whether the report of some pod shows progress: its engine has started, and the pod is not ready or is
    being measured.
    """
    return any(
        engine.running_since is not None and (not pod.ready or pod.role == names.ROLE_PROBE)
        for pod in pods
        if (engine := pod.container(names.ENGINE_CONTAINER)) is not None
    )


def start_deadline(pod: PodView, limit_seconds: float, now: datetime) -> float | None:
    """Seconds until it is a problem that a pod has no node, or that its node has not set up volumes and
    network.

    None where the pod waits for neither, or the limit has passed.
    """
    if (since := pod.unprepared_since) is not None:
        return time_left(since, PREPARE_SECONDS, now)
    created = pod.created
    has_one = pod.node or pod.phase != "Pending" or pod.condition_time("PodScheduled") is not None
    return None if has_one or created is None else time_left(created, limit_seconds, now)


def unready_since(pod: PodView) -> datetime | None:
    """Since when a pod that has a node is not ready; None: it is ready, has no node, or ends. None, too,
    where it has lost its address alone: nothing says when.
    """
    if pod.ready or not pod.node or pod.terminating or pod.phase in FINISHED:
        return None
    found = pod.condition("Ready")
    if found.status == "True":
        return None
    # The latest one: a node's clock may be behind.
    times = (
        pod.created,
        pod.condition_time("PodScheduled"),
        found.since if found.status == "False" else None,
        _restarted(pod),
    )
    return max((time for time in times if time is not None), default=None)


def _restarted(pod: PodView) -> datetime | None:
    """Since when a restarted engine has its whole startup budget again; None: it did not restart, or too
    often.

    While it waits to be restarted, its last end counts: Ready does not change with it.
    """
    engine = pod.container(names.ENGINE_CONTAINER)
    if engine is None or engine.restarts >= RESTARTS_BEFORE_USER_ACTION:
        return None
    if engine.running_since is not None:
        return engine.running_since if engine.restarts else None
    return engine.terminated.finished if engine.terminated else None


def start_limits(deployments: Iterable[Manifest]) -> dict[str, float]:
    """Longest time in seconds that a start of a revision's pods may take, by the revision: the progress
    deadline of its Deployment.
    """
    return {
        item["metadata"]["name"]: float(limit)
        for item in deployments
        if (limit := (item.get("spec") or {}).get("progressDeadlineSeconds")) is not None
    }


def deadline_seconds(
    pods: Iterable[PodView],
    now: datetime,
    *,
    schedule_limit_seconds: float,
    start_limits: Mapping[str, float],
    answered: Collection[str],
) -> float | None:
    """Seconds until the next deadline of any pod; None: none lies ahead. ``answered``: uids of pods that have
    reported."""
    found: list[float | None] = []
    for pod in pods:
        found.append(start_deadline(pod, schedule_limit_seconds, now))
        if pod.revision in start_limits and (since := unready_since(pod)) is not None:
            found.append(time_left(since, start_limits[pod.revision], now))
        if (taken := pod.condition_time("DisruptionTarget")) is not None:
            found.append(time_left(taken, RECENT_SECONDS, now))
        if pod.uid not in answered and pod.phase == "Running":
            engine = pod.container(names.ENGINE_CONTAINER)
            if (ready := pod.condition_time("Ready")) is not None:
                found.append(time_left(ready, READY_SECONDS, now))
            if engine is not None and engine.running_since is not None:
                found.append(time_left(engine.running_since, RUNNING_SECONDS, now))
    return min((wait for wait in found if wait is not None), default=None)


def time_left(since: datetime, limit_seconds: float, now: datetime) -> float | None:
    """Seconds until just after ``limit_seconds`` from ``since``; None: that time has passed.

    Clocks may differ, so the result is never much longer than the limit.
    """
    left = limit_seconds - (now - since).total_seconds()
    return min(left, limit_seconds) + 0.1 if left >= 0 else None
