"""Marker pods: after a GPU fault on a node, new pods of the resource prefer other nodes for a while.

The operator may not label or cordon nodes, and a changed pod template would restart all pods. So every pod
template has a fixed preference for nodes without a marker pod of its resource. After a fault the operator
creates a marker pod on that node, which ends by itself. As it is only a preference, pods still start if all
nodes have markers.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from tacho_contract.failure import FailureClass
from tacho_contract.units import clipped
from tacho_operator.core import names
from tacho_operator.core.pods.view import PodView, references
from tacho_operator.core.problems import parse_failure
from tacho_operator.core.types import Manifest, NodeFacts, Reference, ResourceEvent

AVOID_SECONDS = 1800
"""Seconds for which a marker pod stays: enough for a device plugin to withdraw the GPU. A fault that recurs
marks the node again.
"""
EVENT, REFUSED_EVENT = "NodeAvoided", "NodeNotAvoided"
_PREFERRED = "preferredDuringSchedulingIgnoredDuringExecution"


def avoiding(affinity: Manifest, name: str) -> Manifest:
    """``affinity`` of a pod template, with the preference for nodes without a marker pod."""
    anti = affinity.get("podAntiAffinity", {})
    return {
        **affinity,
        "podAntiAffinity": {**anti, _PREFERRED: [*anti.get(_PREFERRED, ()), _preference(name)]},
    }


def _preference(name: str) -> Manifest:
    selector = {names.DEPLOYMENT_LABEL: name, names.ROLE_LABEL: names.ROLE_AVOID}
    term = {"labelSelector": {"matchLabels": selector}, "topologyKey": "kubernetes.io/hostname"}
    return {"weight": 100, "podAffinityTerm": term}


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeMarkers:
    """Markers of nodes with a GPU fault, which new pods avoid: those to create and those to delete."""

    nodes: tuple[str, ...] = ()
    """Names of the nodes that get a marker pod now."""
    expired: tuple[Reference, ...] = ()
    events: tuple[ResourceEvent, ...] = ()
    faulty: frozenset[str] = frozenset()
    """Nodes with a GPU fault in the last AVOID_SECONDS, including those that no pod avoids."""

    @property
    def refused(self) -> str:
        """The text about a node whose marker pod is refused; "": none is."""
        return next((item.message for item in self.events if item.reason == REFUSED_EVENT), "")


def mark_nodes(
    name: str,
    engines: Iterable[PodView],
    markers: Sequence[PodView],
    nodes: Iterable[NodeFacts] | None,
    *,
    refused: Mapping[str, str] | None = None,
    now: datetime,
) -> NodeMarkers:
    """The marker pods to create and to delete: one for each node with a GPU fault in the last AVOID_SECONDS.

    ``engines``: server and probe pods. ``refused``: for each marker that
    was refused, by name, the API server's text, or what else stands against it.
    """
    marked = {pod.name for pod in markers}
    usable = None if nodes is None else {item.name for item in nodes if item.ready and not item.unschedulable}
    faulty: dict[str, PodView] = {}
    for pod in engines:
        if _has_fault(pod, now):
            faulty.setdefault(pod.node, pod)
    new, events = {}, []
    for node, pod in faulty.items():
        marker = names.marker_pod_name(name, node)
        if marker in marked or (usable is not None and node not in usable):
            continue
        if marker in (refused or {}):
            events.append(_refused_event(pod, (refused or {})[marker]))
        else:
            new[node] = pod
            events.append(_event(pod))
    return NodeMarkers(
        nodes=tuple(new),
        expired=references(pod for pod in markers if _is_over(pod, now)),
        events=tuple(events),
        faulty=frozenset([*faulty, *(pod.node for pod in markers if not _is_over(pod, now))]),
    )


def _has_fault(pod: PodView, now: datetime) -> bool:
    engine = pod.container(names.ENGINE_CONTAINER)
    end = engine.terminated if engine else None
    if end is None or end.finished is None or not pod.node:
        return False
    failure = parse_failure(end.message)
    # A node's clock that is ahead marks the node for no longer than one that is right.
    recent = abs((now - end.finished).total_seconds()) < AVOID_SECONDS
    return recent and failure is not None and failure.failure_class == FailureClass.GPU_FAULT


def _is_over(marker: PodView, now: datetime) -> bool:
    # One that a kubelet refused stays: without it the next reconcile would make another one.
    return marker.created is None or abs((now - marker.created).total_seconds()) > AVOID_SECONDS


def _event(pod: PodView) -> ResourceEvent:
    return ResourceEvent(
        type="Warning",
        reason=EVENT,
        message=f"Pod {pod.name} had a GPU fault on node {pod.node}: for {AVOID_SECONDS // 60} minutes, "
        "new pods prefer other nodes. That pod stays; to move it, delete it.",
    )


def _refused_event(pod: PodView, why: str) -> ResourceEvent:
    message = (
        f"Pod {pod.name} had a GPU fault on node {pod.node}, and new pods may start there: the marker pod by "
        f"which they prefer other nodes is refused: {why}"
    )
    return ResourceEvent(type="Warning", reason=REFUSED_EVENT, message=clipped(message))
