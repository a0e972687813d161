"""Writes Kubernetes events of a resource: one object for each reason, whose series counts the repetitions.

They are written as v1 Events, since events.k8s.io/v1 does not let a repeated event change its note. Both APIs
show the same objects.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import os
from collections import Counter
from collections.abc import Iterable
from datetime import datetime
from functools import partial
from typing import Any
from weakref import WeakValueDictionary

from tacho_contract.text import visible
from tacho_contract.units import format_time
from tacho_operator.core.problems import Problem
from tacho_operator.core.types import Manifest, ResourceEvent
from tacho_operator.shell.api_errors import ApiError, Conflict
from tacho_operator.shell.kube import FIELD_MANAGER, Kube

logger = logging.getLogger(__name__)

ACTION = "Reconcile"
PATIENCE_SECONDS = 1.0
"""Seconds that a reconcile waits for its events."""
NAMESPACE_AT_ONCE = 4
"""Most postings of a namespace under way at the same time, as its webhooks may hang."""
AT_ONCE = 32
"""Most postings under way in all: each has a connection, and a webhook may hang in hundreds of namespaces."""
MOST_WAITING = 100
"""Most postings of a namespace that have not ended; later events are left out, and logged."""
LONGEST_NOTE_BYTES = 1024
"""Longest note of an event in bytes of UTF-8; the API server refuses a longer one."""
MOST_COUNT = 2**31 - 1
"""The API server refuses a higher count, which an edited event could bring: later ones would not count."""


def warning(problem: Problem) -> ResourceEvent:
    """The event of a problem."""
    return ResourceEvent(type="Warning", reason=problem.reason, message=problem.message)


def event_manifests(raw: Manifest, events: Iterable[ResourceEvent], now: datetime) -> list[Manifest]:
    """The events as objects. Several of one reason in the same pass are one object each."""
    counts: Counter[str] = Counter()
    found = []
    for event in events:
        found.append(_manifest(raw, event, now, ordinal=counts[event.reason]))
        counts[event.reason] += 1
    return found


async def post_events(kube: Kube, manifests: Iterable[Manifest]) -> None:
    """Posts events one after the other. A refused one is logged and delays no other work."""
    for manifest in manifests:
        try:
            await _post(kube, manifest)
        except ApiError as error:
            logger.warning("event %s: %s", manifest["reason"], error)


class EventPosts:
    """Posts the events of all resources; those of one resource in their order.

    A reconcile waits for its own only a moment. A webhook that takes seconds for each of their requests kept
    ``Ready`` as it was for a minute.
    """

    def __init__(self, kube: Kube) -> None:
        self._kube = kube
        self._last: dict[str, asyncio.Task[None]] = {}
        """The newest posting of each resource that has one, by uid."""
        self._waiting: Counter[str] = Counter()
        """Number of postings that have not ended, by namespace."""
        self._shares: WeakValueDictionary[str, asyncio.Semaphore] = WeakValueDictionary()
        self._all = asyncio.Semaphore(AT_ONCE)
        self._postings: set[asyncio.Task[None]] = set()

    async def run(self) -> None:
        """Runs until cancelled. Then events that wait are left out, as their connections are closed next."""
        try:
            await asyncio.Event().wait()
        finally:
            postings = tuple(self._postings)
            for posting in postings:
                posting.cancel()
            await asyncio.gather(*postings, return_exceptions=True)

    async def post(self, raw: Manifest, events: Iterable[ResourceEvent], now: datetime) -> None:
        """Posts the events; those that take longer than PATIENCE_SECONDS, later."""
        manifests = event_manifests(raw, events, now)
        namespace, uid = raw["metadata"]["namespace"], raw["metadata"]["uid"]
        if not manifests:
            return
        if self._waiting[namespace] >= MOST_WAITING:
            what = ", ".join(item["reason"] for item in manifests)
            logger.warning("event %s: left out, as %d others of %s wait", what, MOST_WAITING, namespace)
            return
        posting = asyncio.create_task(self._post(namespace, manifests, self._last.get(uid)))
        self._last[uid] = posting
        self._postings.add(posting)
        self._waiting[namespace] += 1
        posting.add_done_callback(partial(self._ended, namespace, uid))
        await asyncio.wait([posting], timeout=PATIENCE_SECONDS)

    async def _post(
        self, namespace: str, manifests: list[Manifest], former: asyncio.Task[None] | None
    ) -> None:
        if former is not None:
            await asyncio.wait([former])
        async with self._shares.setdefault(namespace, asyncio.Semaphore(NAMESPACE_AT_ONCE)), self._all:
            await post_events(self._kube, manifests)

    def _ended(self, namespace: str, uid: str, posting: asyncio.Task[None]) -> None:
        self._postings.discard(posting)
        self._waiting[namespace] -= 1
        if not self._waiting[namespace]:
            del self._waiting[namespace]
        if self._last.get(uid) is posting:
            del self._last[uid]
        if not posting.cancelled() and (error := posting.exception()) is not None:
            logger.error("events were not posted", exc_info=error)


async def _post(kube: Kube, manifest: Manifest) -> None:
    """Creates the event or, where it exists, adds one to the count of its series.

    The latter takes three requests, but no permission to read events: a patch returns the object.
    """
    try:
        await kube.create(manifest)
    except Conflict:
        newest = {name: manifest[name] for name in ("type", "message", "lastTimestamp")}
        live = await kube.merge(manifest, newest)
        await kube.merge(manifest, _series(live, manifest["eventTime"]))


def _series(live: Manifest, moment: str) -> dict[str, Any]:
    """The fields of an event after a repetition: the series, and the older ``count`` for clients of v1."""
    known = max((live.get("series") or {}).get("count") or 0, live.get("count") or 1)
    count = min(MOST_COUNT, known + 1)
    return {"count": count, "series": {"count": count, "lastObservedTime": moment}}


def _manifest(raw: Manifest, event: ResourceEvent, now: datetime, *, ordinal: int) -> Manifest:
    metadata, moment = raw["metadata"], format_time(now)
    identity = f"{metadata['uid']} {event.reason} {ordinal}"
    return {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {
            "name": f"{metadata['name']}.{hashlib.sha256(identity.encode()).hexdigest()[:16]}",
            "namespace": metadata["namespace"],
        },
        "involvedObject": {
            "apiVersion": raw["apiVersion"],
            "kind": raw["kind"],
            "name": metadata["name"],
            "namespace": metadata["namespace"],
            "uid": metadata["uid"],
            "resourceVersion": metadata["resourceVersion"],
        },
        "type": event.type,
        "reason": event.reason,
        "message": visible(event.message).encode()[:LONGEST_NOTE_BYTES].decode(errors="ignore"),
        "action": ACTION,
        "source": {"component": FIELD_MANAGER},
        "reportingComponent": FIELD_MANAGER,
        "reportingInstance": os.uname().nodename,
        "eventTime": now.strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
        "firstTimestamp": moment,
        "lastTimestamp": moment,
        "count": 1,
    }
