"""Pods that may be noisy neighbours of a measured pod: when each started or was measured, by its owners."""

from __future__ import annotations

import math
from collections.abc import Callable
from datetime import datetime, timezone

from tacho_contract.launch import BASE_STARTUP_SECONDS, LONGEST_STARTUP_SECONDS
from tacho_operator.core import names
from tacho_operator.core.pods.view import FINISHED, PodView, controller
from tacho_operator.core.types import Manifest, Neighbour

Read = Callable[[str, tuple[str, str]], Manifest | None]
"""Function from (kind, (namespace, name)) to the stored object; None: not stored."""


def controlling(manifest: Manifest, kind: str, read: Read) -> Manifest | None:
    """The stored object of ``kind`` that controls ``manifest``; None where it is of another kind or not
    stored."""
    reference = controller(manifest) or {}
    name = (manifest["metadata"]["namespace"], str(reference.get("name", "")))
    held = read(kind, name) if reference.get("kind") == kind else None
    return held if held is not None and held["metadata"]["uid"] == reference.get("uid") else None


def neighbour_of(pod: Manifest, read: Read) -> Neighbour | None:
    """The pod as a possible noisy neighbour; None unless a stored LLMDeployment controls it, directly or
    through its owners, and it starts, started or was measured.

    A server pod belongs to a ReplicaSet of a revision's Deployment, a probe pod to the LLMDeployment itself.
    """
    labels = pod["metadata"].get("labels") or {}
    revision = labels.get(names.REVISION_LABEL, "")
    deployment = read("Deployment", (pod["metadata"]["namespace"], revision))
    if (replica_set := controlling(pod, "ReplicaSet", read)) is not None:
        deployment = controlling(replica_set, "Deployment", read)
        resource = controlling(deployment, "LLMDeployment", read) if deployment else None
    else:
        own = labels.get(names.ROLE_LABEL) == names.ROLE_PROBE
        resource = controlling(pod, "LLMDeployment", read) if own else None
        if deployment is not None and controlling(deployment, "LLMDeployment", read) != resource:
            deployment = None
    if resource is None:
        return None
    limit = ((deployment or {}).get("spec") or {}).get("progressDeadlineSeconds", BASE_STARTUP_SECONDS)
    # A Deployment that a user made in a resource's name may have a deadline of decades.
    return neighbour(PodView(pod), float(min(limit, LONGEST_STARTUP_SECONDS)))


def neighbour(pod: PodView, limit_seconds: float) -> Neighbour | None:
    """When the pod started or was measured, whatever it may be of; None: it did neither, or only drains."""
    engine = pod.container(names.ENGINE_CONTAINER)
    since = pod.condition_time("PodScheduled") or pod.created
    if engine is not None and engine.restarts and engine.running_since is not None:
        since = engine.running_since  # it served before
    if pod.role not in (names.ROLE_SERVER, names.ROLE_PROBE) or not pod.node or since is None:
        return None
    end = engine.terminated if engine else None
    ended = end.finished if end else None
    over = pod.phase in FINISHED
    until = (ended or since) if over else pod.condition_time("Ready")
    if until is None and pod.terminating and pod.role == names.ROLE_SERVER:
        return None  # it drains
    return Neighbour(
        name=pod.name,
        namespace=pod.namespace,
        uid=pod.uid,
        node=pod.node,
        since=since,
        until=until,
        limit_seconds=limit_seconds,
    )


def unread_neighbour(namespace: str, name: str, node: str) -> Neighbour:
    """Stands for pods of a namespace that are too many to read: any of them may be active at any time.

    Otherwise a user could hide a busy pod behind hundreds that have ended.
    """
    since = datetime.min.replace(tzinfo=timezone.utc)
    return Neighbour(
        name=name,
        namespace=namespace,
        uid="",
        node=node,
        since=since,
        until=None,
        limit_seconds=math.inf,
    )
