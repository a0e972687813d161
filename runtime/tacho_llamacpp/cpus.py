"""How many CPUs this process may use.

llama.cpp counts the machine's. In a container limited to two of 64 CPUs it would start 64 threads that
wait for each other, and be many times slower.
"""

from __future__ import annotations

import math
import os
from pathlib import Path

CGROUP = Path("/sys/fs/cgroup")


def quota_cpus(cgroup: Path = CGROUP) -> int | None:
    """The container's CPU limit, rounded up; None without one. Reads cgroup v2, then v1."""
    try:
        quota, period = (cgroup / "cpu.max").read_text().split()
    except (OSError, ValueError):
        try:
            quota = (cgroup / "cpu" / "cpu.cfs_quota_us").read_text().strip()
            period = (cgroup / "cpu" / "cpu.cfs_period_us").read_text().strip()
        except OSError:
            return None
    if not quota.isdigit() or not period.isdigit() or int(period) == 0:
        return None
    return max(1, math.ceil(int(quota) / int(period)))


def thread_limit(quota: int | None, usable: int, total: int) -> int | None:
    """Threads to ask for, or None to leave the choice (one per physical core) to llama.cpp."""
    allowed = min(usable, quota or usable)
    return allowed if allowed < total else None


def threads() -> int | None:
    return thread_limit(quota_cpus(), len(os.sched_getaffinity(0)), os.cpu_count() or 1)
