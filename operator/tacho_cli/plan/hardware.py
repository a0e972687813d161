"""Selects the hardware for a plan: a named GPU, saved nodes, a cluster's nodes, or this machine."""

from __future__ import annotations

import difflib
from dataclasses import dataclass

from tacho_cli.inputs.kubectl import KubectlTarget
from tacho_cli.inputs.this_machine import this_machine
from tacho_cli.plan import cluster
from tacho_cli.problems import CommandError
from tacho_contract.units import counted, gib
from tacho_engines.hardware.gpu_table import GPUS
from tacho_engines.hardware.gpus import rows_for
from tacho_operator.api.base import quantity_bytes
from tacho_operator.api.types import LLMDeploymentSpec
from tacho_operator.core.types import Manifest, NodeFacts, PastMeasurement


@dataclass(frozen=True, slots=True, kw_only=True)
class Hardware:
    """Nodes, GPUs and CPUs that planning may use."""

    nodes: tuple[NodeFacts, ...] | None
    """Known nodes; None: no node is known, products come from the catalog."""
    history: tuple[PastMeasurement, ...] = ()
    source: str
    """Description of the hardware's source, for the heading."""
    notes: tuple[str, ...] = ()


def override_gpu(raw: Manifest, gpu: str) -> Manifest:
    """``raw`` with ``PRODUCT[:COUNT]`` as its requested GPUs. Raises CommandError."""
    product, _, number = gpu.partition(":")
    if not rows_for(product):
        known = sorted({name for row in GPUS for name in row.short})
        near = difflib.get_close_matches(product.upper(), known, n=3, cutoff=0.5) or known
        raise CommandError(f"--gpu {gpu}: the catalog has no {product!r}; try {', '.join(near)}")
    if number and not (number.isdecimal() and int(number) > 0):
        raise CommandError(f"--gpu {gpu}: PRODUCT[:COUNT] is expected, e.g. --gpu L4:2")
    spec = raw.get("spec")
    if not isinstance(spec, dict):
        return raw  # validation says so, and better
    asked = {**(spec.get("gpu") or {}), "products": [product]}
    if number:
        asked["count"] = int(number)
    elif asked.get("count") == 0:
        del asked["count"]
    return {**raw, "spec": {**spec, "gpu": asked}}


def choose(spec: LLMDeploymentSpec, *, gpu: str, nodes_file: str, target: KubectlTarget | None) -> Hardware:
    """The hardware that the options name, else the hardware that the manifest requests. Raises
    CommandError."""
    if sum(map(bool, (gpu, nodes_file, target))) > 1:
        raise CommandError("--gpu, --nodes and a cluster (--context, --kubeconfig, -n) exclude each other")
    if gpu:
        return Hardware(nodes=None, source="from the GPU catalog")
    if nodes_file:
        nodes = cluster.saved_nodes(nodes_file)
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
    nodes, refused = cluster.read_nodes(target)
    history, unread = cluster.read_history(target)
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
