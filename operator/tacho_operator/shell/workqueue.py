"""A work queue by resource: at most one worker for a key, duplicates merged, failures retried with back-off.

Due keys are taken by priority, then alternating between namespaces. A namespace has at most as many workers
as are free: API calls that hang in one namespace do not stop the rest. It gets none while it has used more
than its share of the event loop.
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
from collections import Counter, deque
from collections.abc import Awaitable, Callable, Coroutine, Generator, Hashable
from typing import Any, Generic, NamedTuple, TypeVar

from tacho_operator.core.pauses import doubling_seconds
from tacho_operator.shell.budget import LONGEST_WAIT_SECONDS, NamespaceBudget

LOWER_EVERY = 5
"""One of so many reconciles is of the lowest priority that is due, so that it is not starved."""
OTHERS_EVERY = 8
"""While resources are new, one of so many reconciles is for a resource that serves or that a user changed."""
WAITS_EVERY = 32
"""While resources are new, one of so many reconciles is for a waiting resource.

The first reconcile of a new resource writes only a status. Later ones write ten times as much, which all new
resources would wait for.
"""


class Priority(enum.IntEnum):
    """Priority of a resource in the queue: the lowest number is reconciled first."""

    NEW = 0
    """The operator has not written its status yet."""
    SERVES = 1
    """Some replica is ready."""
    CHANGED = 2
    """The status describes an older version of the spec."""
    WAITS = 3
    """The resource waits for something in the cluster."""
    ROUTINE = 4
    """A periodic reconcile, without a known change."""


K = TypeVar("K", bound=Hashable)


class PriorityLines(Generic[K]):
    """Waiting keys by priority and namespace; each key waits once."""

    def __init__(self) -> None:
        self._lines: dict[Priority, dict[str, deque[K]]] = {priority: {} for priority in Priority}
        self._keys: dict[K, Priority] = {}
        self._taken = 0
        self._others = 0
        """Number of keys taken so far that were not of new resources."""

    def __contains__(self, key: K) -> bool:
        return key in self._keys

    def count(self, priority: Priority) -> int:
        """The number of waiting keys of that priority."""
        return sum(map(len, self._lines[priority].values()))

    def add(self, key: K, namespace: str, priority: Priority) -> None:
        """Adds a key at the end of its namespace's line; a waiting key may move to a more urgent line."""
        previous = self._keys.get(key)
        if previous is not None:
            if previous <= priority:
                return
            self._leave(key, namespace, previous)
        self._keys[key] = priority
        self._lines[priority].setdefault(namespace, deque()).append(key)

    def _leave(self, key: K, namespace: str, priority: Priority) -> None:
        line = self._lines[priority][namespace]
        line.remove(key)
        if not line:
            del self._lines[priority][namespace]

    def _next_namespace(self, priority: Priority, may_begin: Callable[[str], bool]) -> str | None:
        """The namespace whose turn is next; None: none may begin."""
        return next(filter(may_begin, self._lines[priority]), None)

    def _next_priority(self, waiting: list[Priority]) -> Priority:
        if waiting[0] is Priority.NEW and len(waiting) > 1:
            pressing = waiting[1] <= Priority.CHANGED
            others = self._taken % (OTHERS_EVERY if pressing else WAITS_EVERY) == 0
            return self._of_others(waiting[1:]) if others else Priority.NEW
        return self._of_others(waiting)

    def _of_others(self, waiting: list[Priority]) -> Priority:
        self._others += 1
        if self._others % LOWER_EVERY == 0:
            return waiting[-1]
        # Changed resources alternate with those that serve: either may come in thousands.
        alternate = Priority.CHANGED in waiting and self._others % 2 == 0
        return Priority.CHANGED if alternate else waiting[0]

    def take(self, may_begin: Callable[[str], bool] = lambda _namespace: True) -> K | None:
        """The next key whose namespace passes ``may_begin``, by priority; None when there is none."""
        found = {priority: self._next_namespace(priority, may_begin) for priority in Priority}
        waiting = [priority for priority, namespace in found.items() if namespace is not None]
        if not waiting:
            return None
        self._taken += 1
        priority = self._next_priority(waiting)
        lines, namespace = self._lines[priority], found[priority]
        assert namespace is not None
        line = lines.pop(namespace)
        key = line.popleft()
        if line:
            lines[namespace] = line  # behind the other namespaces
        del self._keys[key]
        return key


logger = logging.getLogger(__name__)

BASE_BACKOFF_SECONDS = 1.0
MAX_BACKOFF_SECONDS = 120.0
HELD_SECONDS = 10.0
"""Seconds of a failed key's back-off that events do not shorten: the API server requested this pause."""
JITTER = 0.1
PACE_SECONDS, BURST = 1.0, 60
"""A key may be processed 60 times in a row, then once a second.

A pod that reports a change each time would otherwise cause 45 reconciles a second, which is a whole CPU core.
"""
SUPERSEDED = 1000
"""Number of outdated entries in the heap of due times after which they are removed."""
OVER_SECONDS = 0.5
"""Seconds after which a namespace that used more than its share of the event loop is considered again."""
SHARED_WORKERS = 4
"""Share of the workers (1/4) that a namespace may use while another namespace is reconciled.

Each step of that reconcile waits for one step of every other, and a step of 20 ms is free.
"""
LONG_SECONDS = 60.0
"""Seconds from which up to 10 % are added to a delay, so that resources that started together are spread."""


class Key(NamedTuple):
    """A resource's identity."""

    namespace: str
    name: str


def backoff_seconds(failures: int, jitter: float) -> float:
    """Seconds until the next try after ``failures`` failures in a row; ``jitter`` in [0, 1) spreads keys
    apart."""
    delay = doubling_seconds(BASE_BACKOFF_SECONDS, MAX_BACKOFF_SECONDS, failures)
    return delay * (0.5 + 0.5 * jitter)


class _NotedSteps(Coroutine[Any, Any, float | None]):
    """A reconcile that calls ``note`` at each of its steps.

    Of slow writes one reconcile may make many: it goes on for minutes without being hung.
    """

    def __init__(self, work: Coroutine[Any, Any, float | None], note: Callable[[], None]) -> None:
        self._work, self._note = work, note

    def send(self, value: Any) -> Any:
        self._note()
        return self._work.send(value)

    def throw(self, *error: Any) -> Any:
        self._note()
        return self._work.throw(*error)

    def close(self) -> None:
        self._work.close()

    def __await__(self) -> Generator[Any, Any, float | None]:
        return self._work.__await__()


class WorkQueue:
    """Calls ``process(key)`` for every key added; its return value is a delay after which to come back.

    A key added while it is being processed is processed once more afterwards; a key added several
    times before it is processed is processed once. The earliest of all requested times counts. Keys that are
    due alternate by priority and namespace. Nothing is begun while ``gate`` waits.
    ``requested_pause_seconds``: pause after an error during which its key is not processed, whatever happens.
    """

    def __init__(
        self,
        process: Callable[[Key], Awaitable[float | None]],
        *,
        workers: int,
        priority: Callable[[Key], Priority] = lambda _key: Priority.WAITS,
        gate: Callable[[], Awaitable[None]] = lambda: asyncio.sleep(0),
        requested_pause_seconds: Callable[[Exception], float] = lambda _error: 0.0,
        budget: NamespaceBudget | None = None,
    ) -> None:
        self._process = process
        self._workers = workers
        self._priority = priority
        self._gate = gate
        self._requested_pause_seconds = requested_pause_seconds
        self._budget = budget or NamespaceBudget()
        self._over_since: dict[str, float] = {}
        """Since when a namespace waits because of what it has used of the event loop."""
        self._random = random.Random()  # noqa: S311 - spreads retries, guards nothing
        self._due: dict[Key, float] = {}
        self._heap: list[tuple[float, int, Key]] = []
        self._order = itertools.count()
        self._routine: set[Key] = set()
        self._ready: PriorityLines[Key] = PriorityLines()
        self._running: set[Key] = set()
        self._failures: dict[Key, int] = {}
        self._moved = 0.0
        """When a reconcile last began, went on or ended, in seconds of the monotonic clock."""
        self._held: dict[Key, float] = {}
        self._paced: dict[Key, float] = {}
        """For each key, the time until which its past reconciles would last at one per PACE_SECONDS."""
        self._changed = asyncio.Event()

    def depths(self) -> dict[str, int]:
        """Number of waiting keys by priority; ``delayed`` counts the keys that are not due yet."""
        found = Counter({priority.name.lower(): self._ready.count(priority) for priority in Priority})
        found["delayed"] = len(self._due) - found.total()
        return dict(found)

    def stuck_seconds(self) -> float:
        """Seconds for which a key has been due while no reconcile began, went on or ended; 0 when no key is
        due.

        A long queue that moves is not stuck: after an hour without an API server every key is overdue. Nor
        are workers whose requests are slow: each of these has an end.
        """
        return min(self.oldest_seconds(), max(0.0, time.monotonic() - self._moved))

    def oldest_seconds(self) -> float:
        """Seconds for which the longest-waiting key has been due; 0 when none is due. Thread-safe."""
        running = self._running.copy()
        due = min((due for key, due in self._due.copy().items() if key not in running), default=math.inf)
        return max(0.0, time.monotonic() - due)

    def add(self, key: Key, delay_seconds: float = 0.0, *, routine: bool = False) -> None:
        """Requests that ``key`` is processed in at most ``delay_seconds``.

        ``routine``: a periodic reconcile, without a change of the resource.
        """
        paced = self._paced.get(key, 0.0) - BURST * PACE_SECONDS
        due = max(asyncio.get_running_loop().time() + delay_seconds, self._held.get(key, 0.0), paced)
        known = key in self._due
        if not known and routine:
            self._routine.add(key)
        elif not routine:
            self._routine.discard(key)
        if not routine and key in self._ready:
            self._ready.add(key, key.namespace, self._priority(key))
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
                delay = self._move_due_keys()
                # Read first: what ends between the two would leave a namespace waiting for any change.
                any_over = self._budget.any_over()
                # Without a free worker no namespace may begin: asking each would cost the loop its time.
                while self._is_free() and (key := self._ready.take(self._may_begin)) is not None:
                    del self._due[key]
                    self._routine.discard(key)
                    self._running.add(key)
                    self._over_since.pop(key.namespace, None)
                    self._count_reconcile(key)
                    self._note_move()
                    group.create_task(self._work(key))
                if any_over and self._is_free():
                    delay = min(delay or OVER_SECONDS, OVER_SECONDS)
                self._changed.clear()
                try:
                    async with asyncio.timeout(delay):
                        await self._changed.wait()
                except TimeoutError:
                    continue

    def _count_reconcile(self, key: Key) -> None:
        """Counts a reconcile of the key; removes counts that no longer matter."""
        now = asyncio.get_running_loop().time()
        self._paced[key] = max(now, self._paced.get(key, 0.0)) + PACE_SECONDS
        if len(self._paced) > len(self._due) + SUPERSEDED:
            self._paced = {key: until for key, until in self._paced.items() if until > now}

    def _is_free(self) -> bool:
        return len(self._running) < self._workers

    def _may_begin(self, namespace: str) -> bool:
        """Whether the namespace may have another worker: at least as many are free as it uses, at least one;
        beside other namespaces it uses fewer than a part of all. And it has not used more than its share of
        the event loop, or waits for LONGEST_WAIT_SECONDS.
        """
        if self._budget.is_over(namespace):
            now = asyncio.get_running_loop().time()
            if now - self._over_since.setdefault(namespace, now) < LONGEST_WAIT_SECONDS:
                return False
        free = self._workers - len(self._running)
        used = sum(key.namespace == namespace for key in self._running)
        if used < len(self._running) and used >= max(1, self._workers // SHARED_WORKERS):
            return False
        return free >= max(1, used)

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
                priority = Priority.ROUTINE if key in self._routine else self._priority(key)
                self._ready.add(key, key.namespace, priority)
        for item in held:
            heapq.heappush(self._heap, item)
        return delay

    async def _processed(self, key: Key) -> float | None:
        return await self._process(key)

    def _note_move(self) -> None:
        self._moved = asyncio.get_running_loop().time()

    async def _work(self, key: Key) -> None:
        try:
            steps = _NotedSteps(self._processed(key), self._note_move)
            delay = await self._budget.charged(key.namespace, steps)
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
