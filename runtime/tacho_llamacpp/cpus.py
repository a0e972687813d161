"""How many CPUs to start threads for.

llama.cpp counts the machine's. In a container limited to two of 64 CPUs it would start 64 threads that
wait for each other, and be many times slower.
"""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from pathlib import Path

REQUEST = "TACHO_CPU_REQUEST_MILLICORES"
"""Set by tacho where the user set a CPU request."""
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


def requested_cpus(environment: Mapping[str, str]) -> int | None:
    """The container's CPU request, rounded up; None where it has no request."""
    request = environment.get(REQUEST, "")
    return math.ceil(int(request) / 1000) if request.isdigit() and int(request) else None


def thread_limit(quota: int | None, requested: int | None, usable: int, total: int) -> int | None:
    """Threads to ask for, or None to leave the choice (one per physical core) to llama.cpp. A limit says how
    many run at once, else a request how many are promised."""
    allowed = min(usable, quota or requested or usable)
    return allowed if allowed < total else None


def threads() -> int | None:
    requested = requested_cpus(os.environ)
    return thread_limit(quota_cpus(), requested, len(os.sched_getaffinity(0)), os.cpu_count() or 1)
