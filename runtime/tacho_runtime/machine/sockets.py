"""Who uses a TCP port of this machine, from /proc: the listener's process, and open connections."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

_ESTABLISHED = "01"
_LISTEN = "0A"


@dataclass(frozen=True, slots=True, kw_only=True)
class Socket:
    local_port: int
    state: str
    inode: str


def parse(table: str) -> Iterator[Socket]:
    """The rows of /proc/net/tcp or tcp6."""
    for row in table.splitlines()[1:]:
        fields = row.split()
        if len(fields) > 9:
            yield Socket(local_port=int(fields[1].rsplit(":", 1)[1], 16), state=fields[3], inode=fields[9])


def _sockets(proc: Path) -> Iterator[Socket]:
    for name in ("tcp", "tcp6"):
        try:
            yield from parse((proc / "net" / name).read_text())
        except OSError:
            continue


def connections(port: int, proc: Path = Path("/proc")) -> int | None:
    """Connections that clients hold open to ``port``; None when /proc does not say.

    At least as many as requests are running; a client's idle keep-alive connection counts too.
    """
    if not (proc / "net" / "tcp").exists():
        return None
    return sum(1 for s in _sockets(proc) if s.local_port == port and s.state == _ESTABLISHED)


def listener(port: int, proc: Path = Path("/proc")) -> str:
    """The process that listens on ``port``, as "name (pid 12)"; "" when it cannot be seen."""
    inodes = {f"socket:[{s.inode}]" for s in _sockets(proc) if s.local_port == port and s.state == _LISTEN}
    if not inodes:
        return ""
    for process in sorted((p for p in proc.iterdir() if p.name.isdigit()), key=lambda p: int(p.name)):
        try:
            if any(os.readlink(link) in inodes for link in (process / "fd").iterdir()):
                return f"{(process / 'comm').read_text().strip()} (pid {process.name})"
        except OSError:
            continue
    return ""
