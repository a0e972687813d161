"""Who used the CPUs of this machine, from /proc and cgroups: totals since the start, in microseconds.

Nothing here raises: what cannot be read is None.
"""

from __future__ import annotations

import os
from collections.abc import Collection
from pathlib import Path

from tacho_runtime.machine.memory import process_tree

PROC = Path("/proc")
CGROUP = Path("/sys/fs/cgroup")
TICK_MICROSECONDS = 1_000_000 // os.sysconf("SC_CLK_TCK")
_BUSY = (0, 1, 2, 7)
"""user, nice, system and steal, of the fields of /proc/stat: what a hypervisor took is used by somebody too.
Interrupts are left out: no cgroup is charged with them, and an engine that streams causes most by itself.
Guests are in user and nice already."""
_IN_STAT = slice(11, 15)
"""utime, stime, cutime and cstime, counted after the name in /proc/PID/stat."""


def node_busy(cpus: Collection[int], proc: Path = PROC) -> int | None:
    """CPU time that anything on the node has used on ``cpus``: on others it takes nothing from this one."""
    ticks, seen = 0, 0
    for line in text_of(proc / "stat").splitlines():
        name, *fields = line.split()
        if not name.startswith("cpu") or not name[3:].isdigit() or int(name[3:]) not in cpus:
            continue
        ticks += sum(int(fields[number]) for number in _BUSY)
        seen += 1
    return ticks * TICK_MICROSECONDS if seen and seen == len(cpus) else None


def own_busy(pid: int, proc: Path = PROC, cgroup: Path = CGROUP) -> int | None:
    """CPU time of this container, by its cgroup; without one of its own, of ``pid`` and its descendants."""
    if (cgroup / "cgroup.controllers").exists():
        # A cgroup of version 2 has a type, but for the machine's own, which is everybody's.
        usage = _keyed(cgroup / "cpu.stat", "usage_usec") if (cgroup / "cgroup.type").exists() else None
    else:
        # In version 1 only the machine's own has a release agent.
        folder = cgroup / "cpuacct"
        whole = (folder / "release_agent").exists()
        nanoseconds = None if whole else _number(text_of(folder / "cpuacct.usage"))
        usage = None if nanoseconds is None else nanoseconds // 1000
    return _tree_busy(pid, proc) if usage is None else usage


def _tree_busy(pid: int, proc: Path) -> int | None:
    ticks = [_process_ticks(item, proc) for item in process_tree(pid, proc)] if proc.is_dir() else []
    known = [value for value in ticks if value is not None]
    return sum(known) * TICK_MICROSECONDS if known else None


def _process_ticks(pid: int, proc: Path) -> int | None:
    # The name in the second field may hold anything, parentheses and spaces too.
    fields = text_of(proc / str(pid) / "stat").rpartition(")")[2].split()[_IN_STAT]
    return sum(int(field) for field in fields) if fields else None


def own_pressure(cgroup: Path = CGROUP) -> int | None:
    """Time in which some task of this container waited for a CPU, where its cgroup tells."""
    # The machine's own cgroup tells of everybody.
    return _some(cgroup / "cpu.pressure") if (cgroup / "cgroup.type").exists() else None


def _some(path: Path) -> int | None:
    for line in text_of(path).splitlines():
        kind, *fields = line.split()
        totals = [field.removeprefix("total=") for field in fields if field.startswith("total=")]
        if kind == "some" and totals:
            return _number(totals[0])
    return None


def throttled(cgroup: Path = CGROUP) -> int | None:
    """Time in which the container's own CPU limit kept its tasks from running."""
    found = _keyed(cgroup / "cpu.stat", "throttled_usec")
    if found is not None:
        return found
    nanoseconds = _keyed(cgroup / "cpu" / "cpu.stat", "throttled_time")
    return None if nanoseconds is None else nanoseconds // 1000


def _keyed(path: Path, key: str) -> int | None:
    for line in text_of(path).splitlines():
        name, _, value = line.partition(" ")
        if name == key:
            return _number(value)
    return None


def _number(text: str) -> int | None:
    return int(text) if text.strip().isdigit() else None


def text_of(path: Path) -> str:
    """Of a file; empty where it cannot be read."""
    try:
        return path.read_text()
    except OSError:
        return ""
