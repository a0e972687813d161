"""The order of the scaling decisions in one sampling: namespaces alternate, and none delays the others.

A decision may take a tenth of a second: 16 schedules, each searched over decades for its last start. A user
may have thousands of such resources. Without limits one sampling took minutes, and delayed the next one of
all namespaces.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Callable, Container, Iterable, Mapping

from tacho_operator.shell.loads import TimedLoad
from tacho_operator.shell.workqueue import Key, Priority, PriorityLines

NAMESPACE_SHARE = 0.1
"""Share of the period that a namespace's decisions may take while those of others wait. 3,000 ordinary
decisions take less.
"""
ALL_SHARE = 0.5
"""Share of the period after which no namespace goes on beyond NAMESPACE_SHARE, so that the next sampling
begins in time. Decisions get half of a busy event loop.
"""


class PendingDecisions:
    """The resources of one sampling that still wait for their decision, and what their pods answered."""

    def __init__(
        self,
        watched: Iterable[Key],
        with_pods: Container[str],
        clock: Callable[[], float],
        period_seconds: float,
    ) -> None:
        """``with_pods``: the namespaces in which pods are read."""
        self._clock = clock
        self._period_seconds = period_seconds
        self.answers: dict[str, TimedLoad] = {}
        """The loads that were read so far, by address."""
        self.times: dict[str, float] = {}
        """When all pods of each namespace were read: the time of its decisions, after all of its samples."""
        self._used: defaultdict[str, float] = defaultdict(float)
        """CPU seconds of the decisions so far, by namespace."""
        self._unread: dict[str, list[Key]] = {}
        self._lines: PriorityLines[Key] = PriorityLines()
        self._changed = asyncio.Event()
        self._reading: asyncio.Task[dict[str, TimedLoad]] | None = None
        """The reading of all pods, once it has ended."""
        for key in watched:
            self._unread.setdefault(key.namespace, []).append(key)
        for namespace in [name for name in self._unread if name not in with_pods]:
            self.read(namespace, {})

    def read(self, namespace: str, answers: Mapping[str, TimedLoad]) -> None:
        """Notes that the pods of a namespace are read, but for those that did not answer before."""
        self.answers.update(answers)
        self.times[namespace] = self._clock()
        for key in self._unread.pop(namespace, ()):
            self._lines.add(key, namespace, Priority.ROUTINE)
        self._changed.set()

    def ended(self, reading: asyncio.Task[dict[str, TimedLoad]]) -> None:
        """Notes that the reading of all pods has ended, of some maybe without an answer."""
        self._reading = reading
        self._changed.set()

    def charge(self, namespace: str, cpu_seconds: float) -> None:
        """Notes what a decision of the namespace took."""
        self._used[namespace] += cpu_seconds

    def left(self) -> tuple[Key, ...]:
        """The resources that were not decided, in their order."""
        return tuple(iter(self._lines.take, None))

    async def next(self) -> Key | None:
        """The resource to decide next; None: the sampling is over. Raises the error of the reading.

        A namespace that has used its share goes on when all others are decided, as long as the period allows.
        """
        while (key := self._lines.take(self._within_share) or self._beyond_share()) is None:
            if self._reading is None:
                self._changed.clear()
                await self._changed.wait()
                continue
            answers = self._reading.result()
            if not self._unread:
                return None
            for namespace in list(self._unread):
                self.read(namespace, answers)
        return key

    def _within_share(self, namespace: str) -> bool:
        return self._used[namespace] < NAMESPACE_SHARE * self._period_seconds

    def _beyond_share(self) -> Key | None:
        used = sum(self._used.values())
        if self._unread or used >= ALL_SHARE * self._period_seconds:
            return None
        return self._lines.take()
