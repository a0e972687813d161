"""Whether the pods that were ready still are, while a reconcile writes for long."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from tacho_operator.core.pods.view import PodView
from tacho_operator.core.types import Observed
from tacho_operator.shell.store.expectations import RecordingClient
from tacho_operator.shell.store.store import Store
from tacho_operator.shell.workqueue import Key

CHECK_SECONDS = 1.0
"""Seconds between two checks: a resource may have thousands of pods, and its usual writes take less."""

MOST_EARLY = 3
"""Most passes in a row that end early: somebody may change a ready pod each second, and webhooks be slow."""


class DecisionOutdated(Exception):
    """What a decision rests on has changed before any child was written for it."""


@asynccontextmanager
async def unless_outdated(is_outdated: Callable[[], bool]) -> AsyncIterator[None]:
    """Cancels its body once ``is_outdated``, and raises DecisionOutdated. The body must write nothing."""
    loop = asyncio.get_running_loop()
    due: asyncio.TimerHandle

    def check() -> None:
        nonlocal due
        if is_outdated():
            limit.reschedule(loop.time())
        else:
            due = loop.call_later(CHECK_SECONDS, check)

    try:
        async with asyncio.timeout(None) as limit:
            due = loop.call_later(CHECK_SECONDS, check)
            try:
                yield
            finally:
                due.cancel()
    except TimeoutError:
        if not limit.expired():
            raise
        raise DecisionOutdated from None


class ReadyPods:
    """The pods that were ready when they were observed, by name."""

    def __init__(self, store: Store, observed: Observed, kube: RecordingClient) -> None:
        self._store, self._kube = store, kube
        self._namespace = str(observed.raw["metadata"]["namespace"])
        ready = (pod["metadata"] for pod in observed.pods if PodView(pod).ready)
        self._versions = {item["name"]: (item.get("uid"), item.get("resourceVersion")) for item in ready}
        self._next_check = time.monotonic() + CHECK_SECONDS

    def changed(self) -> bool:
        """Whether one of them has gone, or was changed by others, so that Ready may be lost."""
        if time.monotonic() < self._next_check:
            return False
        self._next_check = time.monotonic() + CHECK_SECONDS
        return any(self._has_changed(name, *known) for name, known in self._versions.items())

    def _has_changed(self, name: str, uid: str, version: str) -> bool:
        own = self._kube.written.get(("Pod", self._namespace, name))
        if own is not None and not own.version:  # the operator deletes it
            return False
        found = self._store.find("Pod", self._namespace, name)
        return found is None or found not in ((uid, version), (uid, own.version if own else version))


class EarlyEnds:
    """How many passes of each resource have ended early in a row. Status is written by the others alone."""

    def __init__(self) -> None:
        self._counts: dict[Key, int] = {}

    def check(self, key: Key, pods: ReadyPods) -> Callable[[], bool]:
        """Function that tells whether the present pass ends early."""
        former = self._counts.pop(key, 0)

        def is_outdated() -> bool:
            if former >= MOST_EARLY or not pods.changed():
                return False
            self._counts[key] = former + 1
            return True

        return is_outdated

    def forget(self, key: Key) -> None:
        """Drops the count of a deleted resource."""
        self._counts.pop(key, None)
