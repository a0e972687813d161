"""Deletes what a deleted LLMDeployment left behind, once a new one has its name.

Kubernetes' garbage collector does so too, but may be minutes late, as after restarts of the API server. Its
former pods would hold GPUs meanwhile, and serve. Where no resource has the name, it is left to the collector.

The store may be late, so each deletion rests on two live reads. The child has still that owner alone, and the
resource of the owner's name has another uid. The child is deleted only as it was read.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from datetime import datetime
from heapq import heappush, heappushpop
from itertools import chain, count, islice, zip_longest
from typing import TypeVar

from tacho_operator.api import API_VERSION, KIND
from tacho_operator.core.former_children import is_empty, is_former
from tacho_operator.core.pauses import doubling_seconds
from tacho_operator.core.problems import former_child_stays
from tacho_operator.core.types import Manifest, ResourceEvent
from tacho_operator.shell.api_errors import ApiError, Forbidden, Invalid
from tacho_operator.shell.bounded_reading import METADATA_ONLY, TOO_LONG
from tacho_operator.shell.events import warning
from tacho_operator.shell.kube import SIZE_MANAGER, Kube
from tacho_operator.shell.observe import CHILDREN
from tacho_operator.shell.server_clock import utc_now
from tacho_operator.shell.store.store import Orphan, Store
from tacho_operator.shell.workqueue import Key

logger = logging.getLogger(__name__)

KINDS = tuple(kind for kind in CHILDREN if kind != "ReplicaSet")
PERIOD_SECONDS, LONGEST_PAUSE_SECONDS = 5.0, 120.0
"""Seconds between two rounds, and the longest pause after failures with one child."""
COLLECTION_SECONDS = 30.0
"""Seconds since this process first saw a former child, for which it is left to the garbage collector."""
EMPTYING_SECONDS = 60.0
"""Seconds that a Deployment has until its pods are gone; then it is deleted, and the collector takes them."""
ROUND_LIMIT = 100
"""Most objects that are unpacked, and most that are tried, in a round. Anyone can forge thousands."""
TRY_SECONDS, ROUND_SECONDS = 10.0, 30.0
"""Longest time for the first try of one child, and time after which no other begins in a round: a webhook may
take 30 s for each request.
"""
LONGEST_TRY_SECONDS = 40.0
"""Longest time for a later try, which doubles with each failure. The API server gives up a deletion whose
client has gone, so that a webhook of 10 s would keep the child.
"""

T = TypeVar("T")
PostEvents = Callable[[Manifest, Iterable[ResourceEvent], datetime], Awaitable[None]]
"""Callback that posts events of a resource."""


def _is_former(child: Manifest, orphan: Orphan) -> bool:
    """False for a child that was cut, perhaps among its owners: the collector reads the rest."""
    is_cut = child.get(METADATA_ONLY) == TOO_LONG
    return not is_cut and is_former(
        child, uid=orphan.uid, resource=orphan.resource, owner_uid=orphan.owner_uid
    )


def _is_empty(deployment: Manifest) -> bool:
    """False where only the metadata can be read: its numbers are texts."""
    return METADATA_ONLY not in deployment and is_empty(deployment)


def in_turns(lists: Iterable[list[T]]) -> list[T]:
    """The first ROUND_LIMIT items, by turns one of each list. Which list begins is random, so that none is
    always behind the others.
    """
    mixed = list(lists)
    random.shuffle(mixed)
    turns = chain.from_iterable(zip_longest(*mixed))
    return list(islice((item for item in turns if item is not None), ROUND_LIMIT))


@dataclass(slots=True)
class _DeletionTries:
    """What is known of a former child; times by the monotonic clock."""

    due: float
    failures: int = 0
    """Number of tries in a row that failed, or found nothing to delete."""
    emptied_by: float | None = None
    """Until when its pods may end; None: it was not scaled to zero."""
    is_confirmed: bool = False
    """Whether live reads of the latest try showed that it is one."""


_Due = tuple[float, int, Orphan, _DeletionTries]
"""(when it is due, negative; a number that no other has; the child; what is known of it)."""


def keep_due(heap: list[_Due], item: _Due) -> None:
    """Adds ``item`` to those that have been due for longest, of which ROUND_LIMIT are kept."""
    if len(heap) < ROUND_LIMIT:
        heappush(heap, item)
    else:
        heappushpop(heap, item)


class FormerChildren:
    """Looks for former children in the store, and deletes them where this process leads.

    A standby waits too: after a hand-over the new leader acts at once.
    """

    def __init__(
        self,
        kube: Kube,
        store: Store,
        leads: Callable[[], bool],
        post: PostEvents,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """``post`` posts an event of the resource that has the name now."""
        self._kube, self._store, self._leads, self._post, self._clock = kube, store, leads, post, clock
        self._seen: dict[tuple[str, str], _DeletionTries | str] = {}
        """By uid and controller's uid of each unpacked orphan; a text: this version is no former child."""

    async def run(self) -> None:
        """Runs until cancelled."""
        while True:
            await asyncio.sleep(PERIOD_SECONDS)
            try:
                await self.round()
            except Exception:
                logger.exception("children of deleted resources were not looked for")

    async def round(self) -> None:
        """Looks once for former children, and tries those whose wait is over."""
        live: dict[Key, str] = {}
        reported: set[Key] = set()
        ends = self._clock() + ROUND_SECONDS
        for orphan, tries in await self._due_children():
            if not self._leads() or self._clock() > ends:
                return
            if self._store.stale(orphan.namespace):
                continue
            try:
                longest = doubling_seconds(TRY_SECONDS, LONGEST_TRY_SECONDS, tries.failures + 1)
                async with asyncio.timeout(longest):
                    is_ending = await self._delete_child(orphan, tries, live)
                tries.failures = 0 if is_ending else tries.failures + 1
            except Exception as error:  # whatever one child is, the others are tried
                tries.failures += 1
                level = logging.WARNING if tries.failures == 1 else logging.DEBUG
                unexpected = not isinstance(error, ApiError | TimeoutError)
                text = "%s %s/%s of a deleted resource is not deleted yet: %s %s"
                what = (*orphan[:3], type(error).__name__, error)
                logger.log(level, text, *what, exc_info=unexpected)
                if isinstance(error, Forbidden | Invalid) and tries.is_confirmed:
                    await self._report_refusal(orphan, tries, error, reported)
            pause = doubling_seconds(PERIOD_SECONDS, LONGEST_PAUSE_SECONDS, tries.failures)
            tries.due = self._clock() + pause

    async def _due_children(self) -> list[tuple[Orphan, _DeletionTries]]:
        """The former children to try now, last those that failed most. New orphans are unpacked, and wait."""
        now = self._clock()
        seen: dict[tuple[str, str], _DeletionTries | str] = {}
        new: defaultdict[str, list[Orphan]] = defaultdict(list)
        changed: defaultdict[str, list[Orphan]] = defaultdict(list)
        due: defaultdict[str, list[_Due]] = defaultdict(list)
        order = count()
        async for part in self._store.orphans(KINDS):
            for orphan in part:
                tries = self._seen.get((orphan.uid, orphan.owner_uid))
                if tries is not None:
                    seen[orphan.uid, orphan.owner_uid] = tries
                if isinstance(tries, _DeletionTries):
                    if tries.due <= now:
                        keep_due(due[orphan.namespace], (-tries.due, next(order), orphan, tries))
                elif tries != orphan.version:
                    unread = new if tries is None else changed
                    if len(unread[orphan.namespace]) < ROUND_LIMIT:
                        unread[orphan.namespace].append(orphan)
        for orphan in in_turns([*new[namespace], *changed[namespace]] for namespace in {**new, **changed}):
            await asyncio.sleep(0)
            stored = self._store.read(orphan.kind, (orphan.namespace, orphan.name))
            is_candidate = stored is not None and _is_former(stored, orphan)
            wait = _DeletionTries(due=now + COLLECTION_SECONDS) if is_candidate else orphan.version
            seen[orphan.uid, orphan.owner_uid] = wait
        self._seen = seen
        found = in_turns(sorted(waiting, reverse=True) for waiting in due.values())
        return sorted(((orphan, tries) for *_, orphan, tries in found), key=lambda item: item[1].failures)

    async def _delete_child(self, orphan: Orphan, tries: _DeletionTries, live: dict[Key, str]) -> bool:
        """Deletes the child if it is a former one by live reads; a Deployment once it is empty. Returns
        whether it is a former one.

        ``live``: uid of each resource that was read in this round, "" where there is none. All these reads
        are later than those owners, so that another uid means that the owner is gone.
        """
        tries.is_confirmed = False
        kind, namespace, name = orphan[:3]
        child = await self._kube.get(kind, namespace, name)
        if child is None or not _is_former(child, orphan):
            return False
        key = Key(namespace, orphan.resource)
        if key not in live:
            found = await self._kube.get("LLMDeployment", *key)
            live[key] = found["metadata"]["uid"] if found else ""
        if live[key] in ("", orphan.owner_uid):
            return False
        tries.is_confirmed = True
        version = child["metadata"]["resourceVersion"]
        if kind == "Deployment" and not _is_empty(child) and not self._is_over(tries):
            if (child.get("spec") or {}).get("replicas") != 0:
                what = {"name": name, "namespace": namespace, "resourceVersion": version}
                none = {"apiVersion": "apps/v1", "kind": kind, "metadata": what, "spec": {"replicas": 0}}
                await self._kube.apply(none, uid=orphan.uid, manager=SIZE_MANAGER)
            return True
        if await self._kube.delete(kind, namespace, name, uid=orphan.uid, version=version):
            text = "%s %s/%s of a deleted resource was not garbage-collected: it is deleted now"
            logger.warning(text, kind, namespace, name)
        return True

    async def _report_refusal(
        self, orphan: Orphan, tries: _DeletionTries, error: ApiError, reported: set[Key]
    ) -> None:
        """Tells of a refused deletion at each doubling of the failures: nothing else shows what has the
        GPUs. ``reported``: the resources of which this round has posted an event.
        """
        key = Key(orphan.namespace, orphan.resource)
        found = self._store.find("LLMDeployment", *key)
        if found is None or key in reported or tries.failures & (tries.failures - 1):
            return
        reported.add(key)
        metadata = {**key._asdict(), "uid": found[0], "resourceVersion": found[1]}
        resource = {"apiVersion": API_VERSION, "kind": KIND, "metadata": metadata}
        problem = former_child_stays(orphan.kind, orphan.name, error.message)
        await self._post(resource, [warning(problem)], utc_now())

    def _is_over(self, tries: _DeletionTries) -> bool:
        """Whether a Deployment had EMPTYING_SECONDS until its pods are gone; the first call begins them."""
        if tries.emptied_by is None:
            tries.emptied_by = self._clock() + EMPTYING_SECONDS
        return self._clock() >= tries.emptied_by
