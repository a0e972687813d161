"""What was written has to be seen before the next decision: else a thing is made twice, or undone."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any

from tacho_operator.core.names import DEPLOYMENT_LABEL
from tacho_operator.core.types import Manifest
from tacho_operator.shell.kube import FIELD_MANAGER, Kube
from tacho_operator.shell.store.store import Store, later

KEPT_OUT = frozenset({"Event"})
"""Written and never read."""


@dataclass(frozen=True, slots=True)
class Awaited:
    """One object as a write left it."""

    kind: str
    namespace: str
    name: str
    uid: str
    version: str
    """"": it was deleted."""

    @property
    def place(self) -> tuple[str, str, str]:
        """What tells it apart from other objects: of two writes to one, the later counts."""
        return (self.kind, self.namespace, self.name)

    def seen(self, store: Store) -> bool:
        found = store.find(self.kind, self.namespace, self.name)
        if not self.version:
            gone = found is None or found[0] != self.uid
            return gone or store.leaving(self.kind, self.namespace, self.name)
        streams = (store.streams.get((self.kind, place), "") for place in {self.namespace, ""})
        if any(version and later(version, self.version) for version in streams):
            return True
        return found is not None and found[0] == self.uid and later(found[1], self.version)


class Noting(Kube):
    """The same requests, remembering what they wrote. One for each turn."""

    def __init__(self, kube: Kube) -> None:
        self._kube = kube
        self.written: dict[tuple[str, str, str], Awaited] = {}
        self.writes = 0

    def _note(self, manifest: Manifest) -> None:
        metadata = manifest["metadata"]
        self._keep(
            Awaited(
                manifest["kind"],
                metadata["namespace"],
                metadata["name"],
                metadata["uid"],
                metadata["resourceVersion"],
            )
        )

    def _keep(self, awaited: Awaited) -> None:
        self.written[awaited.place] = awaited

    async def get(self, kind: str, namespace: str | None, name: str) -> Manifest | None:
        """What a live read shows, the store shall show too; a stranger's object it never will."""
        found = await self._kube.get(kind, namespace, name)
        if found is not None and DEPLOYMENT_LABEL in (found["metadata"].get("labels") or {}):
            self._note({**found, "kind": kind})
        return found

    async def create(self, manifest: Manifest) -> Manifest:
        self.writes += 1
        made = await self._kube.create(manifest)
        if manifest["kind"] not in KEPT_OUT:
            self._note({**made, "kind": manifest["kind"]})
        return made

    async def apply(
        self, manifest: Manifest, *, uid: str, subresource: str = "", manager: str = FIELD_MANAGER
    ) -> Manifest:
        self.writes += 1
        made = await self._kube.apply(manifest, uid=uid, subresource=subresource, manager=manager)
        self._note({**made, "kind": manifest["kind"]})
        return made

    async def patch_json(self, live: Manifest, operations: list[dict[str, Any]]) -> Manifest:
        self.writes += 1
        made = await self._kube.patch_json(live, operations)
        self._note({**made, "kind": live["kind"]})
        return made

    async def annotate(self, live: Manifest, annotations: dict[str, str]) -> Manifest:
        self.writes += 1
        made = await self._kube.annotate(live, annotations)
        self._note({**made, "kind": live["kind"]})
        return made

    async def delete(self, kind: str, namespace: str, name: str, *, uid: str) -> None:
        self.writes += 1
        await self._kube.delete(kind, namespace, name, uid=uid)
        self._keep(Awaited(kind, namespace, name, uid, ""))


async def seen(store: Store, awaited: tuple[Awaited, ...], seconds: float) -> bool:
    """Waits until the store shows all of it; False when it does not in that time."""
    try:
        async with asyncio.timeout(seconds):
            while not all(item.seen(store) for item in awaited):
                await store.changed()
    except TimeoutError:
        return False
    return True
