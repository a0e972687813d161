"""This machine as planning sees a node."""

from __future__ import annotations

import os

from tacho_operator.core.model import NodeFacts


def this_machine(*, gpus: dict[str, str] | None = None) -> NodeFacts:
    """CPU and memory of this machine; ``gpus``: node labels a GPU feature discovery would set."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    labels = gpus or {}
    allocatable = {"cpu": str(os.cpu_count() or 1), "memory": str(memory)}
    if count := labels.get("nvidia.com/gpu.count"):
        allocatable["nvidia.com/gpu"] = count
    return NodeFacts(name=os.uname().nodename, labels=labels, allocatable=allocatable)
