"""How many CPUs to start threads for: limited to two of 64 CPUs, 64 threads would wait for each other."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from pathlib import Path

LIMIT = Path("/sys/fs/cgroup/cpu.max")
REQUEST = "TACHO_CPU_REQUEST_MILLICORES"
"""Set by tacho where a person gave the container a CPU request."""


def usable_cpus(limit: Path = LIMIT, environment: Mapping[str, str] = os.environ) -> int:
    """By the container's CPU limit (cgroup v2), else its CPU request, rounded up; never more than those of
    its affinity, which count where there is neither."""
    usable = len(os.sched_getaffinity(0))
    try:
        quota, period = limit.read_text().split()
        return max(1, min(usable, math.ceil(int(quota) / int(period))))
    except (OSError, ValueError):  # no limit: "max", or no such file
        pass
    said = environment.get(REQUEST, "")
    return min(usable, math.ceil(int(said) / 1000)) if said.isdigit() and int(said) else usable
