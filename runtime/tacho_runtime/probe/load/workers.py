"""The processes that send requests, and their messages to and from the probe over a socket.

Workers are new processes and not forks: the supervisor has threads, and the clock is the same in all.

``multiprocessing`` starts from the zipapp too, but not beside PID 1's reaper: that waits for every child, so
``Process.exitcode`` stays None, a killed worker counts as alive, and at exit its number, which may be another
process' by then, gets SIGTERM. Its resource tracker is one process more in the engine's container.
"""

from __future__ import annotations

import asyncio
import contextlib
import pickle
import signal
import socket
import struct
import subprocess
import sys
from dataclasses import dataclass

from tacho_runtime.probe.load.job import LoadJob, LoadProgress, LoadResult
from tacho_runtime.probe.load.load_worker import LoadWorker
from tacho_runtime.probe.load.requests import RequestBuilder

_LENGTH = struct.Struct(">I")


@dataclass(frozen=True, slots=True)
class StartMessage:
    requests: RequestBuilder
    job: LoadJob


@dataclass(frozen=True, slots=True)
class StopMessage:
    """The window that was measured."""

    start_ns: int
    end_ns: int


@dataclass(frozen=True, slots=True)
class ReadyMessage:
    """The process can be told to start."""


Order = StartMessage | StopMessage
Told = ReadyMessage | LoadProgress | LoadResult


def send_message(writer: asyncio.StreamWriter, message: Order | Told) -> None:
    data = pickle.dumps(message, protocol=pickle.HIGHEST_PROTOCOL)
    writer.write(_LENGTH.pack(len(data)) + data)


async def receive_message(reader: asyncio.StreamReader) -> object:
    """One message from the socket. Raises EOFError when the other process has closed it."""
    try:
        (length,) = _LENGTH.unpack(await reader.readexactly(_LENGTH.size))
        return pickle.loads(await reader.readexactly(length))  # noqa: S301 - both ends are this program
    except (asyncio.IncompleteReadError, ConnectionError):
        raise EOFError("the other process has gone") from None


REPORT_SECONDS = 0.02


def worker_main(descriptor: int) -> None:
    """Main function of a worker process; ``descriptor`` is its end of the socket, inherited."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal sends it to all; the parent decides
    with socket.socket(fileno=descriptor) as end, contextlib.suppress(EOFError, ConnectionError):
        asyncio.run(_serve(end))


async def _serve(end: socket.socket) -> None:
    reader, writer = await asyncio.open_connection(sock=end)
    send_message(writer, ReadyMessage())
    while True:
        order = await receive_message(reader)
        assert isinstance(order, StartMessage)
        share = LoadWorker(order.requests, order.job)
        share.start()
        reporting = asyncio.ensure_future(_report_progress(share, writer))
        try:
            stop = await receive_message(reader)
            assert isinstance(stop, StopMessage)
            brought = await share.stop(stop.start_ns, stop.end_ns)
        finally:
            reporting.cancel()
            await share.hang_up()
        send_message(writer, share.progress())
        send_message(writer, brought)
        await writer.drain()


async def _report_progress(share: LoadWorker, writer: asyncio.StreamWriter) -> None:
    told = None
    while True:
        progress = share.progress()
        if progress != told:
            send_message(writer, progress)
        told = progress
        await asyncio.sleep(REPORT_SECONDS)


CHUNKS_PER_PROCESS = 12_000
"""A second: a third of what one CPU reads, so that hardly any chunk waits for another to be read."""
MAX_PROCESSES = 8
READY_SECONDS = 10.0
_START = (
    "import sys; sys.path[:] = sys.argv[2:]; from tacho_runtime.probe.load.workers import worker_main; "
    "worker_main(int(sys.argv[1]))"
)


def processes_for(chunks_per_second: float, cpus: int) -> tuple[int, str]:
    """How many processes read so many chunks in time, and why no more. At least half of the CPUs are left to
    the engine."""
    needed = max(1, -int(-chunks_per_second // CHUNKS_PER_PROCESS))
    room = min(MAX_PROCESSES, max(1, cpus // 2))
    if needed <= room:
        return needed, f"{chunks_per_second:.0f} chunks a second need {needed}"
    return room, f"{chunks_per_second:.0f} chunks a second need {needed}, {cpus} CPUs leave room for {room}"


class WorkerProcess:
    """One worker process. It has the methods of ``LoadWorker`` and runs one job after the other."""

    def __init__(self) -> None:
        here, there = socket.socketpair()
        flags = ["-I"] * sys.flags.isolated + ["-S"] * sys.flags.no_site
        with there:
            self._process = subprocess.Popen(
                [sys.executable, *flags, "-c", _START, str(there.fileno()), *sys.path],
                pass_fds=(there.fileno(),),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
            )
        self._here = here
        self._writer: asyncio.StreamWriter | None = None
        self._listening: asyncio.Future[None] | None = None
        self._ready = asyncio.Event()
        self._ended = False
        self._order: StartMessage | None = None
        self._progress = LoadProgress()
        self._result: asyncio.Future[LoadResult] | None = None

    async def connect(self) -> None:
        """Until it can be told to start. Raises EOFError when it ends before."""
        reader, self._writer = await asyncio.open_connection(sock=self._here)
        self._listening = asyncio.ensure_future(self._listen(reader))
        await self._ready.wait()
        if self._ended:
            raise EOFError("a load worker did not start")

    async def _listen(self, reader: asyncio.StreamReader) -> None:
        with contextlib.suppress(EOFError):
            while True:
                told = await receive_message(reader)
                if isinstance(told, LoadProgress):
                    self._progress = told
                elif isinstance(told, LoadResult) and self._result is not None:
                    self._result.set_result(told)
                self._ready.set()
        self._ended = True
        self._ready.set()
        if self._result is not None and not self._result.done():
            self._result.set_result(_lost())

    def assign(self, requests: RequestBuilder, job: LoadJob) -> None:
        self._order = StartMessage(requests, job)
        self._progress = LoadProgress()

    def start(self) -> None:
        assert self._writer is not None
        assert self._order is not None
        self._result = asyncio.get_running_loop().create_future()
        send_message(self._writer, self._order)

    def progress(self) -> LoadProgress:
        return LoadProgress(failures=1, broken=True) if self._ended else self._progress

    async def stop(self, start_ns: int, end_ns: int) -> LoadResult:
        assert self._writer is not None
        assert self._result is not None
        if self._ended:
            return _lost()
        send_message(self._writer, StopMessage(start_ns, end_ns))
        brought = await self._result
        self._result = None
        return brought

    async def hang_up(self) -> None:
        """Ends a job that was not stopped, and the process with it: its connections break at once."""
        if self._result is not None:
            await self.close()

    async def close(self) -> None:
        self._process.kill()
        self._process.wait()
        self._ended = True
        if self._listening is not None:
            self._listening.cancel()
            await asyncio.wait([self._listening])
        if self._writer is not None:
            self._writer.transport.abort()
            with contextlib.suppress(ConnectionError):
                await self._writer.wait_closed()
        else:
            self._here.close()

    @property
    def usable(self) -> bool:
        return not self._ended


def _lost() -> LoadResult:
    return LoadResult(failures=("a load worker has ended",))


class WorkerPool:
    """Processes that are kept from one loop to the next."""

    def __init__(self) -> None:
        self._members: list[WorkerProcess] = []

    async def workers(self, count: int) -> list[WorkerProcess]:
        """Up to ``count`` worker processes that are ready; fewer or none where processes do not start."""
        self._members = [member for member in self._members if member.usable]
        new = [WorkerProcess() for _ in range(count - len(self._members))]
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
