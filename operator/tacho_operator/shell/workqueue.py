"""A keyed work queue: one worker a key at a time, duplicates merged, failures retried with back-off, fair."""

from __future__ import annotations

import asyncio
import heapq
import itertools
import logging
import random
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import NamedTuple

from tacho_operator.shell.turns import Priority, Turns

logger = logging.getLogger(__name__)

BASE_BACKOFF_SECONDS = 1.0
MAX_BACKOFF_SECONDS = 120.0
HELD_SECONDS = 10.0
"""Of its back-off a failed key waits so long whatever happens to it: events do not undo the pause that an API
server asks for."""
JITTER = 0.1
SUPERSEDED = 1000
"""Times that no longer count are thrown away past so many: else each turn would leave one for an hour."""
LONG_SECONDS = 60.0
"""Longer delays end up to a tenth later: what began together does not come back together."""


class Key(NamedTuple):
    """A resource's identity."""

    namespace: str
    name: str


def backoff_seconds(failures: int, jitter: float) -> float:
    """Delay before the next try after ``failures`` in a row; ``jitter`` in [0, 1) spreads keys apart."""
    delay = min(MAX_BACKOFF_SECONDS, BASE_BACKOFF_SECONDS * 2.0 ** min(failures - 1, 20))
    return delay * (0.5 + 0.5 * jitter)


async def _open() -> None:
    return


def _unasked(_error: Exception) -> float:
    return 0.0


def _equal(_key: Key) -> Priority:
    return Priority.WAITS


class WorkQueue:
    """Calls ``process(key)`` for every key added; its return value is a delay after which to come back.

    A key added while it is being processed is processed once more afterwards; a key added several
    times before its turn is processed once. The earliest of all asked-for times counts. Keys whose time has
    come take turns by priority and namespace (turns.py). Nothing is begun while ``gate`` waits.
    ``asked_pause_seconds``: how long an error wants its key to be left alone, whatever happens to it.
    """

    def __init__(
        self,
        process: Callable[[Key], Awaitable[float | None]],
        *,
        workers: int,
        priority: Callable[[Key], Priority] = _equal,
        gate: Callable[[], Awaitable[None]] = _open,
        asked_pause_seconds: Callable[[Exception], float] = _unasked,
        randomness: random.Random | None = None,
    ) -> None:
        self._process = process
        self._workers = workers
        self._priority = priority
        self._gate = gate
        self._asked_pause_seconds = asked_pause_seconds
        self._random = randomness or random.Random()  # noqa: S311 - spreads retries, guards nothing
        self._due: dict[Key, float] = {}
        self._heap: list[tuple[float, int, Key]] = []
        self._order = itertools.count()
        self._routine: set[Key] = set()
        self._turns: Turns[Key] = Turns()
        self._running: set[Key] = set()
        self._failures: dict[Key, int] = {}
        self._moved = 0.0
        """When a turn last began or ended."""
        self._held: dict[Key, float] = {}
        self._changed = asyncio.Event()

    @property
    def depth(self) -> int:
        """Keys waiting, whether due or delayed."""
        return len(self._due)

    def depths(self) -> dict[str, int]:
        """Keys waiting, by priority; ``delayed``: those whose time has not come."""
        found = Counter({priority.name.lower(): self._turns.count(priority) for priority in Priority})
        found["delayed"] = len(self._due) - found.total()
        return dict(found)

    def stuck_seconds(self) -> float:
        """How long a key has been due without any turn having begun or ended; 0 when none is due.

        A long line that moves is no trouble: after an hour without an API server everything is overdue.
        """
        oldest = min((due for key, due in self._due.items() if key not in self._running), default=None)
        if oldest is None:
            return 0.0
        return max(0.0, asyncio.get_running_loop().time() - max(oldest, self._moved))

    def add(self, key: Key, delay_seconds: float = 0.0, *, routine: bool = False) -> None:
        """Ask for ``key`` to be processed no later than in ``delay_seconds``.

        ``routine``: nothing is known to have happened to it.
        """
        due = max(asyncio.get_running_loop().time() + delay_seconds, self._held.get(key, 0.0))
        known = key in self._due
        if not known and routine:
            self._routine.add(key)
        elif not routine:
            self._routine.discard(key)
        if not routine and key in self._turns:
            self._turns.add(key, key.namespace, self._priority(key))
        if self._due.get(key, float("inf")) <= due:
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
                delay = self._ripen()
                while len(self._running) < self._workers and (key := self._turns.take()) is not None:
                    del self._due[key]
                    self._routine.discard(key)
                    self._running.add(key)
                    self._moved = asyncio.get_running_loop().time()
                    group.create_task(self._work(key))
                self._changed.clear()
                try:
                    async with asyncio.timeout(delay):
                        await self._changed.wait()
                except TimeoutError:
                    continue

    def _ripen(self) -> float | None:
        """Gives those whose time has come their place in the line; seconds until the next one's."""
        now = asyncio.get_running_loop().time()
        held: list[tuple[float, int, Key]] = []
        delay: float | None = None
        while self._heap:
            due, _, key = self._heap[0]
            if due > now and self._due.get(key) == due:
                delay = due - now
                break
            item = heapq.heappop(self._heap)
            if self._due.get(key) != due or key in self._turns:
                continue  # superseded by an earlier time
            if key in self._running:
                held.append(item)
            else:
                priority = Priority.ROUTINE if key in self._routine else self._priority(key)
                self._turns.add(key, key.namespace, priority)
        for item in held:
            heapq.heappush(self._heap, item)
        return delay

    async def _work(self, key: Key) -> None:
        try:
            delay = await self._process(key)
            self._failures.pop(key, None)
            self._held.pop(key, None)
        except Exception as error:
            self._failures[key] = self._failures.get(key, 0) + 1
            delay = backoff_seconds(self._failures[key], self._random.random())
            asked = self._asked_pause_seconds(error) * (1.0 + JITTER * self._random.random())
            delay = max(delay, asked)
            held = max(min(delay, HELD_SECONDS), asked)
            self._held[key] = asyncio.get_running_loop().time() + held
            if self._due.pop(key, None) is not None:  # something happened to it during the turn that failed
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
            self._moved = asyncio.get_running_loop().time()
            self._changed.set()
        if delay is not None:
            late = JITTER * self._random.random() if delay > LONG_SECONDS else 0.0
            self.add(key, delay * (1.0 + late))
