"""Reads the children of a resource of which some are not stored, so that a decision knows all of them."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from tacho_operator.core.names import DEPLOYMENT_LABEL
from tacho_operator.core.pauses import doubling_seconds
from tacho_operator.shell.kube import Kube
from tacho_operator.shell.store.objects import child_limit
from tacho_operator.shell.store.store import Store
from tacho_operator.shell.workqueue import Key

CHILDREN = (
    "ControllerRevision",
    "Deployment",
    "ReplicaSet",
    "Service",
    "ConfigMap",
    "NetworkPolicy",
    "PodDisruptionBudget",
    "Pod",
)
"""Kinds of children, which carry the resource's label."""
FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 1.0, 120.0
"""Pause after a read, which doubles: who edits a namespace can make children unknown again and again."""
QUIET_SECONDS = 600.0
"""Seconds without a read after which the next one counts as the first."""


class ChildReads:
    """Reads of children, by resource."""

    def __init__(self, kube: Kube, store: Store, clock: Callable[[], float] = time.monotonic) -> None:
        self._kube, self._store, self._clock = kube, store, clock
        self._ended: dict[Key, tuple[int, float]] = {}
        """Number of reads, none of them QUIET_SECONDS after the other, and when the last one ended."""

    def forget(self, key: Key) -> None:
        self._ended.pop(key, None)

    def is_due(self, key: Key) -> bool:
        """Whether the pause after the last read is over."""
        if key not in self._ended:
            return True
        count, ended = self._ended[key]
        return self._clock() >= ended + doubling_seconds(FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS, count)

    async def read(self, key: Key) -> None:
        """Stores the children. Where there is still no place for all, the resource stays incomplete."""
        before = self._store.bounds.over_limit[key]
        if not await self._put_all(key, before):
            return
        count, ended = self._ended.get(key, (0, 0.0))
        now = self._clock()
        self._ended[key] = (count + 1 if now - ended < QUIET_SECONDS else 1, now)

    async def _put_all(self, key: Key, before: int) -> bool:
        """Returns False where a list that began meanwhile would remove what is put."""
        for kind in CHILDREN:
            count = 0
            async for page in self._kube.pages(kind, key.namespace, f"{DEPLOYMENT_LABEL}={key.name}"):
                if self._store.stale(key.namespace):
                    return False
                for item in page.items:
                    self._store.put(kind, item, live=True)
                count += len(page.items)
                if count > 2 * child_limit(kind) or self._store.bounds.over_limit[key] > before:
                    return True
                await asyncio.sleep(0)
        if self._store.bounds.over_limit[key] == before:  # else an event meanwhile had no place
            self._store.bounds.complete(key)
        return True
