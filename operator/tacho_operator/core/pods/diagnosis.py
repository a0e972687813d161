"""Diagnoses a pod from its manifest: scheduling, images, containers, exits, and its end by the cluster."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace
from datetime import datetime

from tacho_contract.failure import Escalation, FailureClass
from tacho_contract.fetch import FetchProgress
from tacho_contract.report import Report
from tacho_contract.units import counted, format_time, gib
from tacho_operator.api.base import quantity_bytes
from tacho_operator.core import names, problems as problem
from tacho_operator.core.names import ENGINE_CONTAINER, FETCH_CONTAINER, INSPECT_CONTAINER
from tacho_operator.core.pods.deadlines import PREPARE_SECONDS, time_left, unready_since
from tacho_operator.core.pods.nodes import DELETED, LOST, unbounded_on_lost_node
from tacho_operator.core.pods.scheduling import unscheduled
from tacho_operator.core.pods.view import UNKNOWN_PHASE, ContainerView, PodView
from tacho_operator.core.problems import Problem, after_restarts
from tacho_operator.core.types import Manifest

_PULL_WAITING = frozenset(
    {
        *("ErrImagePull", "ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull", "ImageInspectError"),
        *("RegistryUnavailable", "SignatureValidationFailed"),  # of CRI-O, between two pauses
    }
)


def diagnose(
    pod: PodView,
    *,
    lost_nodes: Collection[str],
    schedule_overdue: bool,
    fetch: FetchProgress | None = None,
    now: datetime | None = None,
) -> Problem | None:
    """Why ``pod`` is not ready, as a problem; None where it only needs more time.

    ``schedule_overdue``: the pod has been pending for longer than spec allows. ``fetch``: the download that
    its runtime reports. ``now``: None where a long wait for node setup shall not count as a problem.
    """
    if pod.ready:
        return None
    if (found := _node(pod, lost_nodes)) or (found := disruption(pod)):
        return found
    if found := unscheduled(pod, schedule_overdue):
        return found
    since = pod.unprepared_since
    if now is not None and since is not None and time_left(since, PREPARE_SECONDS, now) is None:
        return Problem(
            reason=FailureClass.POD_NOT_PREPARED,
            what=f"Node {pod.node} cannot mount pod {pod.name}'s volumes or set up its network.",
            next_step="See the events of kubectl describe pod.",
        )
    for container in pod.containers():
        if _downloads(container, fetch):
            continue
        if found := _container(pod, container):
            return found
    if pod.phase == "Failed":
        why = pod.message or pod.reason or "no reason was given"
        return Problem(
            reason=FailureClass.ENGINE_CRASHED,
            what=f"Pod {pod.name} failed.",
            next_step=f"See kubectl describe pod {pod.name}.",
            quotation=str(why),
        )
    return None


def never_ready(pod: PodView, limit_seconds: float, report: Report | None, now: datetime) -> Problem | None:
    """The problem of a pod that neither ends nor gets ready; None: it may still be starting.

    ``limit_seconds``: longest time that its start may take.
    """
    since = unready_since(pod)
    if since is None or time_left(since, limit_seconds, now) is not None:
        return None
    reported = f"phase {report.phase}: {report.message}".removesuffix(": ") if report else ""
    return Problem(
        reason=FailureClass.STARTUP_TIMEOUT,
        what=f"Unready since {format_time(since)}, longer than a start may take: pod {pod.name}.",
        next_step="See its log and kubectl describe pod, then delete the pod.",
        quotation="; ".join(filter(None, (pod.unready_because, reported))),
        escalations=frozenset({Escalation.NOT_READY}),
    )


def stuck(pod: PodView) -> Problem:
    """The problem of a pod that cannot terminate because its node does not answer.

    Its ReplicaSet has replaced it. Kubernetes frees its GPU and volumes only after a user confirms that the
    node is down (kubernetes.io, Non-graceful node shutdown).
    """
    return Problem(
        reason=FailureClass.NODE_LOST,
        what=f"Pod {pod.name} cannot end on node {pod.node}, which does not answer.",
        next_step="Repair the node; if it is off, delete it or taint it node.kubernetes.io/out-of-service.",
    )


def _node(pod: PodView, lost_nodes: Collection[str]) -> Problem | None:
    if pod.is_stuck(lost_nodes):
        return stuck(pod)
    if pod.reason == DELETED:
        return Problem(
            reason=FailureClass.NODE_LOST,
            what=f"Node {pod.node} of pod {pod.name} was deleted.",
            next_step="Nothing: Kubernetes deletes the pod within about a minute, and it is replaced.",
        )
    if pod.node in lost_nodes or pod.reason == LOST:
        stays = unbounded_on_lost_node(pod.tolerations)
        return Problem(
            reason=FailureClass.NODE_LOST,
            what=f"Node {pod.node} of pod {pod.name} does not answer.",
            next_step="Repair the node or delete the pod: its tolerations keep it there for ever."
            if stays
            else "Repair or delete the node; the pod is replaced once it is evicted.",
        )
    if pod.phase == UNKNOWN_PHASE:
        return Problem(
            reason=FailureClass.NODE_LOST,
            what=f"The state of pod {pod.name} is unknown.",
            next_step="Check its node, and delete the pod.",
            quotation=pod.message,
        )
    return None


def _downloads(container: ContainerView, fetch: FetchProgress | None) -> bool:
    """Whether it is the fetch container, and downloading. Then the progress is shown, not the last exit."""
    if container.name != FETCH_CONTAINER or fetch is None or container.running_since is None:
        return False
    return fetch.state in ("Downloading", "Verifying", "Complete")


_REFERENCE = re.compile(r"\bsecrets?\b|\bconfigmaps?\b", re.I)
"""Matches what the kubelet says of a missing Secret or ConfigMap, and of a missing key."""
_SUB_PATH = re.compile(r"\b(?:error|create|prepare|provision) subPath\b", re.I)
"""Matches what the kubelet says of a subPath; the name of its mount follows, which may contain "secret"."""


def _container(pod: PodView, container: ContainerView) -> Problem | None:
    reason, text = container.waiting_reason, container.waiting_message
    if reason in _PULL_WAITING:
        return Problem(
            reason=FailureClass.IMAGE_PULL_ERROR,
            what=f"Image {container.image} cannot be pulled.",
            next_step="Check its name, the registry and spec.podTemplate.spec.imagePullSecrets.",
            quotation=text or reason,
        )
    if reason == "CreateContainerConfigError":
        return _not_configured(pod, container, text)
    if reason in ("CreateContainerError", "RunContainerError", *_HOOKS_OF_NODE, _OWN_HOOK):
        return _not_startable(pod, container, text)
    return _ended(pod, container)


def _not_configured(pod: PodView, container: ContainerView, text: str) -> Problem:
    if text and (_SUB_PATH.search(text) or not _REFERENCE.search(text)):
        folder = "Check that volume: the kubelet makes the folder of subPath, as root."
        return Problem(
            reason=FailureClass.POD_NOT_PREPARED,
            what=f"Node {pod.node} cannot configure container {container.name} of pod {pod.name}.",
            next_step=folder if "subpath" in text.lower() else f"See kubectl describe pod {pod.name}.",
            quotation=text,
        )
    return Problem(
        reason=_missing_reference_class(container),
        what=f"Container {container.name} of pod {pod.name} lacks a Secret, a ConfigMap or a key of one.",
        next_step="Create it, or correct its name in spec.",
        quotation=text,
    )


def _missing_reference_class(container: ContainerView) -> FailureClass:
    """The failure class of a missing Secret or ConfigMap. An inspect pod refers to the hub token alone."""
    inspecting = container.name == INSPECT_CONTAINER and "secret" in container.waiting_message.lower()
    return FailureClass.AUTH_REQUIRED if inspecting else FailureClass.INVALID_CONFIG


_OF_NODE = re.compile(
    r"context deadline exceeded|is reserved for|no space left on device|resource temporarily unavailable"
    r"|cannot allocate memory|input/output error|nvidia-container|nvidia-ctk|nvidia-ml|CDI device"
)
"""Matches what containerd, runc and NVIDIA's hook say of a container that the node cannot start, whatever its
image and command are.
"""

_HOOKS_OF_NODE = ("PreCreateHookError", "PreStartHookError")
"""Waiting reasons of a container for which the kubelet's own managers of CPUs, memory and devices failed."""
_OWN_HOOK = "PostStartHookError"


def _not_startable(pod: PodView, container: ContainerView, text: str) -> Problem:
    if _OF_NODE.search(text) or container.waiting_reason in _HOOKS_OF_NODE:
        return Problem(
            reason=FailureClass.POD_NOT_PREPARED,
            what=f"Node {pod.node} cannot start container {container.name} of pod {pod.name}.",
            next_step="Repair that node, its container runtime or GPU driver; else delete the pod.",
            quotation=text,
        )
    by_image = "The image must contain the Python of spec.engine.custom.python."
    by_hook = "See what set its postStart hook; tacho sets none."
    return Problem(
        reason=FailureClass.INVALID_CONFIG,
        what=f"Container {container.name} cannot start from image {container.image}.",
        next_step=by_hook if container.waiting_reason == _OWN_HOOK else by_image,
        quotation=text,
    )


def _ended(pod: PodView, container: ContainerView) -> Problem | None:
    end = container.terminated
    if end is None or (end.exit_code == 0 and end.reason != "OOMKilled"):
        return None
    failure = problem.parse_failure(end.message)
    if failure is not None:
        return problem.from_failure(failure, _container_text(pod, container), restarts=container.restarts)
    if end.reason == "OOMKilled":
        in_spec = "Raise spec.engine.resources.limits.memory, or lower spec.context."
        other = f"That limit is not in spec. See kubectl describe pod {pod.name}."
        return Problem(
            reason=FailureClass.HOST_OUT_OF_MEMORY,
            what=f"Killed, as it exceeded its memory limit: {_container_text(pod, container)}.",
            next_step=in_spec if container.name == ENGINE_CONTAINER else other,
            escalations=after_restarts(container.restarts),
        )
    if end.reason in ("StartError", "ContainerCannotRun"):
        return _not_startable(pod, container, end.message.strip())
    tail = " | ".join(line.strip() for line in end.message.strip().splitlines()[-3:])
    return Problem(
        reason=FailureClass.ENGINE_CRASHED,
        what=f"{_container_text(pod, container)}: exit code {end.exit_code}.",
        next_step="See kubectl logs --previous of that container.",
        quotation=tail,
        escalations=after_restarts(container.restarts),
    )


def _container_text(pod: PodView, container: ContainerView) -> str:
    tries = f" ({counted(container.restarts, 'restart')})" if container.restarts else ""
    return f"{container.name} in pod {pod.name}{tries}"


def creation_refused(
    deployments: Iterable[Manifest], replica_sets: Iterable[Manifest], revision: str
) -> Problem | None:
    """The problem of quota or admission control that refuses a revision's pods, or the ReplicaSet that would
    make them; None: it refuses none.

    No pod shows this; it is a condition of the ReplicaSet or the Deployment.
    """
    for manifest in (*replica_sets, *deployments):
        if (manifest["metadata"].get("labels") or {}).get(names.REVISION_LABEL) != revision:
            continue
        for condition in (manifest.get("status") or {}).get("conditions") or ():
            if refuses_creation(condition):
                return _creation_problem(manifest, str(condition.get("message", "")))
    return None


def _creation_problem(manifest: Manifest, message: str) -> Problem:
    """The problem of a refused pod, or of a refused ReplicaSet: Kubernetes tries that 15 times, and then no
    more until the Deployment changes.
    """
    text = _NEW_SET.sub("", message)
    found = problem.refusal_problem(text)
    if text == message:
        return found
    command = f"kubectl rollout restart deployment/{manifest['metadata']['name']}"
    return replace(
        found, next_step=f"{found.next_step} Kubernetes stops trying after minutes: then run {command}."
    )


def refuses_creation(condition: Manifest) -> bool:
    """Whether a condition says that a pod could not be created, or a Deployment's ReplicaSet, of which
    Kubernetes makes no ReplicaFailure.
    """
    kind, status = condition.get("type"), condition.get("status")
    is_of_set = kind == "Progressing" and condition.get("reason") == "ReplicaSetCreateError"
    return (kind == "ReplicaFailure" and status == "True") or (is_of_set and status == "False")


_NEW_SET = re.compile(r'^Failed to create new replica set "[^"]*": ')


def overdue(pod: PodView, now: datetime, limit_seconds: float) -> bool:
    """Whether the pod is older than ``limit_seconds``."""
    return pod.created is not None and (now - pod.created).total_seconds() > limit_seconds


BY_KUBELET = "TerminationByKubelet"
CONDITIONS: Mapping[str, str] = {
    "EvictionByEvictionAPI": "it was evicted, as when a node is drained",
    "PreemptionByScheduler": "a pod of higher priority preempted it",
    "DeletionByTaintManager": "its node was tainted",
    "DeletionByPodGC": "its node was deleted",
    BY_KUBELET: "its node ended it",
}
"""Reasons of the pod condition DisruptionTarget, in words (kubernetes.io, Pod Lifecycle, Disruptions)."""

REASONS: Mapping[str, str] = {
    "Evicted": "its node was short of memory, disk or process ids",
    "Preempting": "a critical pod preempted it",
    "Preempted": "a pod of higher priority preempted it",
    "NodeShutdown": "its node is shutting down",
    "Terminated": "its node was shut down",
    "Shutdown": "its node was shut down",
    "NodeAffinity": "its node's labels changed",
}
"""Values of ``status.reason`` of a pod that the kubelet ended, each with its description.

UnexpectedAdmissionError and TopologyAffinityError are missing on purpose: a broken device plugin refuses the
next pod as well.
"""
OUT_OF_PREFIX = "OutOf"
"""Prefix of a kubelet's reason when the node lacks a resource for the pod (OutOfcpu, OutOfmemory)."""

_OWN_LIMIT = ("exceeds the limit", "exceeds the total limit", "exceeded its local ephemeral storage limit")
"""Parts of the message when a kubelet evicts a pod for exceeding its own storage limit."""


def disruption(pod: PodView) -> Problem | None:
    """The problem of a pod that the cluster ended; None where the cluster did not end it."""
    text = pod.message
    if any(phrase in text.lower() for phrase in _OWN_LIMIT):
        return Problem(
            reason=FailureClass.DISK_FULL,
            what=f"Pod {pod.name} exceeded its limit of ephemeral storage.",
            next_step="Raise ephemeral-storage in spec.engine.resources, or set spec.cache to a claim.",
            quotation=text,
        )
    condition = pod.condition("DisruptionTarget")
    because = CONDITIONS.get(condition.reason) if condition.status == "True" else None
    if pod.phase == "Failed" and (because is None or condition.reason == BY_KUBELET):
        no_capacity = "its node had no capacity" if pod.reason.startswith(OUT_OF_PREFIX) else None
        because = REASONS.get(pod.reason) or no_capacity or because
    if because is None:
        return None
    if (over := over_request(text)) is not None:
        return _evicted_for(pod, over)
    detail = (text or condition.message).strip().rstrip(".")
    return Problem(
        reason=FailureClass.EVICTED,
        what=f"The cluster evicted pod {pod.name}: {because}.",
        next_step="It is replaced once a node has room.",
        quotation=detail,
    )


_OVER = re.compile(
    rf"(?:Container {ENGINE_CONTAINER}|Pod \S+) was using (?P<used>\S+), request is (?P<requested>\S+), "
    r"has larger consumption of (?P<resource>memory|ephemeral-storage)\b"
)
"""Matches the kubelet's message about an eviction for memory or disk pressure, with the engine container's
use and request.

Source: kubelet pkg/kubelet/eviction/helpers.go, containerMessageFmt and podMessageFmt (Kubernetes 1.36).
Requests of other containers are not in spec.
"""


def over_request(message: str) -> re.Match[str] | None:
    """The resource, the use and the request in an eviction message; None where the message has none.

    Also None for ephemeral storage without a request: its request is 0, which every log line exceeds.
    """
    found = _OVER.search(message)
    if found is None or (found["requested"] == "0" and found["resource"] != "memory"):
        return None
    return found


def _evicted_for(pod: PodView, over: re.Match[str]) -> Problem:
    """The problem of a pod that was evicted for using more than it requested. A new pod would be evicted,
    too, so it counts against the revision like a crash.
    """
    requests = f"requests.{over['resource']}"
    return Problem(
        reason=FailureClass.EVICTED,
        what=f"Pod {pod.name} was evicted: {over['resource']} {_readable(over['used'])}, "
        f"requested {_readable(over['requested'])}.",
        next_step=f"Raise spec.engine.resources.{requests} to {over['used']} or more, or lower spec.context.",
        caused_by_pod=True,
    )


def _readable(quantity: str) -> str:
    try:
        return gib(quantity_bytes(quantity))
    except ValueError:
        return quantity
