"""The facts of nodes that planning uses, and which nodes a pod of the resource may run on.

Free capacity is not considered: the scheduler does that.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Any

from tacho_operator.api.base import parse_quantity, quantity_bytes
from tacho_operator.api.defaults import GPU_RESOURCE
from tacho_operator.core.pods.view import PodView
from tacho_operator.core.types import Manifest, NodeFacts

GPU_TAINT = GPU_RESOURCE
"""Key of the taint on GPU nodes. Clusters add the toleration to every pod that requests a GPU
(ExtendedResourceToleration), so this taint never excludes a node for such a pod.
"""


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


def eligible(
    nodes: Iterable[NodeFacts],
    *,
    selector: Mapping[str, str],
    tolerations: Iterable[Mapping[str, str]],
    gpu: bool,
) -> tuple[NodeFacts, ...]:
    """Nodes whose labels match and whose taints a pod of this resource accepts, in the given order."""
    accepted = tuple(tolerations)

    def accepts(node: NodeFacts) -> bool:
        if node.unschedulable or not node.ready:
            return False
        if any(node.labels.get(key) != value for key, value in selector.items()):
            return False
        return all(
            taint.get("effect") == "PreferNoSchedule"
            or (gpu and taint.get("key") == GPU_TAINT)
            or tolerates(taint, accepted)
            for taint in node.taints
        )

    return tuple(node for node in nodes if accepts(node))


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
