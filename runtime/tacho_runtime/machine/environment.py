"""Facts about the machine that only the running pod can see: CPU, GPU, driver, limits.

They are part of a measurement's fingerprint.
"""

from __future__ import annotations

import hashlib
import os
from collections import deque
from pathlib import Path

from tacho_contract.measurement import Environment
from tacho_runtime.files import read_text
from tacho_runtime.machine.cpu_limits import cgroup_cpus
from tacho_runtime.machine.gpus import Gpus


def read_environment(
    gpus: Gpus | None, proc: Path = Path("/proc"), cgroup: Path = Path("/sys/fs/cgroup")
) -> Environment:
    """The machine's facts as far as they can be read. Never raises; unknown values are empty."""
    found = gpus or Gpus()
    first = found.devices[0] if found.devices else None
    return Environment(
        cpu_model=cpu_model(read_text(proc / "cpuinfo")),
        cpu_count=len(os.sched_getaffinity(0)),
        cpu_limit_millis=round((cgroup_cpus(cgroup, proc) or 0) * 1000),
        gpu_product=first.product if first else "",
        gpu_count=len(found.devices),
        gpu_memory_bytes=(first.total_bytes or 0) if first else 0,
        driver_version=found.driver_version if first else "",
    )


def cpu_model(cpuinfo: str) -> str:
    """The first CPU's model name in /proc/cpuinfo. Kernels for arm64 give part numbers only, which are used
    instead."""
    fields: dict[str, str] = {}
    for line in cpuinfo.splitlines():
        key, colon, value = line.partition(":")
        if colon:
            fields.setdefault(key.strip(), value.strip())
    if "model name" in fields:
        return fields["model name"]
    parts = [fields[key] for key in ("CPU implementer", "CPU part") if key in fields]
    return f"arm {' '.join(parts)}" if parts else ""


def cpu_features(cpuinfo: str) -> str:
    """A short hash of the first CPU's feature list from the kernel: equal lists have equal hashes."""
    for line in cpuinfo.splitlines():
        key, _, value = line.partition(":")
        if key.strip() in ("flags", "Features"):
            return hashlib.sha256(" ".join(sorted(value.split())).encode()).hexdigest()[:16]
    return ""


def cpu_identity() -> str:
    """Model and features of the CPU. Code compiled for one CPU runs on all CPUs with an equal text."""
    cpuinfo = read_text(Path("/proc/cpuinfo"))
    return f"{cpu_model(cpuinfo)} {cpu_features(cpuinfo)}".strip()


def out_of_memory_kills(cgroup: Path = Path("/sys/fs/cgroup")) -> int | None:
    """How many processes the kernel has killed in this container for lack of memory; None where unknown."""
    for name in ("memory.events", "memory/memory.oom_control"):
        for line in read_text(cgroup / name).splitlines():
            key, _, value = line.partition(" ")
            if key == "oom_kill" and value.strip().isdigit():
                return int(value)
    return None


KILL_AGE_SECONDS = 600.0
"""Seconds after which a kill for lack of memory no longer explains an engine's end. Engines that lost a
process end within minutes (vLLM waits 300 s for a step of its workers).
"""


class RecentKills:
    """The kernel's kills for lack of memory in this container: since ``read`` began, and at most
    KILL_AGE_SECONDS ago, to the accuracy of its calls."""

    def __init__(self) -> None:
        self._counts: deque[tuple[float, int | None]] = deque()

    def read(self, now: float) -> int | None:
        """The number of recent kills; None: unknown."""
        count = out_of_memory_kills()
        self._counts.append((now, count))
        while len(self._counts) > 1 and self._counts[1][0] <= now - KILL_AGE_SECONDS:
            self._counts.popleft()
        before = self._counts[0][1]
        return None if count is None or before is None else count - before
