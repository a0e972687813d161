"""Finds the hardware to plan for: a named GPU, saved nodes, a cluster's nodes, or this machine."""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from typing import Any

from tacho_cli.inputs.document import load
from tacho_cli.inputs.kubectl import RESOURCE, KubectlTarget, kubectl, last_lines, parsed, refused
from tacho_cli.inputs.this_machine import this_machine
from tacho_cli.problems import CommandError
from tacho_contract.units import counted, gib
from tacho_engines.hardware.gpu_table import GPUS
from tacho_engines.hardware.gpus import is_foreign, rows_for
from tacho_operator.api.base import quantity_bytes
from tacho_operator.api.types import LLMDeploymentSpec
from tacho_operator.core.planner.history import history_from, stored_status
from tacho_operator.core.pods.nodes import node_facts
from tacho_operator.core.types import Manifest, NodeFacts, PastMeasurement


@dataclass(frozen=True, slots=True, kw_only=True)
class Hardware:
    """The nodes, GPUs and CPUs to plan for, and where they were found."""

    nodes: tuple[NodeFacts, ...] | None
    """Known nodes; None: no node is known, products come from the catalog."""
    history: tuple[PastMeasurement, ...] = ()
    source: str
    """Description of the hardware's source, for the heading."""
    notes: tuple[str, ...] = ()


def override_gpu(raw: Manifest, gpu: str) -> Manifest:
    """The manifest ``raw`` with ``PRODUCT[:COUNT]`` as its requested GPUs. Raises CommandError."""
    product, _, number = gpu.partition(":")
    if is_foreign(product):
        raise CommandError(f"--gpu {gpu}: tacho plans NVIDIA GPUs only")
    if not rows_for(product):
        known = sorted({name for row in GPUS for name in row.short})
        near = difflib.get_close_matches(product.upper(), known, n=3, cutoff=0.5) or known
        raise CommandError(f"--gpu {gpu}: the catalog has no {product!r}; try {', '.join(near)}")
    if number and not (number.isdecimal() and int(number) > 0):
        raise CommandError(f"--gpu {gpu}: PRODUCT[:COUNT] is expected, e.g. --gpu L4:2")
    spec = raw.get("spec")
    if not isinstance(spec, dict) or not isinstance(before := spec.get("gpu") or {}, dict):
        return raw  # validation says so, and better
    requested = {**before, "products": [product]}
    if number:
        requested["count"] = int(number)
    elif requested.get("count") == 0:
        del requested["count"]
    return {**raw, "spec": {**spec, "gpu": requested}}


def choose(spec: LLMDeploymentSpec, *, gpu: str, nodes_file: str, target: KubectlTarget | None) -> Hardware:
    """The hardware that the options name, else the hardware that the manifest requests. Raises
    CommandError."""
    if sum(map(bool, (gpu, nodes_file, target))) > 1:
        raise CommandError("--gpu, --nodes and a cluster (--context, --kubeconfig, -n) exclude each other")
    if gpu:
        return Hardware(nodes=None, source="from the GPU catalog")
    if nodes_file:
        nodes = saved_nodes(nodes_file)
        return Hardware(nodes=nodes, source=f"for {counted(len(nodes), 'node')} in {nodes_file}")
    if target:
        return _of_cluster(target)
    count = spec.gpu.count if spec.gpu else None
    if spec.gpu and spec.gpu.products and count != 0:
        return Hardware(nodes=None, source="from the GPU catalog")
    machine = this_machine()
    if count and not machine.labels:
        raise CommandError(
            f"spec.gpu.count is {count}, but it names no GPU, and this machine has none: "
            "name one (--gpu L4), nodes (--nodes FILE) or a cluster (--context NAME)"
        )
    return Hardware(nodes=(machine,), source=f"for this machine ({_described(machine)})")


def _of_cluster(target: KubectlTarget) -> Hardware:
    nodes, refused = read_nodes(target)
    history, unread = read_history(target)
    source = (
        "from the GPU catalog"
        if nodes is None
        else f"for {counted(len(nodes), 'node')} of {target.described()}"
    )
    return Hardware(nodes=nodes, history=history, source=source, notes=tuple(filter(None, (refused, unread))))


def _described(machine: NodeFacts) -> str:
    parts = [f"{machine.allocatable['cpu']} CPUs", gib(quantity_bytes(machine.allocatable["memory"]))]
    if machine.labels:
        parts.append(f"{machine.labels['nvidia.com/gpu.count']} x {machine.labels['nvidia.com/gpu.product']}")
    return ", ".join(parts)


OTHERWISE = (
    "install it, or save the nodes where it is (kubectl get nodes -o json > nodes.json) and plan with "
    "--nodes nodes.json"
)
FILE_LIMIT_BYTES = 256 * 1024 * 1024
"""Longest file of nodes in bytes; a node has 10 to 40 KB as JSON, so a cluster of 5,000 nodes fits."""


def saved_nodes(file: str) -> tuple[NodeFacts, ...]:
    """The nodes in the output of ``kubectl get nodes -o json`` (or yaml). Raises CommandError."""
    expected = f"a file from: kubectl get nodes -o json > {file}"
    return _nodes(load(file, expected, FILE_LIMIT_BYTES), file)


def _nodes(document: Any, where: str) -> tuple[NodeFacts, ...]:
    try:
        items = [document] if document.get("kind") == "Node" else document["items"]
        if all(item.get("kind", "Node") == "Node" for item in items):
            found = tuple(map(node_facts, items))
            texts = [text for node in found for text in (*node.labels.values(), *node.allocatable.values())]
            if all(isinstance(text, str) for text in texts):
                return found
            where += ": labels and quantities are texts (write them in quotes)"
    except (AttributeError, KeyError, TypeError):
        pass
    raise CommandError(f"{where}: a list of nodes is expected, as kubectl get nodes -o json prints it")


def read_nodes(target: KubectlTarget) -> tuple[tuple[NodeFacts, ...] | None, str]:
    """The cluster's nodes; None and a note where the user may not list them. Raises CommandError."""
    found = kubectl(target, "get", "nodes", advice=OTHERWISE)
    if found.returncode == 0:
        return _nodes(parsed(found.stdout), "kubectl get nodes"), ""
    if "forbidden" in found.stderr.lower():
        return None, "no permission to list nodes: the catalog describes the GPUs of the manifest"
    raise refused("kubectl get nodes failed:", found.stderr)


def read_history(target: KubectlTarget) -> tuple[tuple[PastMeasurement, ...], str]:
    """Past measurements of the namespace; empty with a note where reading fails."""
    found = kubectl(target, "get", RESOURCE)
    if found.returncode != 0:
        why = " ".join(last_lines(found.stderr))
        return (), f"earlier measurements are not used: {why}"
    items = parsed(found.stdout).get("items") or []
    return history_from(map(stored_status, items)), ""
