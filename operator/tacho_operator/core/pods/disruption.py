"""Whether the cluster ended a pod (eviction, drain, preemption, shutdown), rather than an exit of its
containers.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from tacho_contract.failure import FailureClass
from tacho_contract.units import gib
from tacho_operator.api.base import quantity_bytes
from tacho_operator.core.names import ENGINE_CONTAINER
from tacho_operator.core.pods.view import PodView
from tacho_operator.core.problems import Problem

CONDITIONS: Mapping[str, str] = {
    "EvictionByEvictionAPI": "it was evicted, as when a node is drained",
    "PreemptionByScheduler": "a pod of higher priority preempted it",
    "DeletionByTaintManager": "its node was tainted",
    "DeletionByPodGC": "its node was deleted",
    "TerminationByKubelet": "its node ended it",
}
"""Reasons of the pod condition DisruptionTarget, each with its description (kubernetes.io, Pod Lifecycle,
Disruptions).
"""

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
    if pod.phase == "Failed":
        because = because or REASONS.get(pod.reason)
        if pod.reason.startswith(OUT_OF_PREFIX):
            because = because or "its node had no capacity"
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
        what=f"Pod {pod.name} was evicted: {over['resource']} {_read(over['used'])}, "
        f"requested {_read(over['requested'])}.",
        next_step=f"Raise spec.engine.resources.{requests} to {over['used']} or more, or lower spec.context.",
        caused_by_pod=True,
    )


def _read(quantity: str) -> str:
    try:
        return gib(quantity_bytes(quantity))
    except ValueError:
        return quantity
