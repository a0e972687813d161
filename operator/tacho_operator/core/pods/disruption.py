"""Whether the cluster ended a pod, and not what runs in it: evictions, drains, preemptions, shutdowns."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from tacho_contract.failure import FailureClass
from tacho_contract.units import clipped, gib
from tacho_operator.api.quantity import quantity_bytes
from tacho_operator.core.names import ENGINE_CONTAINER
from tacho_operator.core.pods.view import PodView
from tacho_operator.core.problems import Problem, ended

CONDITIONS: Mapping[str, str] = {
    "EvictionByEvictionAPI": "it was evicted, as when a node is drained",
    "PreemptionByScheduler": "a pod of higher priority needed its place",
    "DeletionByTaintManager": "its node was tainted",
    "DeletionByPodGC": "its node is gone",
    "TerminationByKubelet": "its node ended it",
}
"""Reasons of the condition DisruptionTarget (kubernetes.io, Pod Lifecycle, Disruptions)."""

REASONS: Mapping[str, str] = {
    "Evicted": "its node was short of memory, disk or process ids",
    "Preempting": "a critical pod needed its place",
    "Preempted": "a pod of higher priority needed its place",
    "NodeShutdown": "its node is shutting down",
    "Terminated": "its node was shut down",
    "Shutdown": "its node was shut down",
    "NodeAffinity": "its node's labels changed",
}
"""``status.reason`` of a pod that the kubelet failed. Not UnexpectedAdmissionError and TopologyAffinityError:
a device plugin that is broken refuses the next pod as well."""
NO_ROOM = "OutOf"
"""The beginning of the reason with which a kubelet refuses a pod that it has no room for."""

_OWN_LIMIT = ("exceeds the limit", "exceeds the total limit", "exceeded its local ephemeral storage limit")
"""A kubelet evicts a pod for what the pod itself wrote, too: that is the pod's failure."""


def disruption(pod: PodView) -> Problem | None:
    """Why the cluster took the pod away; None where it did not."""
    reason, said = str(pod.status.get("reason", "")), str(pod.status.get("message", "")).strip()
    if any(words in said.lower() for words in _OWN_LIMIT):
        return Problem(
            reason=FailureClass.DISK_FULL,
            message=clipped(
                f"Pod {pod.name} wrote more than it may: {ended(said)} Raise the ephemeral-storage limit in "
                "spec.engine.resources, or give spec.cache a claim."
            ),
        )
    condition = pod.condition("DisruptionTarget") or {}
    because = CONDITIONS.get(str(condition.get("reason", ""))) if condition.get("status") == "True" else None
    if pod.phase == "Failed":
        because = because or REASONS.get(reason) or ("its node had no room" if _no_room(reason) else None)
    if because is None:
        return None
    if (over := over_request(said)) is not None:
        return _evicted_for(pod, over)
    detail = (said or str(condition.get("message", ""))).strip().rstrip(".")
    return Problem(
        reason=FailureClass.EVICTED,
        message=clipped(
            f"The cluster took pod {pod.name} away: {because}{f' ({detail})' if detail else ''}. "
            "Nothing needs to be done: it is replaced as soon as there is room."
        ),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class OverRequest:
    """What a kubelet says of a container that used more than it had asked for when its node ran short."""

    used: str
    requested: str
    resource: str


_OVER = re.compile(
    rf"(?:Container {ENGINE_CONTAINER}|Pod \S+) was using (?P<used>\S+), request is (?P<requested>\S+), "
    r"has larger consumption of (?P<resource>memory|ephemeral-storage)\b"
)
"""Source: kubelet pkg/kubelet/eviction/helpers.go, containerMessageFmt and podMessageFmt (Kubernetes 1.36).
Of the engine's container only: what the others ask for is not in spec."""


def over_request(message: str) -> OverRequest | None:
    """The engine's excess in the message of an eviction; None where there is none. A container that asked for
    no ephemeral storage exceeds that with its first line of log, which explains no shortage."""
    found = _OVER.search(message)
    if found is None or (found["requested"] == "0" and found["resource"] != "memory"):
        return None
    return OverRequest(**found.groupdict())


def _evicted_for(pod: PodView, over: OverRequest) -> Problem:
    """Replaced by the same pod it would happen again: it counts against the revision, as a crash does."""
    asked = f"requests.{over.resource}"
    return Problem(
        reason=FailureClass.EVICTED,
        message=clipped(
            f"The cluster took pod {pod.name} away: its node was short of {over.resource}, and the engine "
            f"used {_read(over.used)} of it where spec asks for {_read(over.requested)}. Raise "
            f"spec.engine.resources.{asked} to {over.used} or more, or lower spec.context."
        ),
        own_doing=True,
    )


def _read(quantity: str) -> str:
    try:
        return gib(quantity_bytes(quantity))
    except ValueError:
        return quantity


def _no_room(reason: str) -> bool:
    return reason.startswith(NO_ROOM)
