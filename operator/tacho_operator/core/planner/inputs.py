"""All inputs of a plan, of each node only the facts that planning reads, and the hash of these inputs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from tacho_contract import codec
from tacho_contract.model import ModelFacts
from tacho_operator.api.types import LLMDeploymentSpec
from tacho_operator.core import names
from tacho_operator.core.planner.devices import gpu_labels
from tacho_operator.core.planner.request import PlanRequest, request_of
from tacho_operator.core.pods.nodes import eligible, memory_bytes
from tacho_operator.core.types import Config, NodeFacts, Observed, PlanInputs

NAMED_NODES = 5
"""Messages name so many nodes at most (no_plan.no_device)."""
HASH_LENGTH = 64


def plan_inputs(spec: LLMDeploymentSpec, facts: ModelFacts, observed: Observed, config: Config) -> PlanInputs:
    """The inputs of a plan for ``spec``, which may differ from the resource's own."""
    nodes = observed.nodes
    return PlanInputs(
        spec=spec,
        facts=facts,
        nodes=None if nodes is None else _read(nodes, request_of(spec, in_pods=config.in_pods)),
        history=observed.history,
        config=config,
        replan=observed.resource.metadata.annotations.get(names.REPLAN_ANNOTATION, ""),
    )


def _read(nodes: Iterable[NodeFacts], request: PlanRequest) -> tuple[NodeFacts, ...]:
    """What a plan reads of the nodes: the kinds of GPU, and the node with the largest memory.

    Of equal nodes a few stay, as messages name no more. So a cluster of any size is planned for as fast as a
    small one, and most changes of nodes are no reason to plan again.
    """
    selector, tolerations = request.node_selector, request.tolerations
    usable = eligible(nodes, selector=selector, tolerations=tolerations, gpu=True)
    hosts = eligible(usable, selector=selector, tolerations=tolerations, gpu=False)
    largest = max(hosts, key=lambda node: (memory_bytes(node), node.name), default=None)
    resource, keys = request.gpu_resource, (*selector, *gpu_labels(request.gpu_resource))
    equal: Counter[tuple[object, ...]] = Counter()
    found = []
    for node in sorted(usable, key=lambda node: node.name):
        with_gpus, labels = resource in node.allocatable, tuple(node.labels.get(key) for key in keys)
        kind = (labels, node.allocatable.get(resource), str(node.taints))
        equal[kind] += with_gpus
        if node is largest or (with_gpus and equal[kind] <= NAMED_NODES):
            found.append(_only(node, keys, ("memory", resource) if node is largest else (resource,)))
    return tuple(found)


def _only(node: NodeFacts, labels: Iterable[str], resources: Iterable[str]) -> NodeFacts:
    return NodeFacts(
        name=node.name,
        labels={key: node.labels[key] for key in labels if key in node.labels},
        allocatable={key: node.allocatable[key] for key in resources if key in node.allocatable},
        taints=node.taints,
    )


def subject_hash(inputs: PlanInputs) -> str:
    """Hash of the inputs that concern the model and its spec. The operator's settings are left out: they
    never change."""
    subject = [inputs.spec.to_wire(), codec.to_dict(inputs.facts), inputs.replan]
    return names.digest(subject, HASH_LENGTH)


def inputs_hash(inputs: PlanInputs, subject: str) -> str:
    """Hash of ``subject`` together with the nodes and measurements that it is planned for."""
    nodes = inputs.nodes
    return names.digest(
        [
            subject,
            None if nodes is None else [[n.name, n.labels, n.allocatable, n.taints] for n in nodes],
            codec.to_dict(inputs.history),
        ],
        HASH_LENGTH,
    )
