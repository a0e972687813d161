"""Child processes that leave nothing behind, whichever of us is killed first (Linux)."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import os
import signal
import sys
from collections.abc import AsyncIterator, Iterator, Mapping
from pathlib import Path

STOP_SECONDS = 20.0
"""Between asking a child to end and ending it. The runtime drains and stops its engine in this time."""
LINE_LIMIT_BYTES = 1024 * 1024
"""Maximum length of a child's answer; a measurement has a few KiB."""

_SET_PARENT_DEATH_SIGNAL = 1
_SET_CHILD_SUBREAPER = 36
"""Constants of prctl(2)."""

_prctl = getattr(ctypes.CDLL(None), "prctl", None)
"""prctl exists on Linux only. Elsewhere, a child whose parent is killed runs until it is stopped by hand."""


def ends_with_us() -> None:
    """Run in a child before it executes: it is asked to end when its parent dies, by SIGKILL too."""
    if _prctl is not None:
        _prctl(_SET_PARENT_DEATH_SIGNAL, int(signal.SIGTERM), 0, 0, 0)


@contextlib.contextmanager
def leaving_nothing() -> Iterator[None]:
    """Kills processes that the block's children left behind, for example an engine whose runtime was
    killed."""
    before = _children(os.getpid())
    if _prctl is not None:
        _prctl(_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    try:
        yield
    finally:
        while left := _children(os.getpid()) - before:
            for pid in left:
                _end(pid)
        if _prctl is not None:
            _prctl(_SET_CHILD_SUBREAPER, 0, 0, 0, 0)


def _end(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
    with contextlib.suppress(ChildProcessError):
        os.waitpid(pid, 0)


def _children(parent: int) -> frozenset[int]:
    """Process ids of the children, zombies included; empty without /proc."""
    found = set[int]()
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            # The name in brackets may hold spaces and brackets itself; what follows it does not.
            if int(stat.read_text().rpartition(")")[2].split()[1]) == parent:
                found.add(int(stat.parent.name))
    return frozenset(found)


@contextlib.asynccontextmanager
async def running(
    module: list[str], environment: Mapping[str, str], log: Path, *, answers: bool = False
) -> AsyncIterator[asyncio.subprocess.Process]:
    """A Python module in a session of its own, so that Ctrl-C reaches us alone and we end it in order.

    ``answers``: its stdout is ours to read, and only the rest goes to ``log``.
    """
    with log.open("ab") as output:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            *module,
            env=environment,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE if answers else output,
            stderr=output,
            limit=LINE_LIMIT_BYTES,
            start_new_session=True,
            preexec_fn=ends_with_us,
        )
    try:
        yield process
    finally:
        await _stop(process)


async def _stop(process: asyncio.subprocess.Process) -> None:
    if process.returncode is not None:
        return
    process.terminate()
    try:
        await asyncio.wait_for(process.wait(), STOP_SECONDS)
    except TimeoutError:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        await process.wait()
