"""LLMDeployments beyond those that are held of a namespace: told so once, and taken in where there is place.

Of these nothing is kept but their number. So a namespace that has more is listed where it has changed: a held
resource was deleted, or another was made.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime

from tacho_operator.core.places import ResourceOrder, rank, reports_full
from tacho_operator.core.problems import Problem, refusal_problem
from tacho_operator.core.status.undecided import StoredResource, namespace_full, undecided_status
from tacho_operator.core.types import Manifest
from tacho_operator.shell.api_errors import ApiError, Forbidden, Invalid
from tacho_operator.shell.bounded_reading import METADATA_ONLY
from tacho_operator.shell.events import event_manifests, post_events, warning
from tacho_operator.shell.kube import Kube
from tacho_operator.shell.server_clock import utc_now
from tacho_operator.shell.status_writes import write_status
from tacho_operator.shell.store.store import Store

logger = logging.getLogger(__name__)

KIND = "LLMDeployment"
PERIOD_SECONDS = 10.0
"""Seconds between two rounds."""
REPORTED_LIMIT, REPORTED_PER_SECOND = 1000, 25.0
"""Most resources of a namespace whose status is written in a round, and in a second."""
REPORTED_AT_ONCE = 5
PAGE_PAUSE_SECONDS = 0.05
"""Seconds between two pages of a list, of which one takes about 10 ms of the event loop."""
LISTS_AT_ONCE, BATCHES_AT_ONCE = 2, 2
"""Most namespaces that are listed at the same time, and that statuses are written in: each holds objects."""
ROUND_SECONDS = 600.0
"""Longest time for one namespace in a round."""


class FullNamespaces:
    """Looks after the namespaces that have more LLMDeployments than are held."""

    def __init__(
        self, kube: Kube, store: Store, leads: Callable[[], bool], clock: Callable[[], datetime] = utc_now
    ) -> None:
        self._kube, self._store, self._leads, self._clock = kube, store, leads, clock
        self._led = False
        self._checks: dict[str, asyncio.Task[None]] = {}
        """The namespaces that are being looked at. One may take long: no other waits for its statuses."""
        """Of each namespace that is looked at again, the statuses that were not written."""
        self._lists = asyncio.Semaphore(LISTS_AT_ONCE)
        self._batches = asyncio.Semaphore(BATCHES_AT_ONCE)

    async def run(self) -> None:
        """Runs until cancelled."""
        try:
            while True:
                await asyncio.sleep(PERIOD_SECONDS)
                self._begin_round()
        finally:
            checks = tuple(self._checks.values())
            for task in checks:
                task.cancel()
            await asyncio.gather(*checks, return_exceptions=True)

    async def round(self) -> None:
        """Looks once at each namespace that has changed; a new leader at all."""
        await asyncio.gather(*self._begin_round())

    def _begin_round(self) -> list[asyncio.Task[None]]:
        """Begins a round: returns what looks at the namespaces that nothing looks at yet."""
        begun = []
        places = self._store.bounds.places
        was_leader, self._led = self._led, self._leads()
        if self._led and not was_leader:
            places.uncounted.update(places.unheld)
        for namespace in sorted(places.uncounted):
            if self._store.stale(namespace) or namespace in self._checks:
                continue
            places.uncounted.discard(namespace)
            self._checks[namespace] = asyncio.create_task(self._checked(namespace))
            begun.append(self._checks[namespace])
        return begun

    async def _checked(self, namespace: str) -> None:
        is_done = False
        try:
            async with asyncio.timeout(ROUND_SECONDS):
                is_done = await self._take_in(namespace)
        except Exception as error:  # whatever one namespace is, the others are looked at
            unexpected = not isinstance(error, ApiError | OSError | TimeoutError)
            text = "namespace %s has more LLMDeployments than are held, and is looked at again: %s"
            logger.warning(text, namespace, error, exc_info=unexpected)
        finally:
            del self._checks[namespace]
        if not is_done:
            self._store.bounds.places.uncounted.add(namespace)

    async def _take_in(self, namespace: str) -> bool:
        """Takes in what should be held; the leader writes the status of the others. Returns whether nothing
        is left to be done.
        """
        async with self._lists:
            first, unreported, count = await self._listed(namespace)
        for name in first:
            if not self._store.holds(KIND, namespace, name):
                found = await self._kube.get(KIND, namespace, name)
                if self._store.stale(namespace):  # a list that began meanwhile would remove it
                    return False
                if found is not None:
                    self._store.put(KIND, found, live=True)
        self._store.bounds.places.counted(namespace, max(0, count - len(first)))
        unreported = [name for name in unreported if not self._store.holds(KIND, namespace, name)]
        for start in range(0, min(len(unreported), REPORTED_LIMIT), REPORTED_AT_ONCE):
            if not self._led or not self._leads():
                return True
            part = unreported[start : start + REPORTED_AT_ONCE]
            async with self._batches:
                await asyncio.gather(*(self._report(namespace, name) for name in part))
            await asyncio.sleep(REPORTED_AT_ONCE / REPORTED_PER_SECOND)
        return len(unreported) <= REPORTED_LIMIT

    async def _listed(self, namespace: str) -> tuple[ResourceOrder, list[str], int]:
        """The namespace's resources that should be held, the names of those that status does not mark as left
        out, and the number of all.
        """
        first, unreported, unread, count = ResourceOrder(self._store.bounds.places.limit), list[str](), [], 0
        async for page in self._kube.pages(KIND, namespace):
            for item in page.items:
                name = item["metadata"]["name"]
                first.take(name, rank(item))
                count += 1
                if METADATA_ONLY in item:
                    if self._store.controls(namespace, item["metadata"]["uid"]):
                        unread.append(name)
                elif not reports_full(item) and len(unreported) <= REPORTED_LIMIT + len(first):
                    unreported.append(name)
            await asyncio.sleep(PAGE_PAUSE_SECONDS)
        for name in unread:  # its metadata does not say whether it has a revision
            if not self._store.holds(KIND, namespace, name):
                found = await self._kube.get(KIND, namespace, name)
                if found is not None:
                    first.take(name, rank(found))
        return first, unreported, count

    async def _report(self, namespace: str, name: str) -> None:
        raw: Manifest | None = await self._kube.get(KIND, namespace, name)
        is_held = self._store.holds(KIND, namespace, name)
        if raw is None or is_held or METADATA_ONLY in raw or reports_full(raw):
            return
        if not rank(raw).is_new:  # another leader has decided: the watch has not delivered that yet
            return
        problem = namespace_full(self._store.bounds.places.limit)
        status = undecided_status(StoredResource(raw=raw), problem, self._clock())
        try:
            await write_status(self._kube, raw, status)
        except ApiError as error:
            await self._post_event(raw, problem, error)
            if not error.status or error.status >= 500 or error.status == 429:
                raise
            logger.info("%s/%s cannot be told that it is not held: %s", namespace, name, error)

    async def _post_event(self, raw: Manifest, problem: Problem, error: ApiError) -> None:
        """Posts an event about ``problem`` and about the error for which the status does not say it."""
        refused = isinstance(error, Forbidden | Invalid)
        refusal = refusal_problem(error.message, invalid=isinstance(error, Invalid)) if refused else None
        if refusal is not None:
            both = replace(refusal, what=f"{problem.what} {refusal.what}")
            event = replace(warning(both), reason=problem.reason)
            await post_events(self._kube, event_manifests(raw, [event], self._clock()))
