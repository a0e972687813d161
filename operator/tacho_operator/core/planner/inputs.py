"""The inputs of a plan, with nodes reduced to the facts that planning depends on, and their hash."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import replace

from tacho_contract import codec
from tacho_contract.model import ModelFacts
from tacho_engines.hardware.gpus import is_foreign_gpu
from tacho_operator.api.types import LLMDeploymentSpec
from tacho_operator.core import names
from tacho_operator.core.planner.devices import blocking, gpu_counts, gpu_labels
from tacho_operator.core.planner.request import request_of
from tacho_operator.core.pods.nodes import eligible, memory_bytes, resource_count
from tacho_operator.core.types import Config, NodeFacts, Observed, PlanInputs

NAMED_NODES = 5
"""Most nodes that a failure message names (no_plan.no_device)."""
HASH_LENGTH = 64


def plan_inputs(
    spec: LLMDeploymentSpec,
    facts: ModelFacts,
    observed: Observed,
    config: Config,
    tried_gpus: tuple[str, ...] = (),
) -> PlanInputs:
    """The inputs of a plan for ``spec``, which may differ from the spec of the observed resource."""
    return PlanInputs(
        spec=spec,
        facts=facts,
        nodes=nodes_read(spec, observed.nodes, config),
        history=observed.history,
        config=config,
        replan=observed.resource.metadata.annotations.get(names.REPLAN_ANNOTATION, ""),
        tried_gpus=tried_gpus,
    )


def nodes_read(
    spec: LLMDeploymentSpec, nodes: Iterable[NodeFacts] | None, config: Config
) -> tuple[NodeFacts, ...] | None:
    """The nodes whose GPUs or memory a plan for ``spec`` can depend on: some of each kind of GPU, one of each
    kind that is not eligible, and the one with the most memory. Without GPUs to plan, some with those of
    other vendors, which a plan names. None: nodes are not known.

    Only a few of equal nodes are kept. So planning time does not grow with the cluster, and most changes of
    nodes need no new plan.
    """
    if nodes is None:
        return None
    request = request_of(spec, config)
    nodes = sorted(nodes, key=lambda node: node.name)
    usable = eligible(nodes, request.on_gpus)
    largest = max(
        eligible(usable, request.placement), key=lambda node: (memory_bytes(node), node.name), default=None
    )
    resource, keys = request.gpu_resource, (*request.placement.labels, *gpu_labels(request.gpu_resource))
    foreign = {name for node in usable for name in node.allocatable if is_foreign_gpu(name)}
    others = () if any(resource_count(node, resource) for node in usable) else sorted(foreign)
    names = {node.name for node in usable}
    equal: Counter[tuple[object, ...]] = Counter()
    found: list[tuple[NodeFacts, tuple[object, ...]]] = []
    for node in nodes:
        offered = gpu_counts(node, resource)
        known = tuple(dict.fromkeys((resource, *offered, *others)))
        labels = tuple(node.labels.get(key) for key in keys)
        counts = tuple(node.allocatable.get(name) for name in known)
        clear = node.name in names and resource in offered
        why = () if clear else tuple(item.why for item in blocking(node, request))
        kind = (node is largest, labels, known, counts, str(node.taints), why)
        equal[kind] += bool(why) or (node.name in names and any(name in node.allocatable for name in known))
        if node is largest or 0 < equal[kind] <= (1 if why else NAMED_NODES):
            known = ("memory", *known) if node is largest else known
            found.append((_reduced_node(node, keys, known), kind if why else ()))
    return tuple(replace(node, alike=equal[kind]) if kind else node for node, kind in found)


def _reduced_node(node: NodeFacts, labels: Iterable[str], resources: Iterable[str]) -> NodeFacts:
    return NodeFacts(
        name=node.name,
        labels={key: node.labels[key] for key in labels if key in node.labels},
        allocatable={key: node.allocatable[key] for key in resources if key in node.allocatable},
        taints=node.taints,
        ready=node.ready,
        unschedulable=node.unschedulable,
    )


def subject_hash(inputs: PlanInputs) -> str:
    """Hash of the inputs that belong to the model and its spec. Settings of the operator are left out: they
    do not change while it runs.
    """
    subject = [inputs.spec.to_wire(), codec.to_dict(inputs.facts), inputs.replan, list(inputs.tried_gpus)]
    return names.digest(subject, HASH_LENGTH)


def inputs_hash(inputs: PlanInputs, subject: str) -> str:
    """Hash of ``subject`` together with the nodes and measurements that it is planned for."""
    nodes = inputs.nodes
    return names.digest(
        [
            subject,
            None if nodes is None else [codec.to_dict(node) for node in nodes],
            codec.to_dict(inputs.history),
        ],
        HASH_LENGTH,
    )
