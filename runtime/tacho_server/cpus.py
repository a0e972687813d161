"""How many CPUs this process may use: limited to two of 64 CPUs, 64 threads would wait for each other."""

from __future__ import annotations

import math
import os
from pathlib import Path

LIMIT = Path("/sys/fs/cgroup/cpu.max")


def usable_cpus(limit: Path = LIMIT) -> int:
    """By affinity and by the container's CPU limit (cgroup v2), rounded up."""
    usable = len(os.sched_getaffinity(0))
    try:
        quota, period = limit.read_text().split()
        return max(1, min(usable, math.ceil(int(quota) / int(period))))
    except (OSError, ValueError):  # no limit: "max", or no such file
        return usable
