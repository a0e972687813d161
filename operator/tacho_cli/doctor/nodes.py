"""The checks of nodes: which accept new pods; of those with GPUs device plugin, labels, driver, MIG. Pure.

The labels are those of GPU feature discovery (k8s-device-plugin, docs/gpu-feature-discovery) and of the GPU
operator's MIG manager.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator

from tacho_cli.doctor.findings import Facts, Result
from tacho_contract.units import counted, listed
from tacho_engines.registry import engine_profiles
from tacho_operator.api.defaults import GPU_RESOURCE, GPU_TOLERATIONS
from tacho_operator.core.planner.devices import MIG_RESOURCE, PRODUCT_LABEL, gpu_counts, node_gpu
from tacho_operator.core.pods.nodes import PodPlacement, node_facts, obstacles
from tacho_operator.core.types import NodeFacts

PRESENT = ("nvidia.com/gpu.present", "feature.node.kubernetes.io/pci-10de.present")
"""Labels that node feature discovery sets on a node with an NVIDIA GPU."""
CUDA = ("nvidia.com/cuda.runtime-version", "nvidia.com/cuda.runtime")
"""Prefixes of the labels of the newest CUDA version that a driver supports: present name, earlier name."""
DRIVER = ("nvidia.com/cuda.driver-version", "nvidia.com/cuda.driver")
MIG_STATE = "nvidia.com/mig.config.state"
ANY_SPEC = PodPlacement(selector={}, tolerations=GPU_TOLERATIONS)
"""Where pods with GPUs may run whose spec says nothing about nodes."""
FIRST_DRIVER = {12: "525", 13: "580"}
"""First driver branch of each major version of CUDA (CUDA Compatibility, table 1)."""


def check_gpus(facts: Facts) -> Iterator[Result]:
    nodes = [(item, node_facts(item)) for item in facts.all_of("nodes")]
    usable: dict[str, list[int]] = defaultdict(list)
    for raw, node in nodes:
        offered = gpu_counts(node)
        capacity = (raw.get("status") or {}).get("capacity") or {}
        if not offered:
            if any(node.labels.get(label) == "true" for label in PRESENT):
                step = "Install or repair the NVIDIA device plugin; its pod on that node has the reason."
                yield "fail", f"Node {node.name} has a GPU and offers none: no {GPU_RESOURCE}.", step
            continue
        broken = [key for key in offered if str(capacity.get(key, "0")) != str(node.allocatable[key])]
        if broken:
            shown = ", ".join(f"{key} {node.allocatable[key]} of {capacity.get(key)}" for key in broken)
            step = "The device plugin took the others back as unhealthy: see its log, and nvidia-smi there."
            yield "warn", f"Node {node.name} offers {shown}.", step
        if PRODUCT_LABEL not in node.labels:
            step = "Install GPU feature discovery: without its labels no plan knows the GPU."
            yield "fail", f"Node {node.name} has GPUs without the label {PRODUCT_LABEL}.", step
        elif found := obstacles(node, ANY_SPEC):
            for item in found:
                step = f"{item.step[:1].upper()}{item.step[1:]}."
                yield "warn", f"Node {node.name} with GPUs {item.why}.", step
        else:
            usable[_shared(node)].append(sum(offered.values()))
            if GPU_RESOURCE not in offered and (renamed := sorted(offered.keys() - _slices(offered))):
                step = f"Set spec.gpu.resourceName to {renamed[-1]}."
                yield "ok", f"Node {node.name} offers {', '.join(renamed)}, not {GPU_RESOURCE}.", step
    for product, counts in sorted(usable.items()):
        yield "ok", f"{sum(counts)} x {product} on {counted(len(counts), 'node')}.", ""
    if not any(gpu_counts(node) for _, node in nodes):
        yield "warn", "No node offers a GPU: models run on CPUs.", "Add GPU nodes with the device plugin."


def _shared(node: NodeFacts) -> str:
    """The product of a node's GPUs, with the number of pods that share each one."""
    product, gpu = node.labels[PRODUCT_LABEL], node_gpu(node, GPU_RESOURCE)
    return f"{product} (each GPU shared by {gpu.sharers} pods)" if gpu and gpu.sharers > 1 else product


def _slices(offered: dict[str, int]) -> dict[str, int]:
    return {key: count for key, count in offered.items() if key.startswith(MIG_RESOURCE)}


def check_drivers(facts: Facts) -> Iterator[Result]:
    """Findings about GPU drivers that support an older CUDA than engine images are built with.

    A driver of one major version runs images of any minor one. Some images contain a newer user-space driver.
    """
    nodes: dict[tuple[str, str], list[str]] = defaultdict(list)
    for node in map(node_facts, facts.all_of("nodes")):
        if gpu_counts(node):
            nodes[_version(node, DRIVER), _version(node, CUDA)].append(node.name)
    if not nodes:
        yield "ok", "No node offers a GPU.", ""
    for (driver, cuda), names in sorted(nodes.items()):
        text = f"Driver {driver or 'unknown'} of {listed(names)}"
        if not cuda:
            step = "Install GPU feature discovery, or compare nvidia-smi with the engine's CUDA."
            yield "unknown", f"{text}: no label has its CUDA version.", step
            continue
        major = int(cuda.split(".")[0])
        newer = {
            row.title: int(row.image.cuda.split(".")[0])
            for row in engine_profiles()
            if row.image.cuda and int(row.image.cuda.split(".")[0]) > major
        }
        if newer:
            newest = max(newer.values())
            step = (
                f"Install driver {FIRST_DRIVER.get(newest, 'for it')} or later, or set spec.engine.image to "
                f"a build for CUDA {major}. Images with cuda-compat also start on data-center GPUs."
            )
            engines = ", ".join(newer)
            yield "warn", f"{text} supports CUDA {cuda}; built with CUDA {newest}: {engines}.", step
        else:
            yield "ok", f"{text} supports CUDA {cuda}.", ""


def _version(node: NodeFacts, prefixes: tuple[str, ...]) -> str:
    """A version such as ``580.65`` from the labels ``PREFIX.major`` and ``PREFIX.minor``; "" without them."""
    for prefix in prefixes:
        parts = [node.labels.get(f"{prefix}.{part}", "") for part in ("major", "minor")]
        if parts[0].isdigit():
            return ".".join(filter(None, parts))
    return ""


def check_mig(facts: Facts) -> Iterator[Result]:
    found = False
    for node in map(node_facts, facts.all_of("nodes")):
        state = node.labels.get(MIG_STATE, "")
        slices = _slices(gpu_counts(node))
        found = found or bool(slices or state)
        if state == "failed":
            step = "The log of nvidia-mig-manager on that node has the reason."
            yield "fail", f"The MIG configuration of node {node.name} failed.", step
        elif state and state != "success":
            yield "warn", f"The MIG configuration of node {node.name} is {state}.", "Wait until it ended."
        elif slices:
            shown = ", ".join(f"{count} x {key}" for key, count in sorted(slices.items()))
            step = "Set spec.gpu.resourceName to the slice that a replica gets."
            yield "ok", f"Node {node.name} offers {shown}.", step
    if not found:
        yield "ok", "No GPU is divided into MIG slices.", ""


def check_nodes(facts: Facts) -> Iterator[Result]:
    """Findings about nodes that accept no new pods. Nodes with GPUs are named by the check of GPUs."""
    nodes = [node_facts(item) for item in facts.all_of("nodes")]
    usable = sum(node.ready and not node.unschedulable for node in nodes)
    text = f"{usable} of {counted(len(nodes), 'node')} can take new pods."
    yield (("ok", text, "") if usable else ("warn", text, "Uncordon or add a node: pods stay Pending."))
    others = [node for node in nodes if not gpu_counts(node)]
    if lost := [node.name for node in others if not node.ready]:
        yield "warn", f"Not ready: {listed(lost)}.", f"kubectl describe node {lost[0]}"
    if cordoned := [node.name for node in others if node.ready and node.unschedulable]:
        step = f"kubectl uncordon {cordoned[0]}, once its maintenance has ended."
        yield "warn", f"Cordoned: {listed(cordoned)}.", step
