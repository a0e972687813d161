"""What GPUs a plan may choose from: live nodes, and products named that a node autoscaler could bring."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from tacho_operator.core.planner.asked import Asked
from tacho_operator.core.planner.catalog.gpus import Gpu, labelled_gpu, matches, named_gpu, normalise
from tacho_operator.core.pods import nodes as node_facts
from tacho_operator.core.types import NodeFacts

PRODUCT_LABEL = "nvidia.com/gpu.product"
MEMORY_LABEL = "nvidia.com/gpu.memory"
MAJOR_LABEL = "nvidia.com/gpu.compute.major"
MINOR_LABEL = "nvidia.com/gpu.compute.minor"
REPLICAS_LABEL = "nvidia.com/gpu.replicas"
MIG_RESOURCE = "nvidia.com/mig-"
MOST_GPUS = 8
"""What a replica of a product without a live node may ask for: the usual size of a large node."""


@dataclass(frozen=True, slots=True)
class Hardware:
    """One kind of GPU, and how many of it one pod can have."""

    gpu: Gpu
    most: int
    """On one node."""
    live: bool
    """A node with it is there now; else it is from the catalog."""


@dataclass(frozen=True, slots=True)
class Choices:
    """Kinds of GPU in order of preference, and what was asked for but cannot be had."""

    hardware: tuple[Hardware, ...]
    unknown: tuple[str, ...] = ()
    """Products the catalog does not know and no node has."""
    unlabelled: tuple[str, ...] = ()
    """Nodes with GPUs that nothing describes."""


def _whole(text: str | None) -> int | None:
    return int(text) if text and text.isdigit() and len(text) < 10 else None


def sliced(product: str, resource: str) -> str:
    """``product``, as the slice that a resource such as ``nvidia.com/mig-1g.5gb`` stands for."""
    if not resource.startswith(MIG_RESOURCE) or "-MIG-" in product.upper():
        return product
    return f"{product}-MIG-{resource.removeprefix(MIG_RESOURCE)}"


def node_gpu(node: NodeFacts, resource: str) -> Gpu | None:
    """The GPU a node's labels describe; for a MIG resource, the slice. None: no label does."""
    labels, prefix = node.labels, "nvidia.com/gpu"
    if resource.startswith(MIG_RESOURCE):
        prefix = resource
    label = labels.get(f"{prefix}.product") or labels.get(PRODUCT_LABEL, "")
    if not label:
        return None
    label = sliced(label, resource)
    major, minor = _whole(labels.get(MAJOR_LABEL)), _whole(labels.get(MINOR_LABEL))
    return labelled_gpu(
        label,
        memory_mib=_whole(labels.get(f"{prefix}.memory")),
        capability=(major, minor or 0) if major is not None else None,
        sharers=_whole(labels.get(f"{prefix}.replicas")) or 1,
    )


def _live(asked: Asked, nodes: Iterable[NodeFacts]) -> tuple[list[Hardware], tuple[str, ...]]:
    """Kinds of GPU on nodes this pod could run on, smallest first; of one kind the least memory counts."""
    usable = node_facts.eligible(nodes, selector=asked.node_selector, tolerations=asked.tolerations, gpu=True)
    kinds: dict[str, Hardware] = {}
    unlabelled: list[str] = []
    for node in sorted(usable, key=lambda n: n.name):
        count = node_facts.resource_count(node, asked.gpu_resource)
        if count < 1:
            continue
        gpu = node_gpu(node, asked.gpu_resource)
        if gpu is None:
            unlabelled.append(node.name)
            continue
        key = normalise(gpu.product)
        before = kinds.get(key)
        if before is None:
            kinds[key] = Hardware(gpu, count, True)
        else:
            smaller = min(before.gpu, gpu, key=lambda g: (g.memory_bytes, g.capability))
            kinds[key] = Hardware(smaller, max(before.most, count), True)
    ordered = sorted(kinds.values(), key=lambda h: (h.gpu.memory_bytes, h.gpu.product))
    return ordered, tuple(unlabelled)


def gpu_choices(asked: Asked, nodes: Iterable[NodeFacts] | None) -> Choices:
    """What to try, in order: the products asked for in the user's order (live nodes first, else the catalog),
    or every kind of live GPU, smallest first."""
    live, unlabelled = _live(asked, nodes) if nodes is not None else ([], ())
    if not asked.products:
        return Choices(tuple(live), (), unlabelled)
    chosen: list[Hardware] = []
    unknown: list[str] = []
    for name in (sliced(product, asked.gpu_resource) for product in asked.products):
        found = [h for h in live if matches(name, h.gpu.product)]
        if found:
            chosen += [h for h in found if h not in chosen]
            continue
        gpu = named_gpu(name)
        if gpu is None:
            unknown.append(name)
        else:
            chosen.append(Hardware(gpu, MOST_GPUS, False))
    return Choices(tuple(chosen), tuple(unknown), unlabelled)
