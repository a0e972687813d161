"""Waits until the watch has delivered the operator's own writes before the next decision, as informer caches
do.

Without it the operator would create a child twice, or undo a change.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tacho_operator.core.names import DEPLOYMENT_LABEL
from tacho_operator.core.types import Manifest
from tacho_operator.shell.kube import FIELD_MANAGER, Kube
from tacho_operator.shell.store.store import Store, later
from tacho_operator.shell.workqueue import Key

SEEN_SECONDS, BUSY_SEEN_SECONDS = 10.0, 1.0
"""Seconds for which a reconcile waits until the store has the operator's own writes; then it is retried.

They are fewer where MOST_WAITING wait already: a watch that delivers nothing would hold every worker.
"""
MOST_WAITING = 8


class UnseenWrites(RuntimeError):
    """The store does not have the operator's own writes yet, so that a decision could undo them."""


@dataclass(frozen=True, slots=True)
class Expectation:
    """The version of an object after the operator's write. The watch must deliver it, or a later one, before
    the next decision.
    """

    kind: str
    namespace: str
    name: str
    uid: str
    version: str
    """resourceVersion after the write; "": the write deleted the object."""

    @property
    def place(self) -> tuple[str, str, str]:
        """Kind, namespace and name of the object: of two writes to one object, only the later one counts."""
        return (self.kind, self.namespace, self.name)

    def seen(self, store: Store) -> bool:
        found = store.find(self.kind, self.namespace, self.name)
        deleted = found is None or found[0] != self.uid
        if not self.version:
            return deleted or store.leaving(self.kind, self.namespace, self.name)
        streams = (store.streams.get((self.kind, place), "") for place in {self.namespace, ""})
        if any(version and later(version, self.version) for version in streams):
            return True
        return found is not None and found[0] == self.uid and later(found[1], self.version)


class RecordingClient(Kube):
    """A Kubernetes client that records its own writes as expectations. Each reconcile has its own."""

    def __init__(self, kube: Kube) -> None:
        self._kube = kube
        self.written: dict[tuple[str, str, str], Expectation] = {}
        self.applied: list[Manifest] = []
        """Manifests of the objects that were created or applied, as sent."""

    def _expect(self, kind: str, written: Manifest) -> Manifest:
        names = ("namespace", "name", "uid", "resourceVersion")
        self._keep(Expectation(kind, *(written["metadata"][name] for name in names)))
        return written

    def _keep(self, expected: Expectation) -> None:
        self.written[expected.place] = expected

    async def get(self, kind: str, namespace: str | None, name: str) -> Manifest | None:
        """The object from a live read; the version of an object with tacho's label becomes an expectation
        too."""
        found = await self._kube.get(kind, namespace, name)
        if found is not None and DEPLOYMENT_LABEL in (found["metadata"].get("labels") or {}):
            self._expect(kind, found)
        return found

    async def create(self, manifest: Manifest) -> Manifest:
        made = await self._kube.create(manifest)
        self.applied.append(manifest)
        return self._expect(manifest["kind"], made)

    async def apply(
        self, manifest: Manifest, *, uid: str, subresource: str = "", manager: str = FIELD_MANAGER
    ) -> Manifest:
        made = await self._kube.apply(manifest, uid=uid, subresource=subresource, manager=manager)
        self.applied.append(manifest)
        return self._expect(manifest["kind"], made)

    async def merge(self, target: Manifest, body: dict[str, Any], subresource: str = "") -> Manifest:
        made = await self._kube.merge(target, body, subresource)
        return self._expect(target["kind"], made)

    async def annotate(self, live: Manifest, annotations: dict[str, str]) -> Manifest:
        return self._expect(live["kind"], await self._kube.annotate(live, annotations))

    async def delete(self, kind: str, namespace: str, name: str, *, uid: str, version: str = "") -> bool:
        is_deleted = await self._kube.delete(kind, namespace, name, uid=uid, version=version)
        if is_deleted:  # else a webhook may keep it for ever
            self._keep(Expectation(kind, namespace, name, uid, ""))
        return is_deleted


async def seen(store: Store, expected: tuple[Expectation, ...], seconds: float) -> bool:
    """Waits until the store has all ``expected`` versions; False when it does not within ``seconds``.

    One after the other: checking 2,000 deletions again at each watch event blocked other reconciles for 10 s.
    """
    try:
        async with asyncio.timeout(seconds):
            for item in expected:
                while not item.seen(store):
                    await store.changed()
    except TimeoutError:
        return False
    return True


class OwnWrites:
    """The operator's last writes of each resource, which the next reconcile waits for."""

    def __init__(self, store: Store, on_unseen: Callable[[], None]) -> None:
        self._store, self._on_unseen = store, on_unseen
        self._expectations: dict[Key, tuple[Expectation, ...]] = {}
        self._waiting = 0
        """Number of reconciles that wait."""

    async def until_seen(self, key: Key) -> None:
        """Waits until the store has the resource's last writes. Raises UnseenWrites."""
        seconds = SEEN_SECONDS if self._waiting < MOST_WAITING else BUSY_SEEN_SECONDS
        self._waiting += 1
        try:
            if await seen(self._store, self._expectations.get(key, ()), seconds):
                return
        finally:
            self._waiting -= 1
        self._on_unseen()
        raise UnseenWrites("the watches have not delivered the operator's own writes yet")

    def remember(self, key: Key, kube: RecordingClient) -> None:
        self._expectations[key] = tuple(kube.written.values())

    def forget(self, key: Key) -> None:
        self._expectations.pop(key, None)
