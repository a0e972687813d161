"""Devices that a plan may use: GPUs of ready nodes, those a node autoscaler could add, or the host's CPU."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace

from tacho_contract.units import GIB
from tacho_engines.hardware.device import CPU, Device
from tacho_engines.hardware.gpus import is_foreign_gpu, labelled_gpu, matches, named_gpu, normalise
from tacho_operator.api.defaults import GPU_RESOURCE
from tacho_operator.core.planner.request import PlanRequest
from tacho_operator.core.pods.nodes import Obstacle, eligible, memory_bytes, obstacles, resource_count
from tacho_operator.core.types import NodeFacts

PRODUCT_LABEL = "nvidia.com/gpu.product"
GPU_FACTS = ("product", "memory", "replicas")
MAJOR_LABEL = "nvidia.com/gpu.compute.major"
MINOR_LABEL = "nvidia.com/gpu.compute.minor"
MIG_RESOURCE = "nvidia.com/mig-"
_GPUS = re.compile(r"nvidia\.com/(gpu([.-].+)?|mig-.+)")
"""Matches the resources by which NVIDIA's device plugin offers GPUs, slices and, renamed, shares of them."""
MEMORY_LIMIT = "the memory limit of engine.resources"
MAX_GPUS = 8
"""Most GPUs per replica for a product that no node has now: the usual number on a large node."""
HOST_DEFAULT_BYTES = 4 * GIB
"""Largest weights as stored that run on the CPU where spec does not mention GPUs and no node has one.

A step reads all weights, and a CPU reads about 50 GB/s: above this, one stream gets fewer than 10 tok/s. All
experts count: a prompt, and the steps of several streams, read most of them.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ineligible:
    """Equal nodes that have GPUs and take no pod of the resource."""

    node: str
    """Name of one of them."""
    count: int
    """Number of these nodes."""
    device: Device | None
    """Their GPU by the node's labels; None: no label describes one."""
    gpus: int
    """GPUs of one node."""
    obstacles: tuple[Obstacle, ...]

    @property
    def why(self) -> str:
        """The nodes and why they are not eligible, as a clause."""
        product = self.device.product if self.device else ""
        more = f"{self.count - 1} more like it" if self.count > 1 else ""
        about = "; ".join(filter(None, (product, more)))
        reasons = " and ".join(item.why for item in self.obstacles)
        return f"{self.node}{f' ({about})' if about else ''} {reasons}"

    @property
    def step(self) -> str:
        """What makes them eligible, as a clause."""
        return " and ".join(item.step for item in self.obstacles)


@dataclass(frozen=True, slots=True)
class DeviceOption:
    """One kind of device, and how many of them one pod may have."""

    device: Device
    max_gpus: int = 0
    """Highest number of these GPUs on one node; 0 for the host."""
    live: bool = True
    """Whether an eligible node has such a device now."""
    ineligible: Ineligible | None = None
    """Nodes that have such a device and are not eligible, where no other has one; None: no node has one."""


@dataclass(frozen=True, slots=True)
class DeviceOptions:
    """Kinds of device in order of preference, and what the user requested but no kind matches."""

    available: tuple[DeviceOption, ...]
    unknown: tuple[str, ...] = ()
    """Requested products that are neither in the GPU catalog nor on a node."""
    unlabelled: tuple[str, ...] = ()
    """Names of nodes that have GPUs but no label with their product."""
    unsized: tuple[str, ...] = ()
    """Nodes without a label of their GPU's memory, each with its product: the GPU catalog lacks it, or has
    several of that name.
    """
    ineligible: tuple[Ineligible, ...] = ()
    """Nodes with GPUs that take no pod of the resource."""
    foreign: tuple[str, ...] = ()
    """Nodes with GPUs of other vendors, where a spec without GPUs is planned on the CPU."""
    too_large_for_host_bytes: int = 0
    """The model's weights as stored, where only their size keeps a spec without GPUs from the CPU; 0: it does
    not."""


def _whole_number(text: str | None) -> int | None:
    return int(text) if text and text.isdigit() and len(text) < 10 else None


def sliced(product: str, resource: str) -> str:
    """Name of the MIG slice of ``product`` that a resource like ``nvidia.com/mig-1g.5gb`` stands for."""
    if not resource.startswith(MIG_RESOURCE) or "-MIG-" in product.upper():
        return product
    return f"{product}-MIG-{resource.removeprefix(MIG_RESOURCE)}"


def product_label(resource: str) -> str:
    """Label by which pods select nodes with the planned product. A MIG resource has one of its own;
    ``nvidia.com/gpu.product`` then names the whole GPU.
    """
    return f"{resource}.product" if resource.startswith(MIG_RESOURCE) else PRODUCT_LABEL


def gpu_labels(resource: str) -> tuple[str, ...]:
    """Names of the node labels from which ``node_gpu`` reads a GPU."""
    described = (f"{prefix}.{what}" for prefix in {GPU_RESOURCE, resource} for what in GPU_FACTS)
    return (MAJOR_LABEL, MINOR_LABEL, *sorted(described))


def node_gpu(node: NodeFacts, resource: str) -> Device | None:
    """The GPU that a node's labels describe, or the slice for a MIG resource; None: no label describes
    one."""
    labels, prefix = node.labels, GPU_RESOURCE
    if resource.startswith(MIG_RESOURCE):
        prefix = resource
    label = labels.get(f"{prefix}.product") or labels.get(PRODUCT_LABEL, "")
    if not label:
        return None
    label = sliced(label, resource)
    major, minor = _whole_number(labels.get(MAJOR_LABEL)), _whole_number(labels.get(MINOR_LABEL))
    return labelled_gpu(
        label,
        memory_mib=_whole_number(labels.get(f"{prefix}.memory")),
        capability=(major, minor or 0) if major is not None else None,
        sharers=_whole_number(labels.get(f"{prefix}.replicas")) or 1,
    )


def gpu_counts(node: NodeFacts, resource: str = GPU_RESOURCE) -> dict[str, int]:
    """Number of allocatable GPUs, slices and shares of a node, by resource; ``resource`` counts as well."""
    names = sorted(
        name for name in node.allocatable if name == resource or ("/" in name and _GPUS.fullmatch(name))
    )
    return {name: count for name in names if (count := resource_count(node, name)) > 0}


def blocking(node: NodeFacts, request: PlanRequest) -> tuple[Obstacle, ...]:
    """Why a node with GPUs takes no pod of ``request``; empty where it does, or has no GPU."""
    resource = request.gpu_resource
    if not (offered := gpu_counts(node, resource)):
        return ()
    found = obstacles(node, request.on_gpus)
    if resource in offered:
        return found
    shown = ", ".join(f"{name} ({count})" for name, count in offered.items())
    step = f"set gpu: {{resourceName: {list(offered)[-1]}}}"
    return (*found, Obstacle(f"offers {shown}, not {resource}", step))


def _ineligible(request: PlanRequest, nodes: Iterable[NodeFacts]) -> tuple[Ineligible, ...]:
    """Nodes with GPUs that take no pod, by their GPU and by why."""
    found: dict[object, Ineligible] = {}
    for node in sorted(nodes, key=lambda n: n.name):
        if not (reasons := blocking(node, request)):
            continue
        device, gpus = (
            node_gpu(node, request.gpu_resource),
            sum(gpu_counts(node, request.gpu_resource).values()),
        )
        key = (device, *(item.why for item in reasons))
        if (same := found.get(key)) is not None:
            found[key] = replace(same, count=same.count + node.alike, gpus=max(same.gpus, gpus))
        else:
            found[key] = Ineligible(
                node=node.name, count=node.alike, device=device, gpus=gpus, obstacles=reasons
            )
    return tuple(found.values())


def _live(request: PlanRequest, nodes: Iterable[NodeFacts]) -> DeviceOptions:
    """Kinds of GPU on eligible nodes, the smallest first, and the nodes whose labels say too little. If nodes
    report different memory for one kind, the smallest counts.
    """
    usable = eligible(nodes, request.on_gpus)
    kinds: dict[str, DeviceOption] = {}
    unlabelled: list[str] = []
    unsized: list[str] = []
    for node in sorted(usable, key=lambda n: n.name):
        count = resource_count(node, request.gpu_resource)
        if count < 1:
            continue
        gpu = node_gpu(node, request.gpu_resource)
        if gpu is None:
            keys = (product_label(request.gpu_resource), PRODUCT_LABEL)
            label = next((found for key in keys if (found := node.labels.get(key))), "")
            (unsized if label else unlabelled).append(f"{node.name} ({label})" if label else node.name)
            continue
        key = normalise(gpu.node_label or gpu.product)  # pods select the label
        before = kinds.get(key)
        if before is None:
            kinds[key] = DeviceOption(gpu, count)
        else:
            smaller = min(before.device, gpu, key=lambda g: (g.memory_bytes or 0, g.capability))
            kinds[key] = DeviceOption(smaller, max(before.max_gpus, count))
    ordered = sorted(kinds.values(), key=lambda h: (h.device.memory_bytes or 0, h.device.product))
    return DeviceOptions(
        tuple(ordered),
        unlabelled=tuple(unlabelled),
        unsized=tuple(unsized),
        ineligible=_ineligible(request, nodes),
    )


def gpu_options(request: PlanRequest, nodes: Iterable[NodeFacts] | None) -> DeviceOptions:
    """Devices to try, in order: the requested products in the user's order (live nodes first, else the
    table), or every kind of live GPU, smallest first."""
    found = _options(request, nodes)
    untried = (
        option
        for option in found.available
        if (option.device.node_label or option.device.product) not in request.tried_gpus
    )
    return replace(found, available=tuple(untried))


def _options(request: PlanRequest, nodes: Iterable[NodeFacts] | None) -> DeviceOptions:
    live = _live(request, tuple(nodes)) if nodes is not None else DeviceOptions(())
    if not request.products:
        return live
    chosen: list[DeviceOption] = []
    unknown: list[str] = []
    for name in (sliced(product, request.gpu_resource) for product in request.products):
        found = [h for h in live.available if matches(name, h.device.product)]
        if found:
            chosen += [h for h in found if h not in chosen]
            continue
        barred = [item for item in live.ineligible if item.device and matches(name, item.device.product)]
        gpu = named_gpu(name)
        if barred and (device := barred[0].device):
            chosen.append(DeviceOption(device, barred[0].gpus, live=False, ineligible=barred[0]))
        elif gpu is None:
            unknown.append(name)
        else:
            chosen.append(DeviceOption(gpu, MAX_GPUS, live=False))
    return replace(live, available=tuple(chosen), unknown=tuple(unknown))


def foreign_nodes(request: PlanRequest, nodes: Iterable[NodeFacts] | None) -> tuple[str, ...]:
    """Eligible nodes that have GPUs of other vendors, each with the name of that resource."""
    usable = eligible(nodes or (), request.on_gpus)
    found = (
        f"{node.name} ({name})"
        for node in usable
        for name in sorted(node.allocatable)
        if is_foreign_gpu(name) and resource_count(node, name) > 0
    )
    return tuple(sorted(found))


def most_gpus(request: PlanRequest, nodes: Iterable[NodeFacts] | None) -> int:
    """Most GPUs that one pod may have: those of a node, if cordoned too, or MAX_GPUS for a node that may be
    added."""
    return max((MAX_GPUS, *(resource_count(node, request.gpu_resource) for node in nodes or ())))


def host(request: PlanRequest, nodes: Iterable[NodeFacts] | None) -> DeviceOption:
    """The CPU as a device. Its memory is the container's limit or the largest node's allocatable, whichever
    is smaller."""
    limit, source = request.options.memory_limit_bytes, MEMORY_LIMIT
    usable = eligible(nodes or (), request.placement)
    largest = max(usable, key=lambda n: (memory_bytes(n), n.name), default=None)
    if largest is not None and (limit is None or limit > memory_bytes(largest)):
        limit, source = memory_bytes(largest), f"allocatable memory of node {largest.name}"
    return DeviceOption(
        Device(kind="cpu", product=CPU, memory_bytes=limit, source=source if limit is not None else "")
    )
