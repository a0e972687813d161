"""The processes that send the probe's load, and how the probe calls them over a socket.

They are new processes, no forks, since the supervisor has threads. All share the monotonic clock.
``multiprocessing`` is not used: tacho's PID 1 waits for every child process, so ``Process.exitcode`` would
stay None for a killed worker. At exit its process id, which another process may have by then, would get
SIGTERM. Its resource tracker would be one more process in the engine's container.
"""

from __future__ import annotations

import asyncio
import contextlib
import pickle
import resource
import signal
import socket
import struct
import subprocess
import sys
from collections.abc import Sequence
from typing import Any

from tacho_runtime.probe.load.job import LoadJob, LoadProgress, LoadResult, StreamSlot
from tacho_runtime.probe.load.load_worker import LoadWorker
from tacho_runtime.probe.load.requests import RequestBuilder

_LENGTH = struct.Struct(">I")


def _send_message(writer: asyncio.StreamWriter, message: object) -> None:
    data = pickle.dumps(message, protocol=pickle.HIGHEST_PROTOCOL)
    writer.write(_LENGTH.pack(len(data)) + data)


async def _receive(reader: asyncio.StreamReader) -> Any:
    """One message from the socket. Raises EOFError when the other process has closed it."""
    try:
        (length,) = _LENGTH.unpack(await reader.readexactly(_LENGTH.size))
        return pickle.loads(await reader.readexactly(length))  # noqa: S301 - both ends are this program
    except (asyncio.IncompleteReadError, ConnectionError):
        raise EOFError("the process at the other end of the socket has ended") from None


def worker_main(descriptor: int) -> None:
    """Main function of a worker process; ``descriptor`` is its end of the socket, inherited."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal sends it to all; the parent decides
    with socket.socket(fileno=descriptor) as end, contextlib.suppress(EOFError, ConnectionError):
        asyncio.run(_serve(end))


async def _serve(end: socket.socket) -> None:
    """Executes calls of a ``LoadWorker``, received as (method, arguments); ``begin`` creates it."""
    reader, writer = await asyncio.open_connection(sock=end)
    _send_message(writer, None)
    worker: LoadWorker | None = None
    while True:
        name, arguments = await _receive(reader)
        if name == "begin":
            worker = LoadWorker(*arguments)
            _send_message(writer, None)
        else:
            _send_message(writer, await getattr(worker, name)(*arguments))
        await writer.drain()


CHUNKS_PER_SECOND_PER_PROCESS = 12_000
"""Chunks per second of each load process: a third of what one CPU can read, so that chunks do not wait."""
MAX_PROCESSES = 8
READY_SECONDS = 10.0
_START = (
    "import sys; sys.path[:] = sys.argv[2:]; from tacho_runtime.probe.load.workers import worker_main; "
    "worker_main(int(sys.argv[1]))"
)


def processes_for(chunks_per_second: float, cpus: int) -> int:
    """Number of processes that can read ``chunks_per_second`` in time. At least half of the CPUs are left to
    the engine."""
    needed = max(1, -int(-chunks_per_second // CHUNKS_PER_SECOND_PER_PROCESS))
    return min(needed, MAX_PROCESSES, max(1, cpus // 2))


class WorkerProcess:
    """One worker process. It has the methods of ``LoadWorker`` and runs one job after the other."""

    def __init__(self) -> None:
        here, there = socket.socketpair()
        flags = ["-I"] * sys.flags.isolated + ["-S"] * sys.flags.no_site
        with there, contextlib.ExitStack() as failing:
            failing.callback(here.close)
            self._process = subprocess.Popen(
                [sys.executable, *flags, "-c", _START, str(there.fileno()), *sys.path],
                pass_fds=(there.fileno(),),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
            )
            failing.pop_all()
        self._here = here
        self._ends: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None
        self.usable = True
        """Whether it can be called: the process exists, and no call was abandoned."""

    async def connect(self) -> None:
        """Waits until the worker can be called. Raises EOFError where it ends before."""
        self._ends = await asyncio.open_connection(sock=self._here)
        await _receive(self._ends[0])

    async def _call(self, name: str, *arguments: object) -> Any:
        """Calls a method of the worker. Raises EOFError where the process has ended."""
        if self._ends is None or not self.usable:
            raise EOFError("a load worker has ended")
        reader, writer = self._ends
        self.usable = False
        _send_message(writer, (name, arguments))
        result = await _receive(reader)
        self.usable = True
        return result

    async def begin(self, requests: RequestBuilder, job: LoadJob) -> None:
        with contextlib.suppress(EOFError):
            await self._call("begin", requests, job)

    async def turn(self, slots: Sequence[StreamSlot], leave: int) -> None:
        with contextlib.suppress(EOFError):
            await self._call("turn", slots, leave)

    async def progress(self, since_ns: int) -> LoadProgress:
        try:
            found: LoadProgress = await self._call("progress", since_ns)
        except EOFError:
            return LoadProgress(failures=1, broken=True)
        return found

    async def collect(self, start_ns: int, end_ns: int) -> LoadResult:
        try:
            found: LoadResult = await self._call("collect", start_ns, end_ns)
        except EOFError:
            return LoadResult(failures=("a load worker has ended",))
        return found

    async def hang_up(self) -> None:
        """Closes the worker's connections; a worker with an unfinished call is ended, and its connections
        with it."""
        try:
            await self._call("hang_up")
        except EOFError:
            await self.close()

    async def close(self) -> None:
        self._process.kill()
        self._process.wait()
        self.usable = False
        if self._ends is None:
            self._here.close()
            return
        self._ends[1].transport.abort()
        with contextlib.suppress(ConnectionError):
            await self._ends[1].wait_closed()


FILES = 8192
"""Open files for which the probe asks: those of 4,096 streams, and its own."""


def allow_files() -> None:
    """Raises the limit of open files of this process and of its workers, as far as it may.

    A usual one of 1,024 is less than streams may be: an engine was measured as one that serves fewer. Engines
    are started before, with their own limit.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    target = FILES if hard == resource.RLIM_INFINITY else min(FILES, hard)
    if soft != resource.RLIM_INFINITY and soft < target:
        resource.setrlimit(resource.RLIMIT_NOFILE, (target, hard))


class WorkerPool:
    """Worker processes, kept from one loop to the next."""

    def __init__(self) -> None:
        allow_files()
        self._members: list[WorkerProcess] = []

    async def workers(self, count: int) -> list[WorkerProcess]:
        """Up to ``count`` worker processes that are ready; fewer or none where processes do not start."""
        self._members = [member for member in self._members if member.usable]
        new: list[WorkerProcess] = []
        with contextlib.suppress(OSError):  # a container may have no more processes
            while len(self._members) + len(new) < count:
                new.append(WorkerProcess())
        self._members += new
        if new:
            starting = [asyncio.ensure_future(member.connect()) for member in new]
            try:
                await asyncio.wait(starting, timeout=READY_SECONDS)
            finally:
                for task in starting:
                    task.cancel()
                await asyncio.gather(*starting, return_exceptions=True)
            late = [m for m, task in zip(new, starting, strict=True) if task.cancelled() or task.exception()]
            for member in late:
                await member.close()
        return [member for member in self._members if member.usable][:count]

    async def close(self) -> None:
        members, self._members = self._members, []
        for member in members:
            await member.close()
