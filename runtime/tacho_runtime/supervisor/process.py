"""Runs the engine's process: in its own session, with its output passed on and its last lines kept.

As PID 1 of a container the runtime inherits every orphan of the engine. It waits for all of them, and never
loses the engine's own exit status.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import os
import re
import signal
import subprocess
import threading
import time
from collections import deque
from collections.abc import Callable, Coroutine, Mapping, Sequence
from typing import IO, Any

from tacho_contract.failure import Failure
from tacho_engines.base import Exit
from tacho_runtime.machine import processes
from tacho_runtime.probe.load.timed_client import without

STDOUT, STDERR = 1, 2
TAIL_LINES = 200
TAIL_LINE_BYTES = 2000
DIAGNOSTIC_LINES = 20
DIAGNOSTIC_AGE_LINES = 2000
"""Distance in lines from the end of the output beyond which a diagnostic line is ignored: it belongs to
another problem.
"""
_CONTROLS = re.compile(rb"\x1b\[[0-?]*[ -/]*[@-~]|[\x00-\x08\x0b-\x1f\x7f]")
"""Matches terminal control sequences, which must not get into status and from there to a terminal."""
_STYLES = re.compile(rb"\x1b\[[0-?]*[ -/]*[@-~]")
"""Matches whole control sequences, as a logger that colours numbers puts them into a key."""
CANCEL_AGAIN_SECONDS = 5.0
"""Seconds after which a task is cancelled again that ignored its cancellation."""
PUMP_END_SECONDS = 8.0
"""Most seconds to wait for the end of the output of an ended process, which names the cause. On a busy
machine it is read late; a grandchild may keep the pipe open.
"""


class LogTail:
    """The last lines of the engine's output, and earlier lines that look like an error.

    Each process of an engine may end with a traceback; the cause is in the first one.
    """

    def __init__(self, is_diagnostic: Callable[[str], bool]) -> None:
        self._is_diagnostic = is_diagnostic
        self._last: deque[str] = deque()
        self._kept: deque[tuple[int, str]] = deque()
        self._count = 0

    def add(self, line: str) -> None:
        """Adds a line. The line that leaves the last lines is kept if it looks like a diagnosis."""
        self._count += 1
        self._last.append(line)
        if len(self._last) <= TAIL_LINES:
            return
        oldest = self._last.popleft()
        while self._kept and self._count - self._kept[0][0] > DIAGNOSTIC_AGE_LINES:
            self._kept.popleft()
        if len(self._kept) < DIAGNOSTIC_LINES and self._is_diagnostic(oldest):
            self._kept.append((self._count - TAIL_LINES, oldest))

    def lines(self) -> tuple[str, ...]:
        return (*(line for _, line in self._kept), *self._last)


class EngineProcess:
    """A running engine. ``exit_status`` is its exit code, negative for a signal, once it has ended."""

    def __init__(
        self,
        process: subprocess.Popen[bytes],
        loop: asyncio.AbstractEventLoop,
        on_line: Callable[[str], None],
        is_diagnostic: Callable[[str], bool],
        secret: str = "",
    ) -> None:
        self.pid = process.pid
        self._secret = secret.encode()
        self.exit_status: asyncio.Future[int] = loop.create_future()
        self._process = process
        self._lines = LogTail(is_diagnostic)
        self._on_line = on_line
        self._one_line = threading.Lock()
        self._pumps = [
            threading.Thread(target=self._copy_output, args=(source, target), daemon=True)
            for source, target in ((process.stdout, STDOUT), (process.stderr, STDERR))
        ]
        for pump in self._pumps:
            pump.start()

    def _copy_output(self, source: IO[bytes], target: int) -> None:
        """Copies the output as it arrives. It runs in a thread, so that a slow reader of the runtime's output
        does not block the event loop.
        """
        rest = b""
        with source:
            while data := os.read(source.fileno(), 65536):
                # Before a line is cut, which may leave a part of it.
                *whole, rest = without(self._secret, _STYLES.sub(b"", rest + data)).split(b"\n")
                for line in whole:
                    self._remember(line)
                rest = rest[-TAIL_LINE_BYTES:]
                with contextlib.suppress(OSError):
                    _write_all(target, data)
        if rest:
            self._remember(rest)

    def _remember(self, line: bytes) -> None:
        shown = line.rstrip(b"\r").rsplit(b"\r", 1)[-1]  # of a progress bar, what it ended at
        plain = without(self._secret, _CONTROLS.sub(b"", shown))[:TAIL_LINE_BYTES]
        text = plain.decode(errors="replace").rstrip()
        with self._one_line:
            self._lines.add(text)
            self._on_line(text)

    def last_lines(self) -> tuple[str, ...]:
        """The last lines of the output so far."""
        with self._one_line:
            return self._lines.lines()

    async def final_output(self) -> tuple[str, ...]:
        """The last lines of all output in order, after earlier diagnostic lines.

        Waits until the output has ended, but no more than PUMP_END_SECONDS in all.
        """
        until = time.monotonic() + PUMP_END_SECONDS
        with contextlib.suppress(RuntimeError):  # no thread can be started
            for pump in self._pumps:
                await asyncio.to_thread(pump.join, max(0.0, until - time.monotonic()))
        return self.last_lines()

    def ended(self, status: int) -> None:
        """Records the process's exit status; the reaper calls it."""
        self._process.returncode = status
        if not self.exit_status.done():
            self.exit_status.set_result(status)

    def signal(self, number: int) -> None:
        """Sends a signal to the engine's process group, which includes its workers."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, number)

    async def stop(self, *, grace_seconds: float) -> None:
        """Sends SIGTERM, and SIGKILL after ``grace_seconds``; then kills the rest of the process group."""
        if not self.exit_status.done():
            self.signal(signal.SIGTERM)
            await asyncio.wait({self.exit_status}, timeout=grace_seconds)
        self.signal(signal.SIGKILL)
        await asyncio.wait({self.exit_status}, timeout=grace_seconds)


_LIBC = ctypes.CDLL(None)
_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36
LEFT_SECONDS, LEFT_POLL_SECONDS = 5.0, 0.02
"""Most seconds to wait for killed processes: one that waits for a driver ends only after it."""


def inherit_orphans() -> None:
    """Makes orphans of the engine this process's children, also where it is not PID 1."""
    _LIBC.prctl(_PR_SET_CHILD_SUBREAPER, 1)


def kill_descendants() -> None:
    """Kills what is left of the engine: processes with a session of their own are in no group of it."""
    until = time.monotonic() + LEFT_SECONDS
    while (left := processes.process_tree(os.getpid())[1:]) and time.monotonic() < until:
        for pid in left:
            with contextlib.suppress(OSError):
                os.kill(pid, signal.SIGKILL)
        with contextlib.suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        time.sleep(LEFT_POLL_SECONDS)


def _die_with_parent() -> None:
    """Runs in the child process: the kernel kills the engine when its parent ends, so that a killed ``tacho
    run`` frees port and GPU.
    """
    _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def _write_all(descriptor: int, data: bytes) -> None:
    while data:
        data = data[os.write(descriptor, data) :]


async def ended_during(child: EngineProcess, work: Coroutine[None, None, None]) -> bool:
    """Runs ``work`` until it or the engine ends. Returns whether the engine did; raises as ``work``."""
    task = asyncio.ensure_future(work)
    either: set[asyncio.Future[Any]] = {task, child.exit_status}
    try:
        await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
        if not child.exit_status.done():
            task.result()
        return child.exit_status.done()
    finally:
        # Before Python 3.12, wait_for loses a cancellation that comes as what it waits for ends.
        while not task.done():
            task.cancel()
            await asyncio.wait({task}, timeout=CANCEL_AGAIN_SECONDS)


def exit_of(status: int, kills: int | None, reported: Failure | None, *, served: bool) -> Exit:
    """How an engine ended. ``kills``: how often the kernel killed in the container for lack of memory,
    shortly before."""
    return Exit(
        code=status if status >= 0 else None,
        signal=-status if status < 0 else None,
        out_of_memory_kills=kills,
        reported=reported,
        served=served,
    )


class Reaper:
    """Waits for every child of this process, as PID 1 must. No other code in it may start or await any."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._children: dict[int, EngineProcess] = {}
        loop.add_signal_handler(signal.SIGCHLD, self.reap)

    def close(self) -> None:
        self._loop.remove_signal_handler(signal.SIGCHLD)

    def start(
        self,
        command: Sequence[str],
        *,
        environment: Mapping[str, str],
        on_line: Callable[[str], None] = lambda _line: None,
        is_diagnostic: Callable[[str], bool] = lambda _line: False,
        secret: str = "",
    ) -> EngineProcess:
        """Starts ``command`` in a session of its own. Raises OSError when it cannot be started.

        ``on_line`` gets every line of its output, one at a time, in a thread of its own; those that are
        ``is_diagnostic`` are remembered longer than others. Of those kept, none has the ``secret``.

        At the runtime's own priority: tried at nice +5 on two saturated cores, the runtime answered no
        faster (p95 7 ms either way), and the engine lost to everything else on the machine.
        """
        process = subprocess.Popen(
            list(command),
            env=dict(environment),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
            # The kernel ends all of a container with its PID 1; elsewhere this signal ends the child.
            preexec_fn=None if os.getpid() == 1 else _die_with_parent,
        )
        child = EngineProcess(process, self._loop, on_line, is_diagnostic, secret)
        self._children[child.pid] = child
        return child

    def reap(self) -> None:
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            child = self._children.pop(pid, None)
            if child is not None:
                child.ended(os.waitstatus_to_exitcode(status))
