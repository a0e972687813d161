"""The stored objects of one kind, compressed, with indexes by label, by controlling owner and by node."""

from __future__ import annotations

import asyncio
import enum
import time
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable
from sys import intern

from tacho_operator.core.names import DEPLOYMENT_LABEL, is_read
from tacho_operator.core.planner.history import history_from, stored_status
from tacho_operator.core.pods.view import owner_uid
from tacho_operator.core.types import Manifest, PastMeasurement
from tacho_operator.shell.bounded_reading import METADATA_ONLY
from tacho_operator.shell.kube import KINDS
from tacho_operator.shell.store.compression import Compressor
from tacho_operator.shell.store.stored_object import Kept, StoredObject, StoreState, state_of
from tacho_operator.shell.store.trimming import least_part, owner_part, weight

Name = tuple[str, str]
"""(namespace, name) of an object; the namespace is "" for cluster-scoped objects."""

POD_LIMIT, CHILD_LIMIT = 5000, 100
"""Most pods, and most objects of each other kind, that one resource may control.

Anyone who knows the resource's uid can create objects with it as controller. The operator keeps five
revisions; a rollout of 1,000 replicas has 2,000 pods.
"""
BYTES_LIMIT = 8 << 20
"""Highest ``trimming.weight`` of all pods, and of all other children together, that a resource may control.

Five revisions have less than 1 MiB. As Python objects they take eight times as much.
"""
NAMESPACE_BYTES = 32 << 20
"""Most compressed bytes of a namespace's objects that are stored. What is beyond is read from the API server
when a decision needs it.

A resource takes 3 KB with its children, 11 KB where they have nothing in common: 2,000 in one namespace stay
below. Random text is hardly shorter compressed: 500 MB of it would fill the memory.
"""
NOT_COUNTED = frozenset({"Node", "PersistentVolumeClaim"})
"""Kinds that are always stored, as no decision reads them from the API server. Users do not write nodes; of a
claim only its access modes are stored.
"""
FULL = (
    "%s %s/%s: its namespace has more than %d MiB, compressed; of what is beyond the metadata is stored, "
    "and each decision reads the rest"
)
KEPT_CONTENT = ("LLMDeployment", "PersistentVolumeClaim")
"""Kinds whose last content stays after an event that leaves metadata alone.

A decision reads the present one of an LLMDeployment. The access modes of a claim never change.
"""
NAMESPACE_CHILDREN = 30_000
"""Most owned children of a namespace that are stored, where RESOURCE_CHILDREN are not more. 1,000 resources
have some 20,000.

What is beyond is not stored, and decisions about its resource wait until there is place.
"""
RESOURCE_CHILDREN = 30
"""Children of a namespace for each of its held resources: what serves is held beyond the limit of resources,
and that limit may be 10,000.
"""
UNOWNED = 1000
"""Most children of a kind and namespace that are stored although their owner is not; the latest ones.

The event of a child may come before that of its owner.
"""
CLAIMS = 10_000
"""Most claims of a namespace that are stored. Where there are more, they count as unknown."""
STEP_SECONDS = 0.01
"""Seconds of unpacking after which other tasks may run."""


class Excess(enum.Enum):
    """Which limit of the children of one kind is exceeded."""

    COUNT = "objects"
    BYTES = "bytes"


def child_limit(kind: str) -> int:
    return POD_LIMIT if kind == "Pod" else CHILD_LIMIT


class StoredObjects:
    """The stored objects of one kind. Readers get copies."""

    def __init__(self, kind: str) -> None:
        self._kind = kind
        self._compressor = Compressor()
        self.by_name: dict[Name, StoredObject] = {}
        self._labelled: dict[Name, dict[Name, None]] = {}
        """Names of the objects that decisions read, by namespace and by the resource in their label."""
        self._controlled: Counter[Name] = Counter()
        """Number of the objects that decisions read, by namespace and uid of their controller."""
        self._controlled_bytes: Counter[Name] = Counter()
        self._on_node: dict[str, set[Name]] = defaultdict(set)
        self.owned: Counter[str] = Counter()
        """Number of the objects that are not unowned, by namespace."""
        self._unowned: defaultdict[str, dict[Name, None]] = defaultdict(dict)
        self.content_bytes: Counter[str] = Counter()
        """Compressed bytes of the objects whose content is stored, by namespace."""

    def read(self, name: Name) -> Manifest | None:
        """A copy of the object, marked METADATA_ONLY where its content is not that of its version."""
        entry = self.by_name.get(name)
        if entry is None:
            return None
        found = self._compressor.decompressed(entry.text)
        found["metadata"]["resourceVersion"] = entry.version
        found.setdefault("apiVersion", KINDS[self._kind][0])
        found["kind"] = self._kind
        if entry.outdated is not None:
            found[METADATA_ONLY] = entry.outdated
        return found

    def owner(self, name: Name) -> Manifest | None:
        """What is read of an object as the owner of a pod beside a measured one; callers must not change it.

        It is read once: a user may have 500 owners of a megabyte, with a pod each on a node where others
        measure.
        """
        entry = self.by_name.get(name)
        if entry is None:
            return None
        if self._kind == "LLMDeployment":
            return {"metadata": {"namespace": name[0], "name": name[1], "uid": entry.uid}}
        if entry.owner_part is None:
            entry.owner_part = owner_part(self.read(name) or {})
        return entry.owner_part

    def labelled(self, owner: Name, owners: Collection[str] | None) -> list[Name]:
        """Names of the objects with a resource's label, up to the limit of children.

        With ``owners`` (uids), only those that one of them controls; None: all with the label.
        """
        found = self._labelled.get(owner, ())
        names = sorted(name for name in found if owners is None or self.by_name[name].owner_uid in owners)
        return names[: child_limit(self._kind)]

    def excess(self, namespace: str, owners: Iterable[str]) -> Excess | None:
        """Why the objects that ``owners`` (uids) control in the namespace are not read; None: they are."""
        owners = tuple(owners)
        if sum(self._controlled[namespace, uid] for uid in owners) > child_limit(self._kind):
            return Excess.COUNT
        return Excess.BYTES if self.controlled_bytes(namespace, owners) > BYTES_LIMIT else None

    def controlled_bytes(self, namespace: str, owners: Iterable[str]) -> int:
        """Weight of the objects that ``owners`` (uids) control in the namespace."""
        return sum(self._controlled_bytes[namespace, uid] for uid in owners)

    def on_node(self, node: str) -> Collection[Name]:
        return self._on_node.get(node, ())

    def kept(self, name: Name, whole: Manifest, free_bytes: int, known_size: int | None) -> Kept:
        """What to store of ``whole``: the least part where it is longer than ``free_bytes``, compressed.

        ``known_size``: its weight, where all of it was delivered and only its metadata is to be stored. None:
        what it had before. Otherwise the reduction would make objects small enough to be read again.
        """
        previous = self.by_name.get(name)
        before = previous.text if previous else b""
        text = self._compressor.compressed(whole, before)
        if METADATA_ONLY in whole:
            known = previous.size if previous and known_size is None else known_size or 0
            return Kept(whole, whole, text, max(known, weight(self._compressor.json(text))))
        if previous is not None and text is before:
            return Kept(whole, whole, text, previous.size)
        size = weight(self._compressor.json(text))
        if self._kind in NOT_COUNTED or len(text) <= free_bytes + (previous.content_bytes if previous else 0):
            return Kept(whole, whole, text, size)
        least = least_part(self._kind, whole)
        return Kept(whole, least, self._compressor.compressed(least, before), size, len(text))

    def is_over(self, namespace: str, owner_uid: str) -> bool:
        """Whether no more objects of that controller are stored: it has twice what is read of it."""
        return self._controlled[namespace, owner_uid] >= 2 * child_limit(self._kind)

    def unowned_of(self, namespace: str, uid: str) -> list[Name]:
        """The objects whose controller, of that uid, was not stored until now."""
        unowned = self._unowned.get(namespace, {})
        return [name for name in unowned if self.by_name[name].owner_uid == uid]

    def own(self, name: Name) -> None:
        """Notes that the controller of an object is stored now."""
        self._uncount(name, is_owned=False)
        self.by_name[name].is_owned = True
        self.owned[name[0]] += 1

    def is_empty(self, namespace: str) -> bool:
        """Whether nothing of the namespace is stored."""
        return namespace not in self.owned and namespace not in self._unowned

    def surplus(self, namespace: str) -> Name | None:
        """The unowned object to be dropped, which came first; None: there are few."""
        unowned = self._unowned.get(namespace, {})
        return next(iter(unowned)) if len(unowned) > UNOWNED else None

    def add(self, name: Name, kept: Kept, version: str, *, is_owned: bool = True) -> StoredObject:
        """Stores an object."""
        stored, is_resource = kept.stored, self._kind == "LLMDeployment"
        metadata, is_reduced = stored["metadata"], stored is not kept.whole
        entry = StoredObject(
            uid=metadata["uid"],
            version=version,
            owner=intern((metadata.get("labels") or {}).get(DEPLOYMENT_LABEL, "")),
            owner_uid=intern(owner_uid(stored) or ""),
            node=intern((stored.get("spec") or {}).get("nodeName", "")) if self._kind == "Pod" else "",
            text=kept.text,
            size=kept.size,
            is_part=METADATA_ONLY in stored,
            content_bytes=0 if METADATA_ONLY in stored or self._kind in NOT_COUNTED else len(kept.text),
            left_out_bytes=kept.left_out_bytes,
            is_owned=is_owned,
            state=state_of(kept.whole) if is_resource else StoreState(),
            history=None if (stored.get("status") or {}).get("measurements") else (),
        )
        if is_resource and is_reduced:
            entry.history = history_from([stored_status(kept.whole)])
        self.by_name[name] = entry
        if is_owned:
            self.owned[name[0]] += 1
        else:
            self._unowned[name[0]][name] = None
        if entry.content_bytes:
            self.content_bytes[name[0]] += entry.content_bytes
        if entry.owner_uid and self.is_read(name, entry):
            self._controlled[name[0], entry.owner_uid] += 1
            self._controlled_bytes[name[0], entry.owner_uid] += entry.size
        if entry.owner and self.is_read(name, entry):
            self._labelled.setdefault((name[0], entry.owner), {})[name] = None
        if entry.node:
            self._on_node[entry.node].add(name)
        return entry

    def is_read(self, name: Name, entry: StoredObject) -> bool:
        """Whether decisions about the resource in the object's label read it."""
        return is_read(self._kind, name[1], entry.owner)

    def drop(self, name: Name) -> StoredObject | None:
        previous = self.by_name.pop(name, None)
        if previous is None:
            return None
        self._uncount(name, is_owned=previous.is_owned)
        if previous.content_bytes:
            self.content_bytes[name[0]] -= previous.content_bytes
            if not self.content_bytes[name[0]]:
                del self.content_bytes[name[0]]
        if previous.owner_uid and self.is_read(name, previous):
            controller = (name[0], previous.owner_uid)
            self._controlled[controller] -= 1
            self._controlled_bytes[controller] -= previous.size
            if not self._controlled[controller]:
                del self._controlled[controller], self._controlled_bytes[controller]
        if previous.owner and self.is_read(name, previous):
            owner = (name[0], previous.owner)
            del self._labelled[owner][name]
            if not self._labelled[owner]:
                del self._labelled[owner]
        if previous.node:
            self._on_node[previous.node].discard(name)
            if not self._on_node[previous.node]:
                del self._on_node[previous.node]
        return previous

    def _uncount(self, name: Name, *, is_owned: bool) -> None:
        if is_owned:
            self.owned[name[0]] -= 1
            if not self.owned[name[0]]:
                del self.owned[name[0]]
        else:
            del self._unowned[name[0]][name]
            if not self._unowned[name[0]]:
                del self._unowned[name[0]]

    async def history(self, namespace: str) -> tuple[PastMeasurement, ...]:
        """The measurements in the status of a namespace's resources. Other tasks run meanwhile: after a start
        2,000 resources took 0.7 s.
        """
        found: list[PastMeasurement] = []
        rested = time.monotonic()
        for name in [name for name in self.by_name if name[0] == namespace]:
            if (entry := self.by_name.get(name)) is None:
                continue
            if entry.history is None:
                entry.history = history_from([stored_status(self.read(name) or {})])
                if time.monotonic() - rested >= STEP_SECONDS:
                    await asyncio.sleep(0)
                    rested = time.monotonic()
            found += entry.history
        return tuple(found)
