"""How long this container's tasks have waited for a CPU: a total that only grows, in microseconds.

By the pressure of the container's own cgroup (PSI, version 2). Where that is not told, by the kernel's
account of each of its threads, or not at all: the node's pressure grows just as well while others wait for
the engine. Nothing here raises: what cannot be read is None.
"""

from __future__ import annotations

import os
from pathlib import Path

from tacho_runtime.machine import cpu_time
from tacho_runtime.machine.memory import process_tree


class CpuWaits:
    """Of ``pid`` and its descendants, where the cgroup does not tell."""

    def __init__(self, pid: int, *, proc: Path = cpu_time.PROC, cgroup: Path = cpu_time.CGROUP) -> None:
        self._pid, self._proc, self._cgroup = pid, proc, cgroup
        self._by_cgroup: bool | None = None
        self._threads: dict[str, int] = {}
        self._total = 0

    def total(self) -> int | None:
        """Of the cgroup, time in which some task waited; of threads, the time of all added up, which is no
        less. What a thread waited that has ended since the last look is not known, and left out. Always of
        the one that told first: the two are not to be compared."""
        own = cpu_time.own_pressure(self._cgroup)
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
        """By process and thread."""
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
                fields = cpu_time.text_of(folder / name / "schedstat").split()
                if len(fields) > 1 and int(fields[0]):
                    found[f"{pid}/{name}"] = int(fields[1]) // 1000
        return found
