"""How long this container's tasks have waited for a CPU: a total that only grows, in microseconds.

By the pressure of the container's own cgroup (PSI, version 2). Where that is not told, by the kernel's
account of each of its threads: the node's pressure is no witness, as it grows just as well while others wait
for the engine. Nothing here raises: what cannot be read is None.
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
        self._threads: dict[str, int] = {}
        self._pressure: int | None = None
        self._total = 0

    def total(self) -> int | None:
        """Of the cgroup, time in which some task waited; of threads, the time of all added up, which is no
        less. What a thread waited that has ended since the last look is not known: then the node's."""
        own = cpu_time.own_pressure(self._cgroup)
        if own is not None:
            return own
        node, threads = cpu_time.node_pressure(self._proc), self._waits()
        if not threads:
            return node
        gone = self._threads.keys() - threads.keys()
        grown = sum(max(0, value - self._threads.get(name, 0)) for name, value in threads.items())
        if gone and node is not None and self._pressure is not None:
            grown = max(grown, node - self._pressure)
        self._total += grown
        self._threads, self._pressure = threads, node
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
