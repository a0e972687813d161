"""Resident memory of a process and all that came of it, from /proc."""

from __future__ import annotations

import os
from pathlib import Path

PROC = Path("/proc")
PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


def process_tree(root: int, proc: Path = PROC) -> tuple[int, ...]:
    """``root`` and its descendants, as far as they are seen now. One pass over /proc."""
    children: dict[int, list[int]] = {}
    for entry in os.listdir(proc):
        if entry.isdigit():
            children.setdefault(_parent(int(entry), proc), []).append(int(entry))
    found = [root]
    for pid in found:
        found += children.get(pid, ())
    return tuple(found)


def _parent(pid: int, proc: Path) -> int:
    """0 for one that has just ended."""
    # The name in the second field may hold anything, parentheses and spaces too.
    fields = _text(proc / str(pid) / "stat").rpartition(")")[2].split()
    return int(fields[1]) if len(fields) > 1 else 0


def resident_bytes(pids: tuple[int, ...], proc: Path = PROC) -> int | None:
    """Resident set sizes added up: what processes share counts in each. Cheap; None when none is left."""
    sizes = [fields for pid in pids if (fields := _text(proc / str(pid) / "statm").split())]
    return sum(int(fields[1]) for fields in sizes) * PAGE_BYTES if sizes else None


def highest_bytes(pids: tuple[int, ...], proc: Path = PROC) -> int | None:
    """The largest resident set that any one of them has had since it began; the kernel keeps it."""
    return max((value for pid in pids if (value := _kilobytes(pid, "status", "VmHWM", proc))), default=None)


def proportional_bytes(pids: tuple[int, ...], proc: Path = PROC) -> int | None:
    """What they have resident together, shared pages counted once. The kernel walks their page tables for it,
    which takes long where they are large; None where it does not tell of every one."""
    sizes = [_kilobytes(pid, "smaps_rollup", "Pss", proc) for pid in pids]
    known = [size for size in sizes if size is not None]
    return sum(known) if known and len(known) == len(sizes) else None


def _kilobytes(pid: int, file: str, key: str, proc: Path) -> int | None:
    for line in _text(proc / str(pid) / file).splitlines():
        name, _, value = line.partition(":")
        if name == key:
            return int(value.split()[0]) * 1024
    return None


def _text(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""
