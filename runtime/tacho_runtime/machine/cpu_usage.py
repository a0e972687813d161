"""CPU time, waiting time and speed of this machine's CPUs, from /proc and cgroups.

Totals are in microseconds and only grow. No function raises: a value that cannot be read is None.
"""

from __future__ import annotations

import os
import time
from collections.abc import Collection
from pathlib import Path

from tacho_runtime.files import read_text
from tacho_runtime.machine.processes import process_tree

TRIES = 3
ROUNDS = 12_000
"""Number of rounds of the calibration loop; they take 1 to 2 ms on a server's CPU."""


def calibrate() -> int:
    """Nanoseconds of CPU time for a fixed piece of work, the best of three; takes a few milliseconds.

    CPU time is used, as in wall time this thread would wait for its turn while the engine uses all CPUs. A
    lower clock, a busy sibling thread of the core and full caches change CPU time, too.
    """
    return min(_calibration_run() for _ in range(TRIES))


def _calibration_run() -> int:
    began = time.thread_time_ns()
    value = 1
    for number in range(ROUNDS):
        value = (value * 1_103_515_245 + number) & 0x7FFF_FFFF
    return time.thread_time_ns() - began


PROC = Path("/proc")
CGROUP = Path("/sys/fs/cgroup")
TICK_MICROSECONDS = 1_000_000 // os.sysconf("SC_CLK_TCK")
_BUSY = (0, 1, 2, 7)
"""Fields of /proc/stat that count as used: user, nice, system and steal (time taken by the hypervisor).

Interrupts are left out, as no cgroup is charged with them and a streaming engine causes most. Time of guests
is part of user and nice.
"""
_IN_STAT = slice(11, 15)
"""Fields utime, stime, cutime and cstime of /proc/PID/stat, counted after the name."""


def node_busy(cpus: Collection[int], proc: Path = PROC) -> int | None:
    """Microseconds of CPU time that all processes of the node have used on ``cpus``; None where unknown.

    Work on other CPUs takes nothing from this pod.
    """
    ticks, seen = 0, 0
    for line in read_text(proc / "stat").splitlines():
        name, *fields = line.split()
        if not name.startswith("cpu") or not name[3:].isdigit() or int(name[3:]) not in cpus:
            continue
        ticks += sum(int(fields[number]) for number in _BUSY)
        seen += 1
    return ticks * TICK_MICROSECONDS if seen and seen == len(cpus) else None


def own_busy(pid: int, proc: Path = PROC, cgroup: Path = CGROUP) -> int | None:
    """Microseconds of CPU time of this container, by its cgroup; else of ``pid`` and its descendants. None
    where unknown."""
    if (cgroup / "cgroup.controllers").exists():
        # A cgroup of version 2 has a type, except for the root cgroup, which all containers share.
        usage = _keyed(cgroup / "cpu.stat", "usage_usec") if (cgroup / "cgroup.type").exists() else None
    else:
        # In version 1 only the machine's own has a release agent.
        folder = cgroup / "cpuacct"
        whole = (folder / "release_agent").exists()
        nanoseconds = None if whole else _number(read_text(folder / "cpuacct.usage"))
        usage = None if nanoseconds is None else nanoseconds // 1000
    return _tree_busy(pid, proc) if usage is None else usage


def _tree_busy(pid: int, proc: Path) -> int | None:
    ticks = [_process_ticks(item, proc) for item in process_tree(pid, proc)] if proc.is_dir() else []
    known = [value for value in ticks if value is not None]
    return sum(known) * TICK_MICROSECONDS if known else None


def _process_ticks(pid: int, proc: Path) -> int | None:
    # The name in the second field may hold anything, parentheses and spaces too.
    fields = read_text(proc / str(pid) / "stat").rpartition(")")[2].split()[_IN_STAT]
    return sum(int(field) for field in fields) if fields else None


def own_pressure(cgroup: Path = CGROUP) -> int | None:
    """Microseconds in which some task of this container waited for a CPU; None where its cgroup does not
    report it."""
    # The root cgroup counts the tasks of all containers.
    return _some(cgroup / "cpu.pressure") if (cgroup / "cgroup.type").exists() else None


def _some(path: Path) -> int | None:
    for line in read_text(path).splitlines():
        kind, *fields = line.split()
        totals = [field.removeprefix("total=") for field in fields if field.startswith("total=")]
        if kind == "some" and totals:
            return _number(totals[0])
    return None


def throttled(cgroup: Path = CGROUP) -> int | None:
    """Microseconds in which the container's own CPU limit kept its tasks from running; None where unknown."""
    found = _keyed(cgroup / "cpu.stat", "throttled_usec")
    if found is not None:
        return found
    nanoseconds = _keyed(cgroup / "cpu" / "cpu.stat", "throttled_time")
    return None if nanoseconds is None else nanoseconds // 1000


def _keyed(path: Path, key: str) -> int | None:
    for line in read_text(path).splitlines():
        name, _, value = line.partition(" ")
        if name == key:
            return _number(value)
    return None


def _number(text: str) -> int | None:
    return int(text) if text.strip().isdigit() else None


class CpuWaits:
    """Measures how long this container's tasks have waited for a CPU.

    Source: the pressure of the container's own cgroup (PSI, version 2), else the kernel's account of each
    thread of ``pid`` and its descendants. Else it is unknown, as the node's pressure also grows while others
    wait for the engine.
    """

    def __init__(self, pid: int, *, proc: Path = PROC, cgroup: Path = CGROUP) -> None:
        self._pid, self._proc, self._cgroup = pid, proc, cgroup
        self._by_cgroup: bool | None = None
        self._threads: dict[str, int] = {}
        self._total = 0

    def total(self) -> int | None:
        """Microseconds that tasks have waited so far; None where unknown.

        By cgroup, time in which some task waited; by thread, the sum over all threads, which is no less.
        Waits of threads that ended since the last sample are left out. The source of the first value is kept,
        as the two are not comparable.
        """
        own = own_pressure(self._cgroup)
        threads = self._waits() if own is None else {}
        if self._by_cgroup is None and (threads or own is not None):
            self._by_cgroup = own is not None
        if self._by_cgroup:
            return own
        if not threads:
            return None
        # A later thread may have the number of one that has ended.
        self._total += sum(max(0, value - self._threads.get(name, 0)) for name, value in threads.items())
        self._threads = threads
        return self._total

    def _waits(self) -> dict[str, int]:
        """Waiting time of each thread in microseconds, by process and thread id."""
        found: dict[str, int] = {}
        for pid in process_tree(self._pid, self._proc) if self._proc.is_dir() else ():
            folder = self._proc / str(pid) / "task"
            try:
                names = os.listdir(folder)
            except OSError:
                continue
            for name in names:
                # Nanoseconds on a CPU, nanoseconds of waiting for one, and turns: all zero where the kernel
                # keeps no account.
                fields = read_text(folder / name / "schedstat").split()
                if len(fields) > 1 and int(fields[0]):
                    found[f"{pid}/{name}"] = int(fields[1]) // 1000
        return found
