"""A keyed work queue: one worker a key at a time, duplicates merged, failures retried with back-off."""

from __future__ import annotations

import asyncio
import heapq
import itertools
import logging
import random
from collections.abc import Awaitable, Callable
from typing import NamedTuple

logger = logging.getLogger(__name__)

BASE_BACKOFF_SECONDS = 1.0
MAX_BACKOFF_SECONDS = 120.0


class Key(NamedTuple):
    """A resource's identity."""

    namespace: str
    name: str


def backoff_seconds(failures: int, jitter: float) -> float:
    """Delay before the next try after ``failures`` in a row; ``jitter`` in [0, 1) spreads keys apart."""
    delay = min(MAX_BACKOFF_SECONDS, BASE_BACKOFF_SECONDS * 2.0 ** min(failures - 1, 20))
    return delay * (0.5 + 0.5 * jitter)


class WorkQueue:
    """Calls ``process(key)`` for every key added; its return value is a delay after which to come back.

    A key added while it is being processed is processed once more afterwards; a key added several
    times before its turn is processed once. The earliest of all asked-for times counts.
    """

    def __init__(
        self,
        process: Callable[[Key], Awaitable[float | None]],
        *,
        workers: int,
        randomness: random.Random | None = None,
    ) -> None:
        self._process = process
        self._workers = workers
        self._random = randomness or random.Random()  # noqa: S311 - spreads retries, guards nothing
        self._due: dict[Key, float] = {}
        self._heap: list[tuple[float, int, Key]] = []
        self._order = itertools.count()
        self._running: set[Key] = set()
        self._failures: dict[Key, int] = {}
        self._changed = asyncio.Condition()

    @property
    def depth(self) -> int:
        """Keys waiting, whether due or delayed."""
        return len(self._due)

    def oldest_overdue_seconds(self) -> float:
        """How long the key that waits longest has been due; 0 when none is."""
        now = asyncio.get_running_loop().time()
        return max((now - due for key, due in self._due.items() if key not in self._running), default=0.0)

    async def add(self, key: Key, delay_seconds: float = 0.0) -> None:
        """Ask for ``key`` to be processed no later than in ``delay_seconds``."""
        due = asyncio.get_running_loop().time() + delay_seconds
        async with self._changed:
            if self._due.get(key, float("inf")) <= due:
                return
            self._due[key] = due
            heapq.heappush(self._heap, (due, next(self._order), key))
            self._changed.notify()

    async def run(self) -> None:
        """Processes keys until cancelled."""
        async with asyncio.TaskGroup() as group:
            for _ in range(self._workers):
                group.create_task(self._work())

    async def _take(self) -> Key:
        loop = asyncio.get_running_loop()
        async with self._changed:
            while True:
                delay: float | None = None
                held: list[tuple[float, int, Key]] = []
                try:
                    while self._heap:
                        due, _, key = self._heap[0]
                        if self._due.get(key) != due:
                            heapq.heappop(self._heap)  # superseded by an earlier time
                        elif due > loop.time():
                            delay = due - loop.time()
                            break
                        elif key in self._running:
                            held.append(heapq.heappop(self._heap))
                        else:
                            heapq.heappop(self._heap)
                            del self._due[key]
                            self._running.add(key)
                            return key
                finally:
                    for item in held:
                        heapq.heappush(self._heap, item)
                try:
                    async with asyncio.timeout(delay):
                        await self._changed.wait()
                except TimeoutError:
                    continue

    async def _work(self) -> None:
        while True:
            key = await self._take()
            try:
                delay = await self._process(key)
                self._failures.pop(key, None)
            except Exception as error:
                self._failures[key] = self._failures.get(key, 0) + 1
                delay = backoff_seconds(self._failures[key], self._random.random())
                logger.warning(
                    "%s/%s: %s; next try in %.1f s",
                    *key,
                    error,
                    delay,
                    exc_info=logger.isEnabledFor(logging.DEBUG),
                )
            finally:
                async with self._changed:
                    self._running.discard(key)
                    self._changed.notify_all()
            if delay is not None:
                await self.add(key, delay)
