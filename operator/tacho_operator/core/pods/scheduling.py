"""Explains a pod that no node takes: a short reason, from the scheduler's message."""

from __future__ import annotations

import contextlib
import dataclasses
import re
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from fractions import Fraction

from tacho_contract.failure import Escalation, FailureClass
from tacho_contract.units import clipped, gib
from tacho_operator.api.base import parse_quantity
from tacho_operator.core.pods.view import PodView
from tacho_operator.core.problems import Problem
from tacho_operator.core.types import Manifest, NodeFacts

LABELS_CHARS = 160
"""Most characters of the labels that a pod selects, so that the scheduler's message still fits."""
MOST_MISSING = 16
"""Most resources that a problem names: a pod may request hundreds, each looked up in all nodes and pods."""
_INSUFFICIENT = re.compile(r"Insufficient ([A-Za-z0-9./-]+[A-Za-z0-9])")
_NOT_SELECTED = "node affinity/selector"
"""Text in the scheduler's message where nodes lack a label that the pod selects."""
_ADD_NODE = "Add or free a node, or change spec.gpu, spec.engine.resources or spec.podTemplate."
_LARGER_NODE = "Lower spec.engine.resources, or add a larger node."
_SIZES = frozenset({"memory", "ephemeral-storage"})
"""Resources that are counted in bytes."""
_COMPUTE = _SIZES | {"cpu"}
_OF_CLAIM = re.compile(r"persistent ?volume|\bpvc\b|volume (?:node affinity|zone)|free storage", re.I)
"""Matches what the scheduler says of a volume claim that no node can use (its plugins VolumeBinding,
VolumeZone and VolumeRestrictions)."""
_TAINT = re.compile(r"\btaint \{[^}]*\}")
"""Matches a taint in the scheduler's message; its key and value may be any words."""
_UNTOLERATED = re.compile(r"untolerated taint \{(?!node(?:-role)?\.kubernetes\.io/)([^:}\s]{1,317}):")
"""Matches a taint that a user may tolerate, with its key, where the scheduler names it, as earlier ones do.
Those of Kubernetes' own come from a fault."""
_SEE_CLAIM = (
    "See kubectl describe pvc. "
    "The claim or its volume is missing, in deletion, used by another pod, or on other nodes."
)
_SEE_GATES = "See what set its spec.schedulingGates, such as Kueue: it has not admitted the pod."


def unscheduled(pod: PodView, overdue: bool) -> Problem | None:
    """The problem of a pod that the scheduler could not place; None: it has a node, or the scheduler has not
    tried yet.

    The message has the reason before the pod's name, as its end may be cut.
    """
    scheduled = pod.condition("PodScheduled")
    if overdue and not (scheduled.status or pod.node) and pod.phase == "Pending":
        return Problem(
            reason=FailureClass.UNSCHEDULABLE,
            what=f"No scheduler has taken up pod {pod.name}.",
            next_step="Check spec.podTemplate.spec.schedulerName, and that this scheduler runs.",
            escalations=frozenset({Escalation.SCHEDULE_TIMEOUT}),
        )
    if scheduled.status != "False":
        return None
    text = scheduled.message.rstrip(".")
    missing = sorted(set(_INSUFFICIENT.findall(text)))[:MOST_MISSING]
    labels = ", ".join(f"{label}={value}" for label, value in sorted(pod.node_selector.items()))
    selected = (
        f"the pod selects {clipped(labels, LABELS_CHARS)}; " if labels and _NOT_SELECTED in text else ""
    )
    lack = f"has enough {', '.join(missing)} for" if missing else "fits"
    is_of_claim = not missing and _OF_CLAIM.search(_TAINT.sub("", text)) is not None
    what, next_step = f"No node {lack} pod {pod.name}.", _SEE_CLAIM if is_of_claim else _ADD_NODE
    if not (missing or is_of_claim) and "untolerated taint" in text:
        keys = dict.fromkeys(_UNTOLERATED.findall(text))
        found = ", ".join(f"{{key: {key}, operator: Exists}}" for key in keys)
        next_step = (
            "If a tainted node shall take it, add to spec.podTemplate.spec.tolerations: "
            f"{found or 'its taint (kubectl describe nodes)'}."
        )
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


def lacks_gpu_since(pod: PodView, resource: str) -> datetime | None:
    """Since when the scheduler finds no node with a free GPU for ``pod``, which requests ``resource`` and
    selects a kind; None: something else is missing, or nothing.
    """
    scheduled = pod.condition("PodScheduled")
    if pod.node or pod.terminating or scheduled.status != "False" or scheduled.reason == "SchedulingGated":
        return None
    missing = _INSUFFICIENT.findall(scheduled.message)
    unselected = _NOT_SELECTED in scheduled.message and not _OF_CLAIM.search(scheduled.message)
    if resource in missing or (unselected and not missing):
        return scheduled.since or pod.created
    return None


def with_figures(problem: Problem, pod_spec: Manifest, nodes: Iterable[NodeFacts]) -> Problem:
    """``problem``, with the requested amount and the largest on a node, where no node can have enough."""
    selector: Manifest = pod_spec.get("nodeSelector") or {}
    selected = [node for node in nodes if selector.items() <= node.labels.items()]
    figures, larger = [], set()
    for name in problem.missing_resources:
        requested = sum(_quantities(_requests(pod_spec), name))
        most = max(_quantities((node.allocatable for node in selected), name), default=None)
        if most is None or requested <= most:
            figures.append(name)
        else:
            larger.add(name)
            figures.append(f"{name} ({_amount(name, requested)} requested, {_amount(name, most)} at most)")
    if not larger:
        return problem
    step = _LARGER_NODE if larger <= _COMPUTE else problem.next_step
    return dataclasses.replace(
        problem,
        what=f"No node has enough {', '.join(figures)} for a pod.",
        next_step=step,
        # What no node ever has, nothing that ends can free.
        missing_resources=tuple(name for name in problem.missing_resources if name not in larger),
    )


def _requests(pod_spec: Manifest) -> Iterator[Mapping[str, str]]:
    """Resource requests of the containers that run at the same time. Without a request, the limit counts."""
    for kind in ("initContainers", "containers"):
        for container in pod_spec.get(kind) or ():
            if kind == "containers" or container.get("restartPolicy") == "Always":
                found = container.get("resources") or {}
                yield {**(found.get("limits") or {}), **(found.get("requests") or {})}


def _quantities(found: Iterable[Mapping[str, str]], name: str) -> Iterator[Fraction]:
    """The valid quantities of the resource ``name``."""
    for quantities in found:
        with contextlib.suppress(KeyError, ValueError):
            yield parse_quantity(str(quantities[name]))


def _amount(name: str, quantity: Fraction | int) -> str:
    return gib(float(quantity)) if name in _SIZES else f"{float(quantity):g}"
