"""Helpers for a backend's threads: their number, a mailbox to the event loop, and work with a time limit."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import heapq
import itertools
import os
import threading
import time
import weakref
from collections.abc import AsyncIterator, Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import Any, Generic, TypeVar

from tacho_server.backend import GenerationError

USABLE_CPUS = "TACHO_USABLE_CPUS"
"""Environment variable in which tacho's runtime tells how many CPUs the container may use."""


def usable_cpus(environment: Mapping[str, str] = os.environ) -> int:
    """Number of CPUs for compute threads: as the runtime tells, else those of the process's affinity."""
    return int(environment.get(USABLE_CPUS, 0)) or len(os.sched_getaffinity(0))


T = TypeVar("T")


UNREAD_LIMIT = 1_000_000
"""Most log-probabilities and tokens of all answers that wait for readers; each takes about 100 bytes."""
UNREAD_LEAST = 1000
"""Number of them up to which no answer is given up."""
READ_AT_ONCE = 8
"""Most items of an answer that are handled before the event loop turns to others. Unread ones do not make the
reader wait, so that one answer would take all its time.
"""


class Mailbox(Generic[T]):
    """A queue from any number of threads to one reader in the event loop.

    A client may read slower than its answer is made. Where all answers together have more than UNREAD_LIMIT
    unread, those with the most are given up. ``on_overflow`` is called then; the reader gets an error.
    In the event loop, ``on_item`` is called for each item as it arrives, and ``on_end`` when none follows,
    long before they may be read.
    """

    def __init__(
        self,
        on_overflow: Callable[[], None],
        on_end: Callable[[], None] = lambda: None,
        on_item: Callable[[T], None] = lambda _item: None,
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._queue: asyncio.Queue[tuple[T | Exception | None, int]] = asyncio.Queue()
        self._on_overflow, self._on_end, self._on_item = on_overflow, on_end, on_item
        self._unread = 0
        self._given_up = False
        _MAILBOXES.add(self)

    def put(self, item: T, size: int = 1) -> None:
        """Passes an item to the event loop from any thread; does nothing after the loop has ended."""
        self._put(item, size)

    def end(self) -> None:
        """Ends the stream: no further items follow."""
        self._put(None)

    def fail(self, error: Exception) -> None:
        """Makes the reader raise ``error``."""
        self._put(error)

    def _put(self, item: T | Exception | None, size: int = 0) -> None:
        with contextlib.suppress(RuntimeError):  # the loop is closed: there is no reader
            self._loop.call_soon_threadsafe(self._receive, item, size)

    def _receive(self, item: T | Exception | None, size: int) -> None:
        ends = item is None or isinstance(item, Exception)
        if not ends:
            self._on_item(item)  # type: ignore[arg-type]  # an item of the stream
        if self._given_up:
            return
        self._unread += size
        self._queue.put_nowait((item, size))
        if ends:
            self._on_end()
        if self._unread > UNREAD_LEAST and self._is_most():
            self._given_up, self._unread, self._queue = True, 0, asyncio.Queue()
            self._queue.put_nowait((GenerationError("the client reads its answer too slowly"), 0))
            self._on_overflow()

    def _is_most(self) -> bool:
        """Whether all answers have too much unread, and this one at least the mean."""
        unread = [mailbox._unread for mailbox in _MAILBOXES]
        return sum(unread) > UNREAD_LIMIT and self._unread * len(unread) >= sum(unread)

    async def read(self, on_close: Callable[[], None]) -> AsyncIterator[T]:
        """The items, until the end of the stream. ``on_close`` is called when the reader leaves, for whatever
        reason."""
        try:
            for count in itertools.count(1):
                if count % READ_AT_ONCE == 0:
                    await asyncio.sleep(0)
                item, size = await self._queue.get()
                self._unread -= size
                if item is None:
                    return
                if isinstance(item, Exception):
                    raise item
                yield item
        finally:
            self._unread = 0
            on_close()


_MAILBOXES: weakref.WeakSet[Mailbox[Any]] = weakref.WeakSet()


def started(name: str, count: int) -> ThreadPoolExecutor:
    """An executor whose ``count`` threads run already. By itself it starts them with the first requests: at a
    pod's limit of threads these fail, and their turns are lost.
    """
    executor = ThreadPoolExecutor(count, thread_name_prefix=name)
    together = threading.Barrier(count)
    try:
        waits = [executor.submit(together.wait) for _ in range(count)]
    except RuntimeError:
        together.abort()
        raise
    for wait in waits:
        wait.result()
    return executor


class Turns:
    """Threads for the work of requests, ``count`` at a time, in the order of arrival.

    Pending requests are queued in the event loop. The executor's own queue would keep the prompts of
    disconnected clients until a thread is free.
    """

    def __init__(self, name: str, count: int) -> None:
        self._executor = started(name, count)
        self._free = asyncio.Semaphore(count)

    async def start(self, work: Callable[[], T]) -> Future[T]:
        """Starts ``work`` in a thread when it is its turn."""
        await self._free.acquire()
        loop = asyncio.get_running_loop()

        def free(_: Future[T]) -> None:
            with contextlib.suppress(RuntimeError):  # the loop is closed: nothing waits
                loop.call_soon_threadsafe(self._free.release)

        future = self._executor.submit(work)
        future.add_done_callback(free)
        return future

    async def run(self, work: Callable[[], T]) -> T:
        """The result of ``work``, which runs in a thread when it is its turn."""
        return await asyncio.wrap_future(await self.start(work))

    def close(self, *, wait: bool) -> None:
        """Ends the threads. ``wait``: until what runs has ended."""
        self._executor.shutdown(wait=wait, cancel_futures=True)


class Overdue(BaseException):
    """Work in a thread took too long. It is no Exception, so that templates and libraries do not catch it."""


LONG_BYTES = 1_000_000
"""Size of work that lets all work of the next ``limit_seconds`` of a TimedThread go first."""


class TimedThread:
    """One thread that does smaller work first, and aborts it after ``limit_seconds``.

    Large work waits for smaller only for a time by its size: a stream of such would else keep it out for
    ever. Work in C code cannot be aborted; ``stuck_seconds`` shows it.
    """

    def __init__(self, name: str, limit_seconds: float) -> None:
        self.limit_seconds = limit_seconds
        self._executor = started(name, 1)
        self._lock = threading.Lock()
        self._waiting: list[tuple[float, int, Callable[[], None]]] = []
        """A heap of (time until which smaller work goes first, order of arrival, what does it)."""
        self._arrivals = itertools.count()
        self._running: tuple[int, float] | None = None
        """(id of the thread, time when its present work began); None: idle."""

    async def run(self, work: Callable[[], T], size: int = 0) -> T:
        """Runs ``work`` when it is its turn by arrival and ``size``, and returns its result.

        Raises TimeoutError. Work that is cancelled before its turn is left out.
        """
        result: Future[T] = Future()
        kept = [work]
        due = time.monotonic() + self.limit_seconds * min(1.0, size / LONG_BYTES)
        with self._lock:
            do: Callable[[], None] = partial(self._do, kept, result)
            heapq.heappush(self._waiting, (due, next(self._arrivals), do))
        self._executor.submit(self._run_next)
        task = asyncio.wrap_future(result)
        try:
            while not (await asyncio.wait({task}, timeout=self.limit_seconds / 10))[0]:
                self._end_overdue()
            return task.result()
        finally:
            if result.cancel():
                kept.clear()  # its place in the heap may stay for long, a request's memory must not
            self._watch(result)
            task.cancel()

    def _watch(self, result: Future[T]) -> None:
        """Ends work when it is overdue, also where its caller has gone."""
        if not result.done():
            self._end_overdue()
            asyncio.get_running_loop().call_later(self.limit_seconds / 10, self._watch, result)

    def _run_next(self) -> None:
        with self._lock:
            _, _, do = heapq.heappop(self._waiting)
        do()

    def _do(self, kept: list[Callable[[], T]], result: Future[T]) -> None:
        if not result.set_running_or_notify_cancel():
            return
        try:
            result.set_result(self._timed(kept.pop()))
        except BaseException as error:  # noqa: BLE001 - the caller raises it
            result.set_exception(error)

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
