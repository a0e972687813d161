"""The processes that ask: how many there are, and one of them as the loop sees it.

They are new processes and no forks: the supervisor has threads, and the clock is the same in all.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import subprocess
import sys

from tacho_runtime.probe.asking.sockets import pipe
from tacho_runtime.probe.asking.sockets.job import Brought, Job, Progress
from tacho_runtime.probe.asking.speech import Speech

CHUNKS_PER_PROCESS = 12_000
"""A second: a third of what one CPU reads, so that hardly any chunk waits for another to be read."""
MOST_PROCESSES = 8
READY_SECONDS = 10.0
_START = (
    "import sys; sys.path[:] = sys.argv[2:]; from tacho_runtime.probe.asking.sockets.child import main; "
    "main(int(sys.argv[1]))"
)


def processes_for(chunks_per_second: float, cpus: int) -> tuple[int, str]:
    """How many processes read so many chunks in time, and why no more. At least half of the CPUs are left to
    the engine."""
    wanted = max(1, -int(-chunks_per_second // CHUNKS_PER_PROCESS))
    room = min(MOST_PROCESSES, max(1, cpus // 2))
    if wanted <= room:
        return wanted, f"{chunks_per_second:.0f} chunks a second want {wanted}"
    return room, f"{chunks_per_second:.0f} chunks a second want {wanted}, {cpus} CPUs leave room for {room}"


class Member:
    """One process. Asks as ``Share`` does, for one job after the other."""

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
        self._gone = False
        self._order: pipe.Start | None = None
        self._progress = Progress()
        self._brought: asyncio.Future[Brought] | None = None

    async def connect(self) -> None:
        """Until it can be told to start. Raises EOFError when it ends before."""
        reader, self._writer = await asyncio.open_connection(sock=self._here)
        self._listening = asyncio.ensure_future(self._listen(reader))
        await self._ready.wait()
        if self._gone:
            raise EOFError("a process that was to send requests has not started")

    async def _listen(self, reader: asyncio.StreamReader) -> None:
        with contextlib.suppress(EOFError):
            while True:
                told = await pipe.get(reader)
                if isinstance(told, Progress):
                    self._progress = told
                elif isinstance(told, Brought) and self._brought is not None:
                    self._brought.set_result(told)
                self._ready.set()
        self._gone = True
        self._ready.set()
        if self._brought is not None and not self._brought.done():
            self._brought.set_result(_lost())

    def give(self, speech: Speech, job: Job) -> None:
        self._order = pipe.Start(speech, job)
        self._progress = Progress()

    def start(self) -> None:
        assert self._writer is not None
        assert self._order is not None
        self._brought = asyncio.get_running_loop().create_future()
        pipe.put(self._writer, self._order)

    def progress(self) -> Progress:
        return Progress(failures=1, broken=True) if self._gone else self._progress

    async def stop(self, start_ns: int, end_ns: int) -> Brought:
        assert self._writer is not None
        assert self._brought is not None
        if self._gone:
            return _lost()
        pipe.put(self._writer, pipe.Stop(start_ns, end_ns))
        brought = await self._brought
        self._brought = None
        return brought

    async def hang_up(self) -> None:
        """Ends a job that was not stopped, and the process with it: its connections break at once."""
        if self._brought is not None:
            await self.close()

    async def close(self) -> None:
        self._process.kill()
        self._process.wait()
        self._gone = True
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
        return not self._gone


def _lost() -> Brought:
    return Brought(failures=("a process that sent requests has ended",))


class Crew:
    """Processes that are kept from one loop to the next."""

    def __init__(self) -> None:
        self._members: list[Member] = []

    async def members(self, count: int) -> list[Member]:
        """So many that are ready; fewer or none where they do not start."""
        self._members = [member for member in self._members if member.usable]
        new = [Member() for _ in range(count - len(self._members))]
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
