"""Waits until the watch has delivered the operator's own writes before the next decision, as informer caches
do.

Without it the operator would create a child twice, or undo a change.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any

from tacho_operator.core.names import DEPLOYMENT_LABEL
from tacho_operator.core.types import Manifest
from tacho_operator.shell.kube import FIELD_MANAGER, Kube
from tacho_operator.shell.store.store import Store, later


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
