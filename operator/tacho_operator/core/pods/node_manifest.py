"""A node as the API server shows it, reduced to what planning reads."""

from __future__ import annotations

from tacho_operator.core.types import Manifest, NodeFacts


def node_facts(node: Manifest) -> NodeFacts:
    """What planning wants of a node."""
    conditions = node.get("status", {}).get("conditions") or ()
    return NodeFacts(
        name=node["metadata"]["name"],
        labels=node["metadata"].get("labels") or {},
        allocatable=node.get("status", {}).get("allocatable") or {},
        taints=tuple(node.get("spec", {}).get("taints") or ()),
        ready=any(item["type"] == "Ready" and item["status"] == "True" for item in conditions),
        unschedulable=bool(node.get("spec", {}).get("unschedulable")),
    )
