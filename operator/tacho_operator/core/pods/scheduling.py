"""Explains a pod that no node takes: a short reason, from the scheduler's message."""

from __future__ import annotations

import re

from tacho_contract.failure import Escalation, FailureClass
from tacho_contract.units import clipped
from tacho_operator.core.pods.view import PodView
from tacho_operator.core.problems import Problem

LABELS_CHARS = 160
"""Of the labels that a pod selects, which leaves room for the scheduler's words."""
_LABELS_SHOWN_CHARS = 60
"""Of the same labels in the reason, which leaves room for the next step."""
_INSUFFICIENT = re.compile(r"Insufficient ([A-Za-z0-9./-]+[A-Za-z0-9])")
_NODES = re.compile(r"0/(\d+) nodes are available")
_NOT_SELECTED = "node affinity/selector"
"""In the scheduler's words where nodes lack labels."""
_NO_VOLUME = re.compile(r"unbound immediate PersistentVolumeClaims|available persistent volumes to bind")
_OTHER_NODES = r"(?:had volume node affinity conflict|didn't match PersistentVolume's node affinity)"
"""In the scheduler's words where a volume is in another zone, or on a node of its own."""
_ADD_NODE = "Add or free a node, or change spec.gpu, spec.engine.resources or spec.podTemplate."
_SEE_GATES = "See what set its spec.schedulingGates, such as Kueue: it has not admitted the pod."


def unscheduled(pod: PodView, overdue: bool) -> Problem | None:
    """The problem of a pod that the scheduler could not place; None where it did, or has not tried yet.

    In the message, the reason comes before the pod's name, as the end may be cut off.
    """
    scheduled = pod.condition("PodScheduled")
    if scheduled.status != "False":
        return None
    text = scheduled.message.rstrip(".")
    missing = sorted(set(_INSUFFICIENT.findall(text)))
    labels = ", ".join(f"{label}={value}" for label, value in sorted(pod.node_selector.items()))
    selected = (
        f"the pod selects {clipped(labels, LABELS_CHARS)}; " if labels and _NOT_SELECTED in text else ""
    )
    what, next_step = _reason(pod.name, text, missing, labels)
    if scheduled.reason == "SchedulingGated":
        what, next_step = f"Scheduling gates hold pod {pod.name}.", _SEE_GATES
    return Problem(
        reason=FailureClass.UNSCHEDULABLE,
        what=what,
        next_step=next_step,
        quotation=selected + text,
        escalations=frozenset({Escalation.SCHEDULE_TIMEOUT} if overdue else ()),
        missing_resources=tuple(missing),
    )


def _reason(pod: str, text: str, missing: list[str], labels: str) -> tuple[str, str]:
    """The reason, and the next step."""
    if missing:
        return f"No node has enough {', '.join(missing)} for pod {pod}.", _ADD_NODE
    if _NO_VOLUME.search(text):
        return (
            f"No volume for a claim of pod {pod}.",
            "Run tacho doctor, or see the events of kubectl describe pvc.",
        )
    if _of_all(text, _OTHER_NODES):
        return f"No node reaches the volumes of pod {pod}.", "Add a node where the claims' volumes are."
    if _of_all(text, "were unschedulable"):
        return f"All nodes are cordoned; pod {pod} waits.", "Run kubectl uncordon NODE, or add a node."
    if labels and _of_all(text, rf"didn't match Pod's {_NOT_SELECTED}"):
        return f"No node matches {clipped(labels, _LABELS_SHOWN_CHARS)} for pod {pod}.", _ADD_NODE
    return f"No node fits pod {pod}.", _ADD_NODE


def _of_all(text: str, refusal: str) -> bool:
    """Whether the scheduler says this of every node."""
    nodes, refused = _NODES.search(text), re.search(rf"(\d+) node\(s\) {refusal}", text)
    return nodes is not None and refused is not None and nodes[1] == refused[1]
