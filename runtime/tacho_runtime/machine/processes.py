"""Resident memory and TCP sockets of this machine's processes, from /proc."""

from __future__ import annotations

import os
import re
from pathlib import Path

from tacho_runtime.files import read_text

PROC = Path("/proc")
PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


def process_tree(root: int, proc: Path = PROC) -> tuple[int, ...]:
    """``root`` and its descendants, as far as /proc lists them now. One pass over /proc."""
    children: dict[int, list[int]] = {}
    for entry in os.listdir(proc):
        if entry.isdigit():
            children.setdefault(_parent(int(entry), proc), []).append(int(entry))
    found = [root]
    for pid in found:
        found += children.get(pid, ())
    return tuple(found)


def _parent(pid: int, proc: Path) -> int:
    """Process id of the parent; 0 where the process has just ended."""
    # The name in the second field may hold anything, parentheses and spaces too.
    fields = read_text(proc / str(pid) / "stat").rpartition(")")[2].split()
    return int(fields[1]) if len(fields) > 1 else 0


def resident_bytes(pids: tuple[int, ...]) -> int | None:
    """Sum of the resident sets of ``pids`` in bytes: shared memory counts in each. Cheap; None where no
    process is left."""
    sizes = [fields for pid in pids if (fields := read_text(PROC / str(pid) / "statm").split())]
    return sum(int(fields[1]) for fields in sizes) * PAGE_BYTES if sizes else None


def highest_bytes(pids: tuple[int, ...]) -> int | None:
    """Highest resident memory in bytes of any one of ``pids`` since its start, by the kernel's count."""
    return max((value for pid in pids if (value := _kilobytes(pid, "status", "VmHWM"))), default=None)


def proportional_bytes(pids: tuple[int, ...]) -> int | None:
    """Resident memory of ``pids`` in bytes, with shared pages counted once; None where the kernel does not
    report it for all.

    The kernel walks the page tables, which takes long for large processes.
    """
    sizes = [_kilobytes(pid, "smaps_rollup", "Pss") for pid in pids]
    known = [size for size in sizes if size is not None]
    return sum(known) if known and len(known) == len(sizes) else None


def _kilobytes(pid: int, file: str, key: str) -> int | None:
    for line in read_text(PROC / str(pid) / file).splitlines():
        name, _, value = line.partition(":")
        if name == key:
            return int(value.split()[0]) * 1024
    return None


_ESTABLISHED, _LISTENING = "01", "0A"
"""States of a connected socket and of one that listens, in /proc/net/tcp."""
_LOOPBACK = re.compile(r"(?:0{16}FFFF0000)?[0-9A-F]{6}7F|0{24}01000000")
"""Matches 127.0.0.0/8, also within IPv6, and ::1 there: each 32 bits with the last byte first."""


def connections(port: int, proc: Path = PROC) -> int | None:
    """Connections that clients have open to ``port``; None where /proc does not show them.

    At least as many as requests are running; a client's idle keep-alive connection counts, too.
    """
    return len(_addresses(port, _ESTABLISHED, proc)) if (proc / "net" / "tcp").exists() else None


def listens_inside(port: int, proc: Path = PROC) -> bool:
    """Whether only this machine, or pod, reaches what listens on ``port``. False where it is unknown."""
    found = _addresses(port, _LISTENING, proc)
    return bool(found) and all(map(_LOOPBACK.fullmatch, found))


def _addresses(port: int, state: str, proc: Path) -> list[str]:
    """The local addresses of the sockets of ``port`` in ``state``, in hexadecimal digits."""
    rows = (
        row.split() for name in ("tcp", "tcp6") for row in read_text(proc / "net" / name).splitlines()[1:]
    )
    sockets = ((*fields[1].rsplit(":", 1), fields[3]) for fields in rows if len(fields) > 3)
    return [address for address, number, is_in in sockets if (int(number, 16), is_in) == (port, state)]
