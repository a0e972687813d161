"""The store: every object that decisions read, as the watches last delivered it.

How to read it::

    store.resources()              every LLMDeployment's Key, or those of one namespace
    store.resource(key)            the LLMDeployment itself; None where it does not exist
    store.children("Pod", key)     its pods, by label; also Deployment, Service, ConfigMap, …
    store.neighbours_on({"n"})     pods on these nodes that LLMDeployments own, of all resources
    store.claim(namespace, name)   a PersistentVolumeClaim
    store.nodes(), await store.history(namespace)
    store.stale()                  watches that are interrupted; empty: all are in sync

Returned objects are copies, trimmed to the fields that decisions read (trimming.py); callers may change them.
Objects are stored as compressed JSON. The store sends no request.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Collection, Iterable, Iterator
from datetime import datetime
from functools import cache
from itertools import groupby
from operator import itemgetter
from sys import intern

from tacho_operator.core.pods.neighbours import neighbour_of, unread_neighbour
from tacho_operator.core.pods.nodes import node_facts
from tacho_operator.core.pods.view import owner_uid
from tacho_operator.core.types import HubWaiters, Manifest, Neighbour, NodeFacts, PastMeasurement
from tacho_operator.shell.bounded_reading import METADATA_ONLY
from tacho_operator.shell.kube import KINDS
from tacho_operator.shell.server_clock import utc_now
from tacho_operator.shell.store import objects
from tacho_operator.shell.store.bounds import CHILDREN, OWNED, StoreBounds, label_of
from tacho_operator.shell.store.objects import Excess, Name, StoredObjects
from tacho_operator.shell.store.stored_object import (
    HubWait,
    HubWaiterCounts,
    Kept,
    StoreChange as StoreChange,
    StoredObject,
    StoreState as StoreState,
    is_reported as is_reported,
)
from tacho_operator.shell.store.streams import WatchStreams
from tacho_operator.shell.store.trimming import (
    CONTROLLED,
    json_bytes,
    kept_part,
    no_owner,
    readable_part,
    weight,
)
from tacho_operator.shell.workqueue import Key

logger = logging.getLogger(__name__)

NODE_PODS_LIMIT = 500
"""Most pods of a namespace that are read as neighbours on one node.

A node runs 110 pods by default. But users can bind any number of pods to it: the kubelet refuses them, and
they stay in the API.
"""
POD_OWNERS = ("LLMDeployment", "ReplicaSet")


def later(version: str, than: str) -> bool:
    """Whether the resourceVersion ``version`` is equal to ``than`` or later.

    Versions are comparable as numbers within a kind (kubernetes.io, API concepts, resource versions); a
    version that is no number is compared for equality.
    """
    if version.isdigit() and than.isdigit():
        return int(version) >= int(than)
    return version == than


class Store(WatchStreams):
    """The stored objects. Reflectors fill it; it calls ``on_change`` for every change of a field that
    decisions read.
    """

    def __init__(
        self,
        on_change: Callable[[StoreChange], None],
        clock: Callable[[], datetime] = utc_now,
        on_unreadable: Callable[[str, str, str, str], None] = lambda *_: None,
        *,
        max_resources: int = sys.maxsize,
    ) -> None:
        """``on_unreadable`` is called with kind, namespace, name and the reason. ``max_resources``: of a
        namespace."""
        super().__init__()
        self._on_change, self._on_unreadable = on_change, on_unreadable
        self._kinds = {kind: StoredObjects(kind) for kind in KINDS}
        self._pod_owners: set[str] = set()
        """Uids of the stored objects that may own pods (kinds in POD_OWNERS)."""
        self.bounds = StoreBounds(self._kinds, max_resources, clock)
        self._nodes: tuple[NodeFacts, ...] | None = None
        self._node_facts: dict[Name, NodeFacts] = {}
        """Facts of the nodes that have not changed: a kubelet may change its own many times a second."""
        self._full: set[str] = set()
        """Namespaces of which it was logged that not all their objects are stored."""
        self._hub_waiters = HubWaiterCounts(clock)

    # --- for decisions ---
    def resources(self, namespace: str = "") -> Iterator[Key]:
        """Keys of every resource, or of the resources of one namespace."""
        found = tuple(self._kinds["LLMDeployment"].by_name)
        return (Key(*name) for name in found if namespace in ("", name[0]))

    def waiting(self, key: Key) -> dict[str, HubWaiters]:
        """How many resources wait for the same hub as this one, by the reason of their condition Ready."""
        return self._hub_waiters.of(key.namespace, self.state(key).hub)

    def waiting_for(self, wait: HubWait) -> Iterator[Key]:
        """Keys of the resources whose condition Ready has the reason of ``wait``, for the same hub."""
        return (key for key in self.resources() if wait == self.state(key).wait)

    def resource(self, key: Key) -> Manifest | None:
        """The resource as the watch last delivered it; None where it does not exist."""
        return self.read("LLMDeployment", (key.namespace, key.name))

    def children(self, kind: str, key: Key, owners: Collection[str] | None = None) -> list[Manifest]:
        """Every object of ``kind`` with the resource's label, sorted by name.

        With ``owners`` (uids), only those that one of them controls, as labels can be forged; None: all. The
        others are not decompressed, as anyone can create very many. Of too many only the first are returned.
        """
        stored = self._kinds[kind]
        names = stored.labelled((key.namespace, key.name), owners)
        return [found for name in names if (found := stored.read(name)) is not None]

    def excess(self, kind: str, namespace: str, owners: Iterable[str]) -> Excess | None:
        """Why the objects of ``kind`` that ``owners`` (uids) control in the namespace are not read; None:
        they are."""
        owners = tuple(owners)
        found = self._kinds[kind].excess(namespace, owners)
        if found is not None or kind not in CONTROLLED:
            return found
        together = sum(self._kinds[other].controlled_bytes(namespace, owners) for other in CONTROLLED)
        return Excess.BYTES if together > objects.BYTES_LIMIT else None

    def state(self, key: Key) -> StoreState:
        """What the queue needs to know of a resource: reported, ready, serving. All False for one that is not
        stored."""
        entry = self._kinds["LLMDeployment"].by_name.get((key.namespace, key.name))
        return entry.state if entry else StoreState()

    def owners_on(self, node: str) -> set[Key]:
        """Resources that have pods on that node."""
        pods = self._kinds["Pod"]
        found = {(name[0], pods.by_name[name].owner) for name in pods.on_node(node)}
        return {Key(*owner) for owner in found if owner[1]}

    def neighbours_on(self, nodes: Iterable[str]) -> list[Neighbour]:
        """Pods on these nodes that a stored LLMDeployment controls, directly or through its owners. Others
        stay compressed. Of a namespace with more pods on a node than are read, one counts as always active.
        """
        owner, found = cache(self._owner), list[Neighbour | None]()
        for node in sorted(set(nodes)):
            for names in self._owned_on(node):
                read = (self.read("Pod", name) for name in names[:NODE_PODS_LIMIT])
                found += [neighbour_of(pod, owner) for pod in read if pod is not None]
                if len(names) > NODE_PODS_LIMIT:
                    found.append(unread_neighbour(*names[NODE_PODS_LIMIT], node))
            incomplete = sorted(self.bounds.incomplete_on(node))
            found += [unread_neighbour(*resource, node) for resource in incomplete]
        return [item for item in found if item is not None]

    def _owner(self, kind: str, name: Name) -> Manifest | None:
        """What ``neighbour_of`` reads of a pod's owner, which may be a megabyte long."""
        return self._kinds[kind].owner(name)

    def _owned_on(self, node: str) -> Iterator[list[Name]]:
        """Names of the pods on a node that a stored object may own, in a list for each namespace."""
        pods = self._kinds["Pod"]
        owned = sorted(
            name for name in pods.on_node(node) if pods.by_name[name].owner_uid in self._pod_owners
        )
        for _, names in groupby(owned, itemgetter(0)):
            yield list(names)

    def claim(self, namespace: str, name: str) -> Manifest | None:
        """A PersistentVolumeClaim; None where it does not exist."""
        return self.read("PersistentVolumeClaim", (namespace, name))

    def known(self, kind: str, namespace: str = "") -> bool:
        """Whether every object of that kind is known; False: that one is absent means nothing."""
        is_cut = kind == "PersistentVolumeClaim" and namespace in self.bounds.claims_over_limit
        return not is_cut and self.may_read(kind, namespace)

    def nodes(self) -> tuple[NodeFacts, ...] | None:
        """Every node; None without permission to read nodes."""
        if not self.known("Node"):
            return None
        if self._nodes is None:
            known = self._node_facts
            self._node_facts = {
                name: known.get(name) or node_facts(self.read("Node", name) or {})
                for name in sorted(self._kinds["Node"].by_name)
            }
            self._nodes = tuple(self._node_facts.values())
        return self._nodes

    async def history(self, namespace: str) -> tuple[PastMeasurement, ...]:
        """All earlier measurements of a namespace, in the status of its resources."""
        return await self._kinds["LLMDeployment"].history(namespace)

    def naming(self, claims: Collection[Name]) -> list[Key]:
        """Resources whose spec names one of these PersistentVolumeClaims, each a (namespace, name)."""
        known = self._kinds["LLMDeployment"].by_name.items()
        return [Key(*at) for at, one in known if any((at[0], claim) in claims for claim in one.state.claims)]

    def size(self, kind: str) -> int:
        """The number of stored objects of ``kind``."""
        return len(self._kinds[kind].by_name)

    def find(self, kind: str, namespace: str, name: str) -> tuple[str, str] | None:
        """Uid and resourceVersion of a stored object; None where it is not stored."""
        entry = self._kinds[kind].by_name.get((namespace, name))
        return (entry.uid, entry.version) if entry else None

    def holds(self, kind: str, namespace: str, name: str) -> bool:
        return (namespace, name) in self._kinds[kind].by_name

    def controls(self, namespace: str, uid: str) -> bool:
        """Whether a stored child of the namespace has the controller of that uid."""
        return any(self._kinds[kind].controlled_bytes(namespace, (uid,)) for kind in CONTROLLED)

    def leaving(self, kind: str, namespace: str, name: str) -> bool:
        """Whether a stored object is being deleted."""
        found = self.read(kind, (namespace, name))
        return found is not None and bool(found["metadata"].get("deletionTimestamp"))

    def read(self, kind: str, name: Name) -> Manifest | None:
        """A stored object; None where it is not stored."""
        return self._kinds[kind].read(name)

    # --- for watches ---
    def put(self, kind: str, manifest: Manifest, *, listed: bool = False, live: bool = False) -> None:
        """Stores ``manifest`` in place of its old version, where there is place for it.

        ``listed``: whether it comes from a complete list, which replaces even a newer stored version, as etcd
        may have been restored. ``live``: whether from another read, during which it may have been removed.
        """
        if live and self.bounds.was_removed(manifest["metadata"]["uid"]):
            return
        controller = (manifest["metadata"].get("namespace", ""), [owner_uid(manifest) or ""])
        too_many = bool(self.excess(kind, *controller))
        kept, size = kept_part(kind, manifest, no_owner if too_many else self.find), None
        if too_many and METADATA_ONLY not in manifest:  # may end with objects that shrink
            size = weight(json_bytes(readable_part(kind, manifest)))
        metadata = kept["metadata"]
        version = str(metadata.pop("resourceVersion", ""))
        # Children repeat their resource's names: each is kept once.
        name = (intern(metadata.get("namespace", "")), intern(metadata["name"]))
        if why := kept.get(METADATA_ONLY):
            self._on_unreadable(kind, *name, why)
        stored = self._kinds[kind]
        old = stored.by_name.get(name)
        # What a cache in between repeats may be older, and of an object that has gone since.
        if old is not None and not listed and not later(version, old.version):
            return
        free_bytes = self._free_bytes(name[0])
        if (
            old is not None
            and version == old.version
            and (METADATA_ONLY in kept or old.left_out_bytes > free_bytes)
        ):
            return  # the stored one may be whole, or was too long: compressing it takes 24 ms a megabyte
        is_long = kind in objects.KEPT_CONTENT and METADATA_ONLY in kept
        if is_long and old is not None and old.uid == metadata["uid"]:
            # Priority, history and hub stay those of the last content until a decision has read the present.
            old.version, old.outdated = version, str(kept[METADATA_ONLY])
            old.left_out_bytes = 0
            self._notify(kind, name, old, old)
            self._wake()
            return
        is_owned = kind not in CHILDREN or self.bounds.is_owned(kind, name, kept)
        evicted = self.bounds.take(kind, name, kept, old, is_owned=is_owned)
        if evicted is not None:
            self._evict(kind, evicted, label_of(kept))
            if evicted == name:
                return
        new = stored.kept(name, kept, free_bytes, size)
        if new.left_out_bytes and name[0] not in self._full:
            self._full.add(name[0])
            logger.warning(objects.FULL, kind, *name, objects.NAMESPACE_BYTES >> 20)
        if old is not None and old.text is new.text and old.size == new.size and new.stored is kept:
            old.version, old.outdated, old.left_out_bytes = version, None, 0
            if METADATA_ONLY in kept and old.owner_uid:  # what it contains may have changed
                self._notify(kind, name, old, old)
        else:
            entry = self._add(kind, name, new, version, is_owned=is_owned)
            was = (old.state if old else StoreState()).wait
            self._notify(kind, name, old, entry, self._hub_waiters.ended(was, entry.state.why))
        self._wake()

    def remove(self, kind: str, namespace: str, name: str, *, uid: str = "") -> None:
        """Removes a deleted object; with ``uid``, only the object of that uid, not its successor of the same
        name."""
        found = self.find(kind, namespace, name)
        is_successor = bool(uid and found and found[0] != uid)
        if not is_successor:
            self.bounds.removed(kind, (namespace, name), uid)
        if not is_successor and (old := self._drop(kind, (namespace, name))) is not None:
            self._notify(kind, (namespace, name), old, None)
            self.bounds.left(namespace)
        self._wake()

    def keep_only(self, kind: str, namespace: str, names: Collection[Name]) -> None:
        """Removes all objects that are not in ``names``, a complete list: they were deleted."""
        known = [name for name in self._kinds[kind].by_name if namespace in ("", name[0])]
        for name in known:
            if name not in names:
                self.remove(kind, *name, uid=self._kinds[kind].by_name[name].uid)

    # --- inside ---
    def _free_bytes(self, namespace: str) -> int:
        """Compressed bytes of content that may still be stored of a namespace."""
        used = sum(stored.content_bytes[namespace] for stored in self._kinds.values())
        return max(0, objects.NAMESPACE_BYTES - used)

    def _add(self, kind: str, name: Name, new: Kept, version: str, *, is_owned: bool) -> StoredObject:
        """Stores an object in place of its old version."""
        stored = self._kinds[kind]
        label = name[1] if kind == "LLMDeployment" else label_of(new.stored)
        metadata = new.stored["metadata"]
        was_owner = self.bounds.is_owner(metadata["uid"], label)
        self._drop(kind, name)
        entry = stored.add(name, new, version, is_owned=is_owned)
        if kind in POD_OWNERS:
            self._pod_owners.add(entry.uid)
        if kind in OWNED and is_owned:
            owner = (kind, name[0], entry.uid, label, str(metadata.get("creationTimestamp") or ""))
            for without in self.bounds.adopt(*owner, is_known=was_owner):
                self._drop(*without)
        if not is_owned and (surplus := stored.surplus(name[0])) is not None:
            self.bounds.dropped_unowned(name[0], stored.by_name[surplus].owner_uid)
            self._drop(kind, surplus)
        if kind == "LLMDeployment":
            self._hub_waiters.add(name[0], entry.state.wait)
        return entry

    def _evict(self, kind: str, name: Name, label: str) -> None:
        """Removes an object that has no place. ``label``: the resource whose decisions have to know."""
        old = self._drop(kind, name)
        if old is not None or kind in CHILDREN:
            self._on_change(StoreChange(kind, *name, label))
        self._wake()

    def _drop(self, kind: str, name: Name) -> StoredObject | None:
        old = self._kinds[kind].drop(name)
        if old is not None:
            self.bounds.dropped(kind, old.uid)
        if old is not None and kind in POD_OWNERS:
            self._pod_owners.discard(old.uid)
        if old is not None and kind == "LLMDeployment":
            self._hub_waiters.drop(name[0], old.state.wait)
        return old

    def _notify(
        self,
        kind: str,
        name: Name,
        old: StoredObject | None,
        entry: StoredObject | None,
        freed: HubWait | None = None,
    ) -> None:
        if kind == "Node":
            self._nodes = None
            self._node_facts.pop(name, None)
        stored = self._kinds[kind]
        for owner in sorted({item.owner for item in (old, entry) if item and stored.is_read(name, item)}):
            self._on_change(StoreChange(kind, name[0], name[1], owner, freed))
