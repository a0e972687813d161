"""Keeps the store in sync with the API server: a list, then a watch that continues where the list ended.

Built on the asynchronous client, because existing ones do not scale. ``kubernetes.informer`` runs one
blocking thread per kind, lists without pages, holds whole objects, reconnects without a pause and does not
report whether it is in sync. ``kubernetes.aio.watch`` opens a client of its own and hides reconnects. kopf
reports neither a broken stream nor objects that were deleted meanwhile, and withholds some.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Callable
from typing import Any, NamedTuple

from tacho_operator.core.pauses import doubling_seconds
from tacho_operator.shell.api_errors import (
    LONGEST_RETRY_AFTER_SECONDS,
    ApiError,
    Expired,
    Forbidden,
    Missing,
    requested_pause_seconds,
)
from tacho_operator.shell.kube import Kube
from tacho_operator.shell.store.objects import Name
from tacho_operator.shell.store.store import Store

logger = logging.getLogger(__name__)

FIRST_BACKOFF_SECONDS = 0.5
MAX_BACKOFF_SECONDS = 30.0
FORBIDDEN_SECONDS = 600.0
"""Seconds between two tries to read a kind that is forbidden and not required."""
REFUSED_SECONDS = 10.0
"""Seconds of refusals after which such a kind counts as forbidden. An API server that starts refuses
everybody, until it has read roles and bindings; plans without nodes would be frozen.
"""
SHORTEST_WATCH_SECONDS = 1.0
"""Shortest duration in seconds of a healthy watch without events. After a shorter one the next watch waits,
so that a broken proxy is not flooded.

A busy API server ends watches that delivered much; these restart at once, as no decision is made meanwhile.
"""
LASTING_SECONDS = 30.0
"""Seconds after which a watch counts as healthy even without events."""
SETTLE_SECONDS = 1.0
"""Seconds to wait after a reconnect: changes of the interruption arrive shortly after the stream starts."""


class EtcdRestored(RuntimeError):
    """The API server has an older version than the store: etcd was restored from a backup.

    Stored objects and the operator's writes may no longer exist, and version numbers are reused.
    """


def pause_seconds(failures: int, requested_seconds: float) -> float:
    """The pause in seconds before the next try, after ``failures`` failures in a row.

    It is drawn from the upper half of what it may last, and never shorter than the server's Retry-After.
    """
    longest = max(
        doubling_seconds(FIRST_BACKOFF_SECONDS, MAX_BACKOFF_SECONDS, failures),
        min(2.0 * requested_seconds, LONGEST_RETRY_AFTER_SECONDS),
    )
    return random.uniform(max(longest / 2.0, min(requested_seconds, longest)), longest)  # noqa: S311 - spreads retries, guards nothing


def check_not_older(store: Store, kind: str, namespace: str, version: str) -> None:
    """Raises EtcdRestored when the API server is at an older version than the store was."""
    last = store.streams.get((kind, namespace), "")
    if last.isdigit() and version.isdigit() and int(version) < int(last):
        raise EtcdRestored(
            f"{kind}: the API server is at version {version} and was at {last} before: its etcd was "
            "restored from a backup; the operator starts anew"
        )


class WatchScope(NamedTuple):
    """Which objects a reflector keeps in the store."""

    kind: str
    namespace: str = ""
    """Namespace to watch; "" for all namespaces."""
    selector: str = ""
    """Label selector of the objects; "" for all objects."""
    optional: bool = False
    """Whether the operator works without the right to read these objects."""


class Reflector:
    """Keeps one kind, in one namespace or in all (""), up to date in the store."""

    def __init__(
        self,
        kube: Kube,
        store: Store,
        scope: WatchScope,
        *,
        lists: asyncio.Semaphore,
        on_reconnect: Callable[[str, str], None],
    ) -> None:
        self._kube, self._store = kube, store
        self.kind, self.namespace = scope.kind, scope.namespace
        self._selector, self._optional = scope.selector, scope.optional
        self._lists = lists
        self._on_reconnect = on_reconnect
        self._version = ""
        self._last_event = time.monotonic()
        self._watching: asyncio.Timeout | None = None
        """The present watch, which ``begin_anew`` ends."""
        self._began = 0.0
        """When the last watch began, by the monotonic clock."""
        self._failures = 0
        self._refused_since: float | None = None
        """When the refusals began, by the monotonic clock; None: the last try had another result."""
        self._expired = 0
        """Number of versions in a row that were too old for a watch; reset when a watch delivers or lasts."""
        store.lost(self.kind, self.namespace, f"{self.kind}: not listed yet")

    def silent_seconds(self) -> float:
        """Seconds since the stream last delivered anything: an event, a bookmark, a list."""
        return time.monotonic() - self._last_event

    def begin_anew(self, silent_seconds: float) -> None:
        """Ends a watch that has been silent for that long: its connection may have been dropped. The next one
        goes on where it was."""
        if self._watching is not None and self.silent_seconds() >= silent_seconds:
            self._watching.reschedule(asyncio.get_running_loop().time())

    async def run(self) -> None:
        """Lists and watches until cancelled. Raises EtcdRestored: then no object in the store is valid."""
        while True:
            try:
                changes = await self._watched()
            except Expired as error:
                self._version = ""
                # An API server that was away knows no old version: that needs a list, and no pause of the
                # refused connections before. A list that is too old within moments again is no such case.
                if self._expired:
                    self._failures = max(self._failures, self._expired - 1)
                    await self._pause(error)
                else:
                    self._report_break("expired", error)
                self._expired += 1
            except Forbidden as error:
                self._version = ""
                now = time.monotonic()
                self._refused_since = now if self._refused_since is None else self._refused_since
                if self._optional and now - self._refused_since >= REFUSED_SECONDS:
                    logger.info("%s may not be read: %s", self.kind, error.message)
                    self._store.forbidden(self.kind, self.namespace)
                    await asyncio.sleep(FORBIDDEN_SECONDS)
                else:
                    await self._pause(error)
            except Missing as error:
                self._version = ""  # the kind may come back with other objects of the same names
                await self._pause(Missing(error.status, f"{error.message} (is its CRD installed?)"))
            except (ApiError, OSError, TimeoutError) as error:
                self._refused_since = None
                await self._pause(error)
            except EtcdRestored:
                raise
            except Exception as error:  # an answer that is none of Kubernetes'
                logger.exception("%s is listed anew", self.kind)
                self._version = ""
                await self._pause(error)
            else:
                self._on_reconnect(self.kind, "ended")  # the API server ends every watch now and then
                if not changes and time.monotonic() - self._began < SHORTEST_WATCH_SECONDS:
                    await asyncio.sleep(SHORTEST_WATCH_SECONDS)

    async def _watched(self) -> int:
        """Lists where no version is known, then watches; returns the number of new changes."""
        if not self._version:
            await self._list()
        elif self._failures:
            # A watch from a version that is yet to come is granted, and silent until that comes.
            where = (self.kind, self.namespace or None, self._selector)
            check_not_older(self._store, self.kind, self.namespace, await self._kube.version(*where))
        return await self._watch()

    def _report_break(self, why: str, error: Exception) -> None:
        self._failures += 1
        self._on_reconnect(self.kind, why)
        self._store.lost(self.kind, self.namespace, f"{self.kind}: {error}")

    async def _pause(self, error: Exception) -> None:
        self._report_break("broken", error)
        delay = pause_seconds(self._failures, requested_pause_seconds(error))
        place = f"namespace {self.namespace}" if self.namespace else "all namespaces"
        logger.warning("%s in %s: %s; again in %.1f s", self.kind, place, error, delay)
        await asyncio.sleep(delay)

    async def _list(self) -> None:
        """Reads the list page by page, for a few kinds at the same time, so that no process holds the whole
        cluster in memory.
        """
        names: set[Name] = set()
        async with self._lists:
            async for page in self._kube.pages(self.kind, self.namespace or None, self._selector):
                version = page.version
                check_not_older(self._store, self.kind, self.namespace, version)
                for manifest in page.items:
                    if self._put(manifest, listed=True):
                        metadata = manifest["metadata"]
                        names.add((metadata.get("namespace", ""), metadata["name"]))
                await asyncio.sleep(0)
        self._store.keep_only(self.kind, self.namespace, names)
        self._version = version
        self._store.at(self.kind, self.namespace, version)

    async def _watch(self) -> int:
        """Reads the stream until the API server ends it, which is normal. Returns the number of new changes.
        Raises Expired, ApiError.
        """
        changes, began = 0, self._version
        self._began = time.monotonic()
        async with self._kube.watch(
            self.kind, self.namespace or None, self._selector, self._version
        ) as events:
            self._last_event = time.monotonic()
            wait = SETTLE_SECONDS if self._failures else 0.0
            settled = asyncio.get_running_loop().call_later(wait, self._runs)
            lasting = asyncio.get_running_loop().call_later(LASTING_SECONDS, self._delivers)
            try:
                async with asyncio.timeout(None) as self._watching:
                    async for what, manifest in events:
                        self._handle_event(what, manifest)
                        changes += what != "BOOKMARK"
            except TimeoutError:
                raise ApiError(0, "silent, and other requests of the time had no answer") from None
            finally:
                self._watching = None
                settled.cancel()
                lasting.cancel()
        self._store.lost(self.kind, self.namespace, f"{self.kind}: the watch ended and begins anew")
        # A repeated event is nothing new: a cache in between answers so.
        return changes if self._version != began else 0

    def _runs(self) -> None:
        self._failures, self._refused_since = 0, None
        self._store.runs(self.kind, self.namespace)

    def _delivers(self) -> None:
        self._expired = 0

    def _put(self, manifest: dict[str, Any], *, listed: bool = False) -> bool:
        """Stores the object; returns False where its fields have other types than those of Kubernetes."""
        try:
            self._store.put(self.kind, manifest, listed=listed)
        except Exception:  # one object must not stop the others
            logger.exception("an object of kind %s was left out", self.kind)
            return False
        return True

    def _handle_event(self, what: str, manifest: dict[str, Any]) -> None:
        metadata = manifest["metadata"]
        if what == "DELETED":
            place = (metadata.get("namespace", ""), metadata["name"])
            self._store.remove(self.kind, *place, uid=str(metadata["uid"]))
        elif what in ("ADDED", "MODIFIED"):
            self._put(manifest)
        version = str(metadata["resourceVersion"])
        if version != self._version:
            self._delivers()
        self._version = version
        self._last_event = time.monotonic()
        self._store.at(self.kind, self.namespace, self._version)
