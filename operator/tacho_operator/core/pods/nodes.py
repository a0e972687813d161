"""The facts of nodes that planning uses, and which nodes a pod of the resource may run on.

Free capacity is not considered: the scheduler does that.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from tacho_operator.api.base import parse_quantity, quantity_bytes
from tacho_operator.core.pods.view import PodView
from tacho_operator.core.types import Manifest, NodeFacts


def node_facts(node: Manifest) -> NodeFacts:
    """The facts of a node that planning uses."""
    conditions = node.get("status", {}).get("conditions") or ()
    return NodeFacts(
        name=node["metadata"]["name"],
        labels=node["metadata"].get("labels") or {},
        allocatable=node.get("status", {}).get("allocatable") or {},
        taints=tuple(node.get("spec", {}).get("taints") or ()),
        ready=any(item["type"] == "Ready" and item["status"] == "True" for item in conditions),
        unschedulable=bool(node.get("spec", {}).get("unschedulable")),
    )


LOST = "NodeLost"
"""``status.reason`` of a pod whose node is lost, as Kubernetes calls it."""
DELETED = "NodeDeleted"
"""The same of one whose node was deleted, which no pod's status says."""


def on_nodes(pods: Iterable[Manifest], nodes: Collection[NodeFacts] | None) -> tuple[Manifest, ...]:
    """``pods``, without readiness where their node was deleted: its Services leave such a pod out at once.

    The pod's own status stays as it is until Kubernetes deletes the pod, about a minute later. ``nodes``: all
    of the cluster. None, or none at all, as where the only one was deleted: the operator does not see them.
    """
    known = {node.name for node in nodes or ()}
    found = tuple(pods)
    return tuple(_lost(pod) if _is_ready_elsewhere(pod, known) else pod for pod in found) if known else found


def _is_ready_elsewhere(pod: Manifest, known: Collection[str]) -> bool:
    view = PodView(pod)
    return view.node != "" and view.node not in known and view.ready


def _lost(pod: Manifest) -> Manifest:
    conditions = [
        {**item, "status": "False"} if item.get("type") == "Ready" else item
        for item in pod["status"]["conditions"]
    ]
    return {**pod, "status": {**pod["status"], "reason": DELETED, "conditions": conditions}}


def tolerates(taint: Mapping[str, str], tolerations: Iterable[Mapping[str, str]]) -> bool:
    """Whether one of ``tolerations`` accepts ``taint``, as the scheduler compares them
    (component-helpers ``scheduling/corev1/helpers.go`` ToleratesTaint)."""
    for toleration in tolerations:
        if toleration.get("effect") and toleration.get("effect") != taint.get("effect"):
            continue
        key = toleration.get("key", "")
        if toleration.get("operator", "Equal") == "Exists":
            if key in ("", taint.get("key")):
                return True
        elif key == taint.get("key") and toleration.get("value", "") == taint.get("value", ""):
            return True
    return False


_LOST_TAINTS = tuple(
    {"key": f"node.kubernetes.io/{why}", "effect": "NoExecute"} for why in ("unreachable", "not-ready")
)


def unbounded_on_lost_node(tolerations: Iterable[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """The tolerations that keep a pod for ever on a node that stopped answering; empty where the pod is
    evicted at some time.

    Such a node has the taint not-ready or unreachable, and may change between them. For each taint the first
    matching toleration decides (component-helpers ``scheduling/corev1/helpers.go`` GetMatchingTolerations).
    """
    given = tuple(tolerations)
    deciding = [next((item for item in given if tolerates(taint, [item])), None) for taint in _LOST_TAINTS]
    unbounded = [item for item in deciding if item is not None and item.get("tolerationSeconds") is None]
    return unbounded if len(unbounded) == len(_LOST_TAINTS) else []


@dataclass(frozen=True, slots=True, kw_only=True)
class PodPlacement:
    """What a pod's template demands of its node."""

    selector: Mapping[str, str]
    tolerations: tuple[Mapping[str, str], ...]
    terms: tuple[Manifest, ...] = ()
    """The required nodeSelectorTerms of its affinity, of which one has to match; empty: it has none."""

    @property
    def labels(self) -> tuple[str, ...]:
        """Keys of the labels that it reads."""
        return (*self.selector, *(item["key"] for term in self.terms for item in term.get(_LABELS, ())))


@dataclass(frozen=True, slots=True)
class Obstacle:
    """Why a node takes no pod of a resource, and what a user can change; each is a clause."""

    why: str
    step: str
    by_choice: bool = False
    """Whether the pod's template chooses other nodes."""


_LABELS, _FIELDS = "matchExpressions", "matchFields"
_OWN_TAINTS = ("node.kubernetes.io/", "node.cloudprovider.kubernetes.io/", "ToBeDeletedByClusterAutoscaler")
"""Prefixes of the taints by which Kubernetes itself says that a node is not ready, cordoned, short of memory,
disk or process ids, or about to go.
"""


def obstacles(node: NodeFacts, placement: PodPlacement) -> tuple[Obstacle, ...]:
    """All that keeps a pod of ``placement`` off ``node``; empty: nothing does."""
    return tuple(_obstacles(node, placement))


def _obstacles(node: NodeFacts, placement: PodPlacement) -> Iterator[Obstacle]:
    if not node.ready:
        yield Obstacle("is not ready", f"see kubectl describe node {node.name}")
    elif node.unschedulable:
        yield Obstacle("is cordoned", f"run kubectl uncordon {node.name}")
    for taint in node.taints:
        own = taint.get("key", "").startswith(_OWN_TAINTS)
        if taint.get("effect") == "PreferNoSchedule" or tolerates(taint, placement.tolerations):
            continue
        if not own:
            step = f"add {toleration(taint)} to podTemplate.spec.tolerations"
            yield Obstacle(f"has the taint {taint_text(taint)}", step)
        elif node.ready and not node.unschedulable:
            yield Obstacle(f"has the taint {taint_text(taint)}", f"see kubectl describe node {node.name}")
    if placement.selector and (lacks := _lacking(node, placement.selector)):
        step = (
            f"run kubectl label node {node.name} {' '.join(lacks)}, or change podTemplate.spec.nodeSelector"
        )
        yield Obstacle(f"lacks {' and '.join(lacks)} of podTemplate.spec.nodeSelector", step, by_choice=True)
    if placement.terms and not any(_meets_term(node, term) for term in placement.terms):
        why = "does not match podTemplate.spec.affinity.nodeAffinity"
        yield Obstacle(why, "change that affinity", by_choice=True)


def _lacking(node: NodeFacts, selector: Mapping[str, str]) -> list[str]:
    return [f"{key}={value}" for key, value in selector.items() if node.labels.get(key) != value]


def taint_text(taint: Mapping[str, str]) -> str:
    """A taint as kubectl writes it."""
    value = f"={taint['value']}" if taint.get("value") else ""
    return f"{taint.get('key', '')}{value}:{taint.get('effect', '')}"


def toleration(taint: Mapping[str, str]) -> str:
    """The toleration of ``taint``, as YAML."""
    value = f"value: {json.dumps(taint['value'])}" if taint.get("value") else "operator: Exists"
    effect = f", effect: {taint['effect']}" if taint.get("effect") else ""
    return f"{{key: {taint.get('key', '')}, {value}{effect}}}"


def _meets_term(node: NodeFacts, term: Manifest) -> bool:
    """Whether ``node`` meets all conditions of a nodeSelectorTerm; one without conditions matches none."""
    found = [
        *(_meets(node.labels.get(item["key"]), item) for item in term.get(_LABELS, ())),
        *(_meets(node.name, item) for item in term.get(_FIELDS, ())),
    ]
    return bool(found) and all(found)


def _meets(value: str | None, condition: Manifest) -> bool:
    operator, values = condition["operator"], condition.get("values", ())
    if operator in ("Gt", "Lt"):
        try:
            difference = int(value or "") - int(values[0])
        except (ValueError, IndexError):
            return False
        return difference > 0 if operator == "Gt" else difference < 0
    matches = value is not None and (operator in ("Exists", "DoesNotExist") or value in values)
    return matches if operator in ("In", "Exists") else not matches


def eligible(nodes: Iterable[NodeFacts], placement: PodPlacement) -> tuple[NodeFacts, ...]:
    """Nodes that take a pod of ``placement``, in the given order."""
    return tuple(node for node in nodes if not obstacles(node, placement))


def memory_bytes(node: NodeFacts) -> int:
    """Allocatable memory of a node in bytes; 0 where the node does not report it, or reports an invalid
    quantity."""
    try:
        return max(0, quantity_bytes(node.allocatable.get("memory", "0")))
    except ValueError:
        return 0


def resource_count(node: NodeFacts, name: str) -> int:
    """Allocatable units of an extended resource (such as GPUs) on a node; 0 where the node has none."""
    try:
        return int(parse_quantity(node.allocatable.get(name, "0")))
    except ValueError:
        return 0
