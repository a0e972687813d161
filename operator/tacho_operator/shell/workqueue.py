"""A work queue by resource: at most one worker for a key, duplicates merged, failures retried with back-off.

Due keys are taken in two classes, and in each alternating between namespaces.
"""

from __future__ import annotations

import asyncio
import enum
import heapq
import itertools
import logging
import math
import random
import time
from collections import deque
from collections.abc import Awaitable, Callable
from typing import NamedTuple

from tacho_operator.core.pauses import doubling_seconds

logger = logging.getLogger(__name__)

OTHERS_EVERY = 8
"""While resources are new, one of so many reconciles is for another. The first one of a new resource writes
only its status, so that thousands have one soon.
"""
BASE_BACKOFF_SECONDS, MAX_BACKOFF_SECONDS = 1.0, 120.0
HELD_SECONDS = 10.0
"""Seconds of a failed key's back-off that events do not shorten."""
JITTER = 0.1
LONG_SECONDS = 60.0
"""Seconds from which up to 10 % are added to a delay, so that resources that started together are spread."""
SUPERSEDED = 1000
"""Number of outdated entries in the heap of due times after which they are removed."""


class Priority(enum.IntEnum):
    """Class of a resource in the queue: the lowest number is reconciled first."""

    NEW = 0
    """The operator has not written its status yet."""
    OTHERS = 1


class Key(NamedTuple):
    """A resource's identity."""

    namespace: str
    name: str


def backoff_seconds(failures: int, jitter: float) -> float:
    """Seconds until the next try after ``failures`` failures in a row; ``jitter`` in [0, 1) spreads keys
    apart."""
    delay = doubling_seconds(BASE_BACKOFF_SECONDS, MAX_BACKOFF_SECONDS, failures)
    return delay * (0.5 + 0.5 * jitter)


class ReadyKeys:
    """Due keys by class and namespace; each key waits once."""

    def __init__(self) -> None:
        self._lines: dict[Priority, dict[str, deque[Key]]] = {priority: {} for priority in Priority}
        self._keys: dict[Key, Priority] = {}
        self._taken = 0

    def __contains__(self, key: Key) -> bool:
        return key in self._keys

    def count(self, priority: Priority) -> int:
        """The number of waiting keys of that class."""
        return sum(map(len, self._lines[priority].values()))

    def add(self, key: Key, priority: Priority) -> None:
        """Adds a key that does not wait yet at the end of its namespace's line."""
        self._keys[key] = priority
        self._lines[priority].setdefault(key.namespace, deque()).append(key)

    def take(self) -> Key | None:
        """The next key; None when there is none."""
        waiting = [priority for priority in Priority if self._lines[priority]]
        if not waiting:
            return None
        self._taken += 1
        lines = self._lines[waiting[-1 if self._taken % OTHERS_EVERY == 0 else 0]]
        namespace = next(iter(lines))
        line = lines.pop(namespace)
        key = line.popleft()
        if line:
            lines[namespace] = line  # behind the other namespaces
        del self._keys[key]
        return key


class WorkQueue:
    """Calls ``process(key)`` for every key added; its return value is a delay after which to come back.

    A key added while it is being processed is processed once more afterwards; a key added several
    times before it is processed is processed once. The earliest of all requested times counts. Nothing is
    begun while ``gate`` waits. ``requested_pause_seconds``: pause after an error during which its key is not
    processed, whatever happens.
    """

    def __init__(
        self,
        process: Callable[[Key], Awaitable[float | None]],
        *,
        workers: int,
        priority: Callable[[Key], Priority] = lambda _key: Priority.OTHERS,
        gate: Callable[[], Awaitable[None]] = lambda: asyncio.sleep(0),
        requested_pause_seconds: Callable[[Exception], float] = lambda _error: 0.0,
    ) -> None:
        self._process = process
        self._workers = workers
        self._priority = priority
        self._gate = gate
        self._requested_pause_seconds = requested_pause_seconds
        self._random = random.Random()  # noqa: S311 - spreads retries, guards nothing
        self._due: dict[Key, float] = {}
        self._heap: list[tuple[float, int, Key]] = []
        self._order = itertools.count()
        self._ready = ReadyKeys()
        self._running: set[Key] = set()
        self._failures: dict[Key, int] = {}
        self._moved = 0.0
        """When a reconcile last began or ended, in seconds of the monotonic clock."""
        self._held: dict[Key, float] = {}
        """Until when a failed key is not processed, in seconds of the monotonic clock."""
        self._changed = asyncio.Event()

    def depths(self) -> dict[str, int]:
        """Number of waiting keys by class; ``delayed`` counts the keys that are not due yet."""
        found = {priority.name.lower(): self._ready.count(priority) for priority in Priority}
        return {**found, "delayed": len(self._due) - sum(found.values())}

    def stuck_seconds(self) -> float:
        """Seconds for which a key has been due while no reconcile began or ended; 0 when no key is due.

        A long queue that moves is not stuck: after an hour without an API server every key is overdue.
        """
        return min(self.oldest_seconds(), max(0.0, time.monotonic() - self._moved))

    def oldest_seconds(self) -> float:
        """Seconds for which the longest-waiting key has been due; 0 when none is due. Thread-safe."""
        running = self._running.copy()
        due = min((due for key, due in self._due.copy().items() if key not in running), default=math.inf)
        return max(0.0, time.monotonic() - due)

    def add(self, key: Key, delay_seconds: float = 0.0) -> None:
        """Requests that ``key`` is processed in at most ``delay_seconds``."""
        due = max(asyncio.get_running_loop().time() + delay_seconds, self._held.get(key, 0.0))
        if self._due.get(key, math.inf) <= due:
            return
        self._due[key] = due
        if len(self._heap) > 2 * len(self._due) + SUPERSEDED:
            self._heap = [item for item in self._heap if self._due.get(item[2]) == item[0]]
            heapq.heapify(self._heap)
        heapq.heappush(self._heap, (due, next(self._order), key))
        self._changed.set()

    async def run(self) -> None:
        """Processes keys until cancelled."""
        async with asyncio.TaskGroup() as group:
            while True:
                await self._gate()
                delay = self._move_due_keys()
                while len(self._running) < self._workers and (key := self._ready.take()) is not None:
                    del self._due[key]
                    self._running.add(key)
                    self._note_move()
                    group.create_task(self._work(key))
                self._changed.clear()
                try:
                    async with asyncio.timeout(delay):
                        await self._changed.wait()
                except TimeoutError:
                    continue

    def _move_due_keys(self) -> float | None:
        """Moves due keys to the waiting lines; returns the seconds until the next key is due."""
        now = asyncio.get_running_loop().time()
        held: list[tuple[float, int, Key]] = []
        delay: float | None = None
        while self._heap:
            due, _, key = self._heap[0]
            if due > now and self._due.get(key) == due:
                delay = due - now
                break
            item = heapq.heappop(self._heap)
            if self._due.get(key) != due or key in self._ready:
                continue  # superseded by an earlier time
            if key in self._running:
                held.append(item)
            else:
                self._ready.add(key, self._priority(key))
        for item in held:
            heapq.heappush(self._heap, item)
        return delay

    def _note_move(self) -> None:
        self._moved = asyncio.get_running_loop().time()

    async def _work(self, key: Key) -> None:
        try:
            delay = await self._process(key)
            self._failures.pop(key, None)
            self._held.pop(key, None)
        except Exception as error:
            self._failures[key] = self._failures.get(key, 0) + 1
            delay = backoff_seconds(self._failures[key], self._random.random())
            requested = self._requested_pause_seconds(error) * (1.0 + JITTER * self._random.random())
            delay = max(delay, requested)
            held = max(min(delay, HELD_SECONDS), requested)
            self._held[key] = asyncio.get_running_loop().time() + held
            if self._due.pop(key, None) is not None:  # it changed during the reconcile that failed
                delay = held
            logger.warning(
                "%s/%s: %s; next try in %.1f s",
                *key,
                error,
                delay,
                exc_info=logger.isEnabledFor(logging.DEBUG),
            )
        finally:
            self._running.discard(key)
            self._note_move()
            self._changed.set()
        if delay is not None:
            late = JITTER * self._random.random() if delay > LONG_SECONDS else 0.0
            self.add(key, delay * (1.0 + late))
