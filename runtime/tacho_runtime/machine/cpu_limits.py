"""How many CPUs this container may use: its affinity, its cgroup's limits and its request."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from pathlib import Path

from tacho_contract.launch import ENV_CPU_REQUEST, ENV_USABLE_CPUS
from tacho_runtime.files import read_text


def cpu_count(cgroup: Path = Path("/sys/fs/cgroup")) -> int:
    """Number of CPUs that this process may use: its affinity, or its container's limit where that is lower
    (rounded up)."""
    available = len(os.sched_getaffinity(0))
    limit = cgroup_cpus(cgroup)
    return available if limit is None else max(1, min(available, -int(-limit // 1)))


def usable_cpus(environment: Mapping[str, str], cgroup: Path = Path("/sys/fs/cgroup")) -> int:
    """Number of CPUs to start threads for: the container's limit, else its CPU request, else its affinity.

    More than the request is available only while no neighbour uses them.
    """
    available = len(os.sched_getaffinity(0))
    requested = environment.get(ENV_CPU_REQUEST, "")
    if cgroup_cpus(cgroup) is not None or not requested.isdigit() or int(requested) == 0:
        return cpu_count(cgroup)
    return min(available, math.ceil(int(requested) / 1000))


def thread_variables(
    gpu_count: int,
    environment: Mapping[str, str],
    total: int | None = None,
    cgroup: Path = Path("/sys/fs/cgroup"),
) -> dict[str, str]:
    """Environment variables for the number of usable CPUs, and of threads of an engine that computes on CPUs.

    Libraries would use the machine's CPU count: limited to two of 64 CPUs, an engine would start 64 threads
    that wait for each other. OpenMP reads the second variable, and with it torch and CTranslate2; it is not
    set on GPUs and without a limit.
    """
    usable = usable_cpus(environment, cgroup)
    found = {ENV_USABLE_CPUS: str(usable)}
    if gpu_count == 0 and usable < (total or os.cpu_count() or 1):
        found["OMP_NUM_THREADS"] = str(usable)
    return found


def cgroup_cpus(cgroup: Path, proc: Path = Path("/proc")) -> float | None:
    """The lowest CPU limit of this process's cgroup and those above it, in CPUs; None without a limit.

    A container's limit is in its own cgroup, its pod's in the one above, where that is visible.
    """
    limits = (_quota_cpus(folder) for folder in _cgroup_folders(cgroup, read_text(proc / "self" / "cgroup")))
    return min((limit for limit in limits if limit is not None), default=None)


def _cgroup_folders(cgroup: Path, membership: str) -> tuple[Path, ...]:
    """Folders of this process's cgroup and all above it, of version 2 and of version 1's CPU controller.

    A container sees its own cgroup as the root of the mounted folder.
    """
    found = {cgroup, cgroup / "cpu"}
    for line in membership.splitlines():
        _, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if controllers and "cpu" not in controllers.split(","):
            continue
        parts = Path(path.strip("/")).parts
        root = cgroup / "cpu" if controllers else cgroup
        if ".." not in parts:
            found |= {root.joinpath(*parts[:depth]) for depth in range(1, len(parts) + 1)}
    return tuple(found)


def _quota_cpus(folder: Path) -> float | None:
    both = read_text(folder / "cpu.max").split()
    if len(both) != 2:
        both = [read_text(folder / f"cpu.cfs_{name}_us").strip() for name in ("quota", "period")]
    try:
        quota, period = float(both[0]), float(both[1])
    except ValueError:
        return None
    return quota / period if quota > 0 and period > 0 else None
