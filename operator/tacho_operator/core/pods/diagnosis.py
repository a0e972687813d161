"""What is wrong with a pod, from its manifest alone; a table of the ways a pod fails to start or to stay."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from datetime import datetime

from tacho_contract.failure import Escalation, FailureClass
from tacho_contract.fetch import FetchProgress
from tacho_contract.units import clipped
from tacho_operator.core import names, problems as problem
from tacho_operator.core.names import FETCH_CONTAINER, INSPECT_CONTAINER
from tacho_operator.core.pods.disruption import disruption
from tacho_operator.core.pods.view import ContainerView, PodView
from tacho_operator.core.problems import Problem, after_restarts
from tacho_operator.core.types import Manifest

_PULL_WAITING = frozenset(
    {"ErrImagePull", "ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull", "ImageInspectError"}
)

_INSUFFICIENT = re.compile(r"Insufficient ([A-Za-z0-9./-]+[A-Za-z0-9])")


def diagnose(
    pod: PodView,
    *,
    lost_nodes: Collection[str],
    schedule_overdue: bool,
    fetch: FetchProgress | None = None,
) -> Problem | None:
    """The reason why ``pod`` is not ready, None where it just takes its time.

    ``schedule_overdue``: it has been waiting for a node longer than the spec allows. ``fetch``: how far
    the pod says its download is.
    """
    if pod.ready:
        return None
    if (found := _node(pod, lost_nodes)) or (found := disruption(pod)):
        return found
    if found := _scheduling(pod, schedule_overdue):
        return found
    for container in pod.containers():
        if _goes_on(container, fetch):
            continue
        if found := _container(pod, container):
            return found
    if pod.phase == "Failed":
        why = pod.status.get("message") or pod.status.get("reason") or "no reason was given"
        return Problem(
            reason=FailureClass.ENGINE_CRASHED,
            message=clipped(
                f"Pod {pod.name} failed: {problem.ended(why)} See kubectl describe pod {pod.name}."
            ),
        )
    return None


def _node(pod: PodView, lost_nodes: Collection[str]) -> Problem | None:
    if pod.node in lost_nodes or pod.status.get("reason") == "NodeLost":
        return Problem(
            reason=FailureClass.NODE_LOST,
            message=f"Node {pod.node} of pod {pod.name} does not answer. Bring the node back or delete it; "
            "the pod is replaced elsewhere once the cluster evicts it.",
        )
    return None


def _scheduling(pod: PodView, overdue: bool) -> Problem | None:
    scheduled = pod.condition("PodScheduled")
    if not scheduled or scheduled.get("status") != "False":
        return None
    said = str(scheduled.get("message", "")).rstrip(".")
    missing = sorted(set(_INSUFFICIENT.findall(said)))
    lacks = f"not enough {', '.join(missing)}" if missing else "no node fits"
    return Problem(
        reason=FailureClass.UNSCHEDULABLE,
        message=clipped(
            f"Pod {pod.name} finds no node ({lacks}): {said}. Add such nodes, free them, or ask for less "
            "in spec.engine.resources, spec.gpu or spec.podTemplate."
        ),
        happened=frozenset({Escalation.SCHEDULE_TIMEOUT} if overdue else ()),
        missing_resources=tuple(missing),
    )


def _goes_on(container: ContainerView, fetch: FetchProgress | None) -> bool:
    """Whether it is the fetch container, running, and brings the model: then its last end is history,
    and how far it is says more. While it only tries to begin, why it ended stays to be read."""
    if container.name != FETCH_CONTAINER or fetch is None or container.running_since is None:
        return False
    return fetch.state in ("Downloading", "Verifying", "Complete")


def _container(pod: PodView, container: ContainerView) -> Problem | None:
    waiting = container.waiting or {}
    reason, said = str(waiting.get("reason", "")), str(waiting.get("message", "")).strip()
    if reason in _PULL_WAITING:
        return Problem(
            reason=FailureClass.IMAGE_PULL_ERROR,
            message=clipped(
                f"Image {container.image} of container {container.name} cannot be pulled: {said or reason}. "
                "Check the image's name and registry, and spec.podTemplate.spec.imagePullSecrets."
            ),
        )
    if reason == "CreateContainerConfigError":
        return Problem(
            reason=_missing(container),
            message=clipped(
                f"Container {container.name} of pod {pod.name} cannot be created: {said}. "
                "Create what is missing in this namespace, or correct the reference in spec."
            ),
        )
    if reason in ("CreateContainerError", "RunContainerError"):
        return _not_startable(container, said)
    return _ended(pod, container)


def _missing(container: ContainerView) -> FailureClass:
    """A Secret or ConfigMap that is not there. The only Secret inspection reads is the hub's token."""
    said = str((container.waiting or {}).get("message", "")).lower()
    inspecting = container.name == INSPECT_CONTAINER and "secret" in said
    return FailureClass.AUTH_REQUIRED if inspecting else FailureClass.INVALID_CONFIG


def _not_startable(container: ContainerView, said: str) -> Problem:
    return Problem(
        reason=FailureClass.INVALID_CONFIG,
        message=clipped(
            f"Container {container.name} cannot be started from image {container.image}: {said}. The image "
            "must hold the Python that runs tacho's runtime (spec.engine.custom.python for your own image)."
        ),
    )


def _ended(pod: PodView, container: ContainerView) -> Problem | None:
    ended = container.terminated
    if not ended or (ended.get("exitCode", 0) == 0 and ended.get("reason") != "OOMKilled"):
        return None
    said = str(ended.get("message", ""))
    failure = problem.parse_failure(said)
    if failure is not None:
        return problem.from_failure(failure, _where(pod, container), restarts=container.restarts)
    if ended.get("reason") == "OOMKilled":
        return Problem(
            reason=FailureClass.HOST_OUT_OF_MEMORY,
            message=f"{_where(pod, container)}: it used more memory than its limit and was killed. "
            "Raise spec.engine.resources.limits.memory, or lower spec.context.",
            happened=after_restarts(container.restarts),
        )
    if ended.get("reason") in ("StartError", "ContainerCannotRun"):
        return _not_startable(container, said.strip())
    tail = " | ".join(line.strip() for line in said.strip().splitlines()[-3:])
    return Problem(
        reason=FailureClass.ENGINE_CRASHED,
        message=clipped(
            f"{_where(pod, container)}: ended with exit code {ended.get('exitCode')}"
            f"{': ' + tail if tail else ''}. See kubectl logs {pod.name} -c {container.name} --previous."
        ),
        happened=after_restarts(container.restarts),
    )


def _where(pod: PodView, container: ContainerView) -> str:
    times = "1 restart" if container.restarts == 1 else f"{container.restarts} restarts"
    tries = f" ({times})" if container.restarts else ""
    return f"{container.name} in pod {pod.name}{tries}"


def creation_refused(
    deployments: Iterable[Manifest], replica_sets: Iterable[Manifest], revision: str
) -> Problem | None:
    """Quota or admission keeping a revision's pods from existing: only its ReplicaSet says so."""
    for manifest in (*replica_sets, *deployments):
        if (manifest["metadata"].get("labels") or {}).get(names.REVISION_LABEL) != revision:
            continue
        for condition in (manifest.get("status") or {}).get("conditions") or ():
            if condition.get("type") == "ReplicaFailure" and condition.get("status") == "True":
                return problem.refusal_said(str(condition.get("message", "")))
    return None


def overdue(pod: PodView, now: datetime, limit_seconds: float) -> bool:
    """Whether the pod has waited for a node longer than ``limit_seconds``."""
    return pod.created is not None and (now - pod.created).total_seconds() > limit_seconds
