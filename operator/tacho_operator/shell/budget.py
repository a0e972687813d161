"""How much of the event loop's time each namespace may use, so that nothing that its users make delays the
others.

Whatever users can make long is charged to their namespace: reading and storing an event, and each long step
of a reconcile. While a namespace has used more than its share, its resources are not reconciled, and of its
long events only the metadata is read.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Coroutine, Generator
from functools import partial
from types import coroutine
from typing import Any, TypeVar

SHARE = 0.25
"""Share of the event loop's time that a namespace may use over a longer time."""
BURST_SECONDS = 1.0
"""Seconds that a namespace may use at once."""
LONGEST_DEBT_SECONDS = 10.0
"""Most seconds above BURST_SECONDS that are charged."""
LONGEST_WAIT_SECONDS = LONGEST_DEBT_SECONDS / SHARE
"""Seconds after which a waiting namespace begins a reconcile, whatever its events cost meanwhile."""
SHORT_STEP_SECONDS = 0.02
"""Longest step of a reconcile that is not charged: between short ones, other namespaces have their turn.

A usual reconcile takes 11 ms, so that thousands of resources in one namespace are not slowed down.
"""
KEPT = 1000
"""Number of namespaces from which those that owe nothing are forgotten."""

T = TypeVar("T")


class NamespaceBudget:
    """Time that each namespace has used of the event loop, as a bucket that empties at SHARE."""

    def __init__(
        self,
        clock: Callable[[], float] = time.monotonic,
        cpu_clock: Callable[[], float] = time.thread_time,
    ) -> None:
        """``cpu_clock``: CPU seconds of the event loop's thread, which other processes do not change."""
        self._clock = clock
        self.cpu_clock = cpu_clock
        self._paid: dict[str, float] = {}
        """When each namespace's use is paid off, by the clock."""
        self._over_until = 0.0
        """Until when a namespace may owe more than BURST_SECONDS, by the clock."""

    def charge(self, namespace: str, seconds: float) -> None:
        """Adds ``seconds`` to what the namespace has used."""
        now = self._clock()
        most = now + (BURST_SECONDS + LONGEST_DEBT_SECONDS) / SHARE
        self._paid[namespace] = min(most, max(now, self._paid.get(namespace, now)) + seconds / SHARE)
        self._over_until = max(self._over_until, self._paid[namespace] - BURST_SECONDS / SHARE)
        if len(self._paid) > KEPT:
            self._paid = {name: paid for name, paid in self._paid.items() if paid > now}

    def is_over(self, namespace: str) -> bool:
        """Whether the namespace has used more than its share."""
        return self._paid.get(namespace, 0.0) - self._clock() > BURST_SECONDS / SHARE

    def any_over(self) -> bool:
        """Whether any namespace has used more than its share."""
        return self._clock() < self._over_until

    @coroutine
    def charged(self, namespace: str, work: Coroutine[Any, Any, T]) -> Generator[Any, Any, T]:
        """Awaits ``work`` and charges its steps to the namespace, each without SHORT_STEP_SECONDS."""
        step: Callable[[], Any] = partial(work.send, None)
        while True:
            began = self.cpu_clock()
            try:
                waits_for = step()
            except StopIteration as ended:
                result: T = ended.value
                return result
            finally:
                seconds = self.cpu_clock() - began - SHORT_STEP_SECONDS
                if seconds > 0:
                    self.charge(namespace, seconds)
            try:
                step = partial(work.send, (yield waits_for))
            except GeneratorExit:
                work.close()
                raise
            except BaseException as error:  # noqa: BLE001 - it is the work's to catch
                step = partial(work.throw, error)
