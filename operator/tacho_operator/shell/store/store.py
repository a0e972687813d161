"""The store: every object that decisions read, as the watches last delivered it.

How to read it::

    store.resources()              every LLMDeployment's Key, or those of one namespace
    store.resource(key)            the LLMDeployment itself; None where it does not exist
    store.children("Pod", key)     its pods, by label; also Deployment, Service, ConfigMap, …
    store.neighbours_on({"n"})     pods on these nodes that LLMDeployments own, of all resources
    store.claim(namespace, name)   a PersistentVolumeClaim
    store.nodes(), store.history(namespace)
    store.stale()                  watches that are interrupted; empty: all are in sync

Returned objects are copies, trimmed to the fields that decisions read (trimming.py); callers may change them.
Objects are stored as compressed JSON. The store sends no request.
"""

from __future__ import annotations

import asyncio
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime, timezone
from sys import intern

from tacho_operator.core.names import DEPLOYMENT_LABEL
from tacho_operator.core.planner.history import history_from, stored_status
from tacho_operator.core.pods.nodes import node_facts
from tacho_operator.core.pods.owners import neighbour_of, owner_uid
from tacho_operator.core.types import HubWaiters, Manifest, Neighbour, NodeFacts, PastMeasurement
from tacho_operator.shell.kube import KINDS
from tacho_operator.shell.reading import METADATA_ONLY
from tacho_operator.shell.store.state import (
    StoredObject,
    StoreState as StoreState,
    is_reported as is_reported,
    state_of,
)
from tacho_operator.shell.store.trimming import Packing, kept_part, no_owner
from tacho_operator.shell.store.waits import Wait, Waits
from tacho_operator.shell.workqueue import Key

Name = tuple[str, str]
"""Namespace and name; the namespace is "" for cluster-scoped objects."""


REMOVED_LIMIT = 10_000
"""Deleted LLMDeployments that are remembered."""

POD_LIMIT, CHILD_LIMIT = 5000, 100
"""Pods, and objects of each other kind, that one resource may control. The operator keeps five revisions, and
anyone who knows its uid can name it as the controller. A rollout of 1,000 replicas has 2,000 pods."""


BYTES_LIMIT = 8 << 20
"""JSON of all objects of a kind that one resource may control. Five revisions have less than 1 MiB."""


def child_limit(kind: str) -> int:
    return POD_LIMIT if kind == "Pod" else CHILD_LIMIT


def utc_now() -> datetime:
    return datetime.now(timezone.utc)


@dataclass(frozen=True, slots=True)
class StoreChange:
    """One event that changed a field that decisions read; all other events are dropped."""

    kind: str
    namespace: str
    name: str
    owner: str
    """The resource of its label as it is now, or was before its deletion."""
    freed: Wait | None = None
    """What the resource waited for until now; other resources that wait for the same may continue too."""


def later(version: str, than: str) -> bool:
    """Whether resourceVersion ``version`` is ``than`` or later.

    Versions are comparable as numbers within a kind (kubernetes.io, API concepts, resource versions); a
    version that is no number is compared for equality.
    """
    if version.isdigit() and than.isdigit():
        return int(version) >= int(than)
    return version == than


class Store:
    """Filled by reflectors; calls ``on_change`` for every change of a field that decisions read."""

    def __init__(
        self,
        on_change: Callable[[StoreChange], None],
        clock: Callable[[], datetime] = utc_now,
        on_unreadable: Callable[[str, str, str, str], None] = lambda *_: None,
    ) -> None:
        """``on_unreadable`` is called with kind, namespace, name and the reason."""
        self._on_change, self._on_unreadable = on_change, on_unreadable
        self._objects: dict[str, dict[Name, StoredObject]] = {kind: {} for kind in KINDS}
        self._packing = {kind: Packing() for kind in KINDS}
        self._owned: dict[str, dict[Name, dict[Name, None]]] = {kind: {} for kind in KINDS}
        self._controlled: Counter[tuple[str, str, str]] = Counter()
        """Objects by kind, namespace and uid of their controller."""
        self._controlled_bytes: Counter[tuple[str, str, str]] = Counter()
        self._on_node: dict[str, set[Name]] = defaultdict(set)
        self._nodes: tuple[NodeFacts, ...] | None = None
        self._waiting: set[asyncio.Future[None]] = set()
        self._unknown: set[tuple[str, str]] = set()
        """Kinds and namespaces ("" for all) that may not be read."""
        self._waits = Waits(clock)
        self.streams: dict[tuple[str, str], str] = {}
        """Latest resourceVersion that a kind's stream of a namespace ("" for all) has delivered."""
        self._stale: dict[tuple[str, str], str] = {}
        self._removed: dict[str, None] = {}
        """Uids of LLMDeployments, the latest last."""

    # --- for decisions ---
    def resources(self, namespace: str = "") -> Iterator[Key]:
        """Keys of every resource, or of the resources of one namespace."""
        found = tuple(self._objects["LLMDeployment"])
        return (Key(*name) for name in found if namespace in ("", name[0]))

    def waiting(self, key: Key) -> dict[str, HubWaiters]:
        """Resources that wait for the resource's hub, by the reason of their Ready condition."""
        return self._waits.of(key.namespace, self.state(key).hub)

    def waiting_for(self, wait: Wait) -> Iterator[Key]:
        """Whose Ready gives that reason, for that hub."""
        return (key for key in self.resources() if wait == self.state(key).wait)

    def resource(self, key: Key) -> Manifest | None:
        """The resource as it was last delivered."""
        return self._read("LLMDeployment", (key.namespace, key.name))

    def children(self, kind: str, key: Key, owners: Collection[str] | None = None) -> list[Manifest]:
        """Every object of that kind with the resource's label, by name; only those that one of ``owners``, by
        uid, controls. None: whoever does. The others are not unpacked: anyone can make very many. Of a crowd
        only the first are returned."""
        held = self._objects[kind]
        labelled = self._owned[kind].get((key.namespace, key.name), ())
        names = sorted(name for name in labelled if owners is None or held[name].owner_uid in owners)
        first = names[: child_limit(kind)]
        return [found for name in first if (found := self._read(kind, name)) is not None]

    def is_crowd(self, kind: str, namespace: str, owners: Iterable[str]) -> bool:
        """Whether ``owners``, by uid, control more objects of that kind there than are read, or more text."""
        places = [(kind, namespace, uid) for uid in owners]
        has_many = sum(self._controlled[place] for place in places) > child_limit(kind)
        return has_many or sum(self._controlled_bytes[place] for place in places) > BYTES_LIMIT

    def state(self, key: Key) -> StoreState:
        """The state of a resource; an unknown resource counts as one without a status."""
        entry = self._objects["LLMDeployment"].get((key.namespace, key.name))
        return entry.state if entry else StoreState()

    def owners_on(self, node: str) -> set[Key]:
        """Resources that have pods on that node."""
        pods = self._objects["Pod"]
        found = {(name[0], pods[name].owner) for name in self._on_node.get(node, ())}
        return {Key(*owner) for owner in found if owner[1]}

    def neighbours_on(self, nodes: Iterable[str]) -> list[Neighbour]:
        """Pods on these nodes whose owners end at a held LLMDeployment."""
        names = sorted(name for node in set(nodes) for name in self._on_node.get(node, ()))
        pods = (pod for name in names if (pod := self._read("Pod", name)) is not None)
        return [found for pod in pods if (found := neighbour_of(pod, self._read)) is not None]

    def claim(self, namespace: str, name: str) -> Manifest | None:
        """A PersistentVolumeClaim; None where it does not exist."""
        return self._read("PersistentVolumeClaim", (namespace, name))

    def known(self, kind: str, namespace: str = "") -> bool:
        """Whether the operator may read that kind; False: the absence of an object means nothing."""
        return self._unknown.isdisjoint({(kind, ""), (kind, namespace)})

    def nodes(self) -> tuple[NodeFacts, ...] | None:
        """Every node; None without permission to read nodes."""
        if not self.known("Node"):
            return None
        if self._nodes is None:
            found = sorted(self._objects["Node"])
            self._nodes = tuple(node_facts(self._read("Node", name) or {}) for name in found)
        return self._nodes

    def history(self, namespace: str) -> tuple[PastMeasurement, ...]:
        """All earlier measurements of a namespace, in the status of its resources."""
        found: list[PastMeasurement] = []
        unpacked = self._packing["LLMDeployment"].unpacked
        for name, entry in self._objects["LLMDeployment"].items():
            if name[0] != namespace:
                continue
            if entry.history is None:
                entry.history = history_from([stored_status(unpacked(entry.text))])
            found += entry.history
        return tuple(found)

    def naming(self, namespace: str, claim: str) -> list[Key]:
        """Resources of a namespace whose spec names that PersistentVolumeClaim."""
        found = self._objects["LLMDeployment"].items()
        return [Key(*name) for name, entry in found if name[0] == namespace and claim in entry.state.claims]

    def stale(self, namespace: str | None = None) -> tuple[str, ...]:
        """Watches that are interrupted, so that stored objects may be old: one line per watch; empty when all
        are in sync."""
        found = (
            stream for stream in sorted(self._stale) if namespace is None or stream[1] in ("", namespace)
        )
        return tuple(self._stale[stream] for stream in found)

    def size(self, kind: str) -> int:
        """Objects held of a kind."""
        return len(self._objects[kind])

    def find(self, kind: str, namespace: str, name: str) -> tuple[str, str] | None:
        """Uid and resourceVersion of an object that is held."""
        entry = self._objects[kind].get((namespace, name))
        return (entry.uid, entry.version) if entry else None

    def held(self, kind: str, namespace: str = "") -> list[tuple[Name, str, str]]:
        """Name, uid and resourceVersion of every stored object, or of the stored objects of one namespace."""
        found = self._objects[kind].items()
        return [(name, item.uid, item.version) for name, item in found if namespace in ("", name[0])]

    def was_removed(self, uid: str) -> bool:
        """Whether an LLMDeployment was deleted or replaced. Its stream has no version up to which everything
        is known, as kopf handles each object by itself."""
        return uid in self._removed

    def leaving(self, kind: str, namespace: str, name: str) -> bool:
        """Whether an object that is held is being deleted."""
        found = self._read(kind, (namespace, name))
        return found is not None and bool(found["metadata"].get("deletionTimestamp"))

    async def in_sync(self, kind: str, namespace: str) -> None:
        """Waits until that stream is up to date."""
        while (kind, namespace) in self._stale:
            await self.changed()

    async def changed(self) -> None:
        """Waits for the next event of any stream."""
        future = asyncio.get_running_loop().create_future()
        self._waiting.add(future)
        try:
            await future
        finally:
            self._waiting.discard(future)

    # --- for watches ---
    def put(self, kind: str, manifest: Manifest) -> None:
        """An object as it is now."""
        controller = (manifest["metadata"].get("namespace", ""), [owner_uid(manifest) or ""])
        kept = kept_part(kind, manifest, no_owner if self.is_crowd(kind, *controller) else self.find)
        metadata = kept["metadata"]
        version = str(metadata.pop("resourceVersion", ""))
        # Children repeat their resource's names: each is kept once.
        name = (intern(metadata.get("namespace", "")), intern(metadata["name"]))
        if why := kept.get(METADATA_ONLY):
            self._on_unreadable(kind, *name, why)
        former = self._objects[kind].get(name)
        # A list that is read page by page may be older than what was watched meanwhile. kopf's events of two
        # uids of one name, moreover, may arrive in either order; a reflector's stream is in order.
        may_be_older = former is not None and (former.uid == metadata["uid"] or kind == "LLMDeployment")
        if former is not None and may_be_older and not later(version, former.version):
            return
        if former is not None and METADATA_ONLY in kept and version == former.version:
            return  # the held one may be whole
        text = self._packing[kind].packed(kept, former.text if former else b"")
        if former is not None and former.text is text:
            former.version = version
        else:
            self._drop(kind, name)
            if former is not None and former.uid != metadata["uid"]:
                self._note_removed(kind, former.uid)
            entry = StoredObject(
                uid=metadata["uid"],
                version=version,
                owner=intern((metadata.get("labels") or {}).get(DEPLOYMENT_LABEL, "")),
                owner_uid=intern(owner_uid(kept) or ""),
                node=intern((kept.get("spec") or {}).get("nodeName", "")) if kind == "Pod" else "",
                text=text,
                size=len(self._packing[kind].json(text)),
                state=state_of(kept) if kind == "LLMDeployment" else StoreState(),
                history=None if (kept.get("status") or {}).get("measurements") else (),
            )
            if former is not None and METADATA_ONLY in kept:
                entry.size = max(entry.size, former.size)  # else a crowd would be none at each change
            self._objects[kind][name] = entry
            if entry.owner_uid:
                self._controlled[kind, name[0], entry.owner_uid] += 1
                self._controlled_bytes[kind, name[0], entry.owner_uid] += entry.size
            if kind == "LLMDeployment":
                self._waits.add(name[0], entry.state.wait)
            if entry.owner:
                self._owned[kind].setdefault((name[0], entry.owner), {})[name] = None
            if entry.node:
                self._on_node[entry.node].add(name)
            was = (former.state if former else StoreState()).wait
            self._notify(kind, name, former, entry, self._waits.ended(was, entry.state.why))
        self._wake()

    def remove(self, kind: str, namespace: str, name: str, *, uid: str = "") -> None:
        """Removes a deleted object; with ``uid``, only the object of that uid, not its successor of the same
        name."""
        held = self.find(kind, namespace, name)
        if uid and held and held[0] != uid:
            self._note_removed(kind, uid)
        elif (former := self._drop(kind, (namespace, name))) is not None:
            self._note_removed(kind, former.uid)
            self._notify(kind, (namespace, name), former, None)
        self._wake()

    def _note_removed(self, kind: str, uid: str) -> None:
        if kind == "LLMDeployment":
            self._removed[uid] = None
            if len(self._removed) > REMOVED_LIMIT:
                del self._removed[next(iter(self._removed))]

    def keep_only(self, kind: str, namespace: str, names: Collection[Name]) -> None:
        """Removes objects that a complete list does not contain: they were deleted."""
        held = [name for name in self._objects[kind] if namespace in ("", name[0])]
        for name in held:
            if name not in names:
                self.remove(kind, *name)

    def at(self, kind: str, namespace: str, version: str) -> None:
        """The stream has delivered everything up to ``version``."""
        self.streams[kind, namespace] = version
        self._wake()

    def runs(self, kind: str, namespace: str) -> None:
        """The stream is up to date."""
        self._unknown.discard((kind, namespace))
        self._stale.pop((kind, namespace), None)
        self._wake()

    def lost(self, kind: str, namespace: str, why: str) -> None:
        """The stream is interrupted or has not begun."""
        self._stale[kind, namespace] = why

    def forbidden(self, kind: str, namespace: str) -> None:
        """The kind may not be read, and need not be."""
        self._unknown.add((kind, namespace))
        self._stale.pop((kind, namespace), None)
        self._wake()

    # --- inside ---
    def _read(self, kind: str, name: Name) -> Manifest | None:
        entry = self._objects[kind].get(name)
        if entry is None:
            return None
        found = self._packing[kind].unpacked(entry.text)
        found["metadata"]["resourceVersion"] = entry.version
        found.setdefault("apiVersion", KINDS[kind][0])
        found["kind"] = kind
        return found

    def _drop(self, kind: str, name: Name) -> StoredObject | None:
        former = self._objects[kind].pop(name, None)
        if former is None:
            return None
        if kind == "LLMDeployment":
            self._waits.drop(name[0], former.state.wait)
        if former.owner_uid:
            controller = (kind, name[0], former.owner_uid)
            self._controlled[controller] -= 1
            self._controlled_bytes[controller] -= former.size
            if not self._controlled[controller]:
                del self._controlled[controller], self._controlled_bytes[controller]
        if former.owner:
            owner = (name[0], former.owner)
            del self._owned[kind][owner][name]
            if not self._owned[kind][owner]:
                del self._owned[kind][owner]
        if former.node:
            self._on_node[former.node].discard(name)
            if not self._on_node[former.node]:
                del self._on_node[former.node]
        return former

    def _notify(
        self,
        kind: str,
        name: Name,
        former: StoredObject | None,
        entry: StoredObject | None,
        freed: Wait | None = None,
    ) -> None:
        if kind == "Node":
            self._nodes = None
        for owner in sorted({item.owner for item in (former, entry) if item}):
            self._on_change(StoreChange(kind, name[0], name[1], owner, freed))

    def _wake(self) -> None:
        waiting, self._waiting = self._waiting, set()
        for future in waiting:
            if not future.done():
                future.set_result(None)
