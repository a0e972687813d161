"""Helpers for a backend's threads: their number, a mailbox to the event loop, and work with a time limit."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import math
import os
import threading
import time
from collections.abc import AsyncIterator, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Generic, TypeVar

CGROUP = Path("/sys/fs/cgroup")
REQUEST = "TACHO_CPU_REQUEST_MILLICORES"
"""Environment variable with the container's CPU request in millicores, if the user set one."""


def usable_cpus(cgroup: Path = CGROUP, environment: Mapping[str, str] = os.environ) -> int:
    """Number of CPUs for compute threads: the container's CPU limit, else its CPU request, rounded up; at
    most the CPUs of the process's affinity, which also is the default."""
    usable = len(os.sched_getaffinity(0))
    return min(usable, _limit(cgroup) or _request(environment) or usable)


def _limit(cgroup: Path) -> int | None:
    """The container's CPU limit in CPUs, by cgroup v2, else v1; None: no limit."""
    try:
        quota, period = (cgroup / "cpu.max").read_text().split()
    except (OSError, ValueError):
        try:
            names = ("cpu.cfs_quota_us", "cpu.cfs_period_us")
            quota, period = ((cgroup / "cpu" / name).read_text().strip() for name in names)
        except OSError:
            return None
    if not quota.isdigit() or not period.isdigit() or int(period) == 0:
        return None
    return max(1, math.ceil(int(quota) / int(period)))


def _request(environment: Mapping[str, str]) -> int | None:
    request = environment.get(REQUEST, "")
    return math.ceil(int(request) / 1000) if request.isdigit() and int(request) else None


T = TypeVar("T")


class Mailbox(Generic[T]):
    """A queue from any number of threads to one reader in the event loop."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._queue: asyncio.Queue[T | Exception | None] = asyncio.Queue()

    def put(self, item: T) -> None:
        """Passes an item to the event loop from any thread; does nothing after the loop has ended."""
        self._send(item)

    def end(self) -> None:
        """Ends the stream: no further items follow."""
        self._send(None)

    def fail(self, error: Exception) -> None:
        """Makes the reader raise ``error``."""
        self._send(error)

    def _send(self, item: T | Exception | None) -> None:
        with contextlib.suppress(RuntimeError):  # the loop is closed: there is no reader
            self._loop.call_soon_threadsafe(self._queue.put_nowait, item)

    async def read(self, on_close: Callable[[], None]) -> AsyncIterator[T]:
        """The items, until the end of the stream. ``on_close`` is called when the reader leaves, for whatever
        reason."""
        try:
            while (item := await self._queue.get()) is not None:
                if isinstance(item, Exception):
                    raise item
                yield item
        finally:
            on_close()


class Overdue(BaseException):
    """Work in a thread took too long. It is no Exception, so that templates and libraries do not catch it."""


class TimedThread:
    """One thread that aborts its work after ``limit_seconds``.

    Work in C code cannot be aborted; ``stuck_seconds`` shows it.
    """

    def __init__(self, name: str, limit_seconds: float) -> None:
        self.limit_seconds = limit_seconds
        self._executor = ThreadPoolExecutor(1, thread_name_prefix=name)
        self._lock = threading.Lock()
        self._running: tuple[int, float] | None = None
        """(id of the thread, time when its present work began); None: idle."""

    async def run(self, work: Callable[[], T]) -> T:
        """Runs ``work`` after that of earlier callers, and returns its result. Raises TimeoutError."""
        task = asyncio.get_running_loop().run_in_executor(self._executor, self._timed, work)
        while not (await asyncio.wait({task}, timeout=self.limit_seconds / 2))[0]:
            self._end_overdue()
        return task.result()

    @property
    def stuck_seconds(self) -> float:
        """Seconds since work should have ended but has not; 0 otherwise."""
        running = self._running
        return max(0.0, time.monotonic() - running[1] - self.limit_seconds) if running else 0.0

    def _timed(self, work: Callable[[], T]) -> T:
        try:
            self._running = threading.get_ident(), time.monotonic()
            try:
                return work()
            finally:
                with self._lock:  # _end_overdue interrupts no work that has returned
                    self._running = None
        except Overdue:
            self._running = None
            raise TimeoutError from None

    def _end_overdue(self) -> None:
        with self._lock:
            if self._running and self.stuck_seconds > 0:
                identity = ctypes.c_ulong(self._running[0])
                ctypes.pythonapi.PyThreadState_SetAsyncExc(identity, ctypes.py_object(Overdue))
