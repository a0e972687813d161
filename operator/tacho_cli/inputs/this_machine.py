"""Describes this machine as planning sees a node: CPUs, memory, and NVIDIA GPUs with their labels."""

from __future__ import annotations

import os
import subprocess

from tacho_operator.api.defaults import GPU_RESOURCE
from tacho_operator.core.types import NodeFacts

DRIVER_SECONDS = 20.0
"""Timeout in seconds of nvidia-smi, which is slow without the driver's persistence daemon."""


def this_machine() -> NodeFacts:
    """CPU, memory and GPUs of this machine; ``labels`` is empty where no GPU is found."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    labels = gpu_labels(_query_driver())
    allocatable = {"cpu": str(os.cpu_count() or 1), "memory": str(memory)}
    if labels:
        allocatable[GPU_RESOURCE] = labels["nvidia.com/gpu.count"]
    return NodeFacts(name=os.uname().nodename, labels=labels, allocatable=allocatable)


def _query_driver() -> str:
    try:
        return subprocess.run(
            ["nvidia-smi", "--query-gpu=name,memory.total,compute_cap", "--format=csv,noheader,nounits"],
            capture_output=True,
            text=True,
            timeout=DRIVER_SECONDS,
            check=True,
        ).stdout
    except (OSError, subprocess.SubprocessError):
        return ""


def gpu_labels(table: str) -> dict[str, str]:
    """The labels GPU feature discovery would give; of a mixed machine, its first product alone.

    ``table``: lines of name, memory in MiB, compute capability, as nvidia-smi prints CSV. Source of the
    product's form: k8s-device-plugin internal/lm/resource.go (spaces become dashes).
    """
    rows = [[field.strip() for field in line.split(",")] for line in table.splitlines()]
    gpus = [row for row in rows if len(row) == 3 and row[1].isdecimal() and row[2].count(".") == 1]
    if not gpus:
        return {}
    name, memory_mib, capability = gpus[0]
    major, minor = capability.split(".")
    return {
        "nvidia.com/gpu.product": "-".join(name.split()),
        "nvidia.com/gpu.count": str(sum(1 for row in gpus if row[0] == name)),
        "nvidia.com/gpu.memory": memory_mib,
        "nvidia.com/gpu.compute.major": major,
        "nvidia.com/gpu.compute.minor": minor,
    }
