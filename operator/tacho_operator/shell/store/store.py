"""The store: every object that decisions read, as the watches last delivered it.

How to read it::

    store.resources()              every LLMDeployment's Key, or those of one namespace
    store.resource(key)            the LLMDeployment itself; None where it does not exist
    store.children("Pod", key)     its pods, by label; also Deployment, Service, ConfigMap, …
    store.claim(namespace, name)   a PersistentVolumeClaim
    store.nodes(), await store.history(namespace)
    store.stale()                  watches that are interrupted; empty: all are in sync

Returned objects are copies, trimmed to the fields that decisions read (trimming.py); callers may change them.
Objects are stored as JSON. The store sends no request.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from sys import intern

from tacho_operator.core.names import DEPLOYMENT_LABEL, is_read
from tacho_operator.core.pods.nodes import node_facts
from tacho_operator.core.types import Manifest, NodeFacts, PastMeasurement
from tacho_operator.shell.kube import KINDS
from tacho_operator.shell.store.objects import Name, StoredObjects, json_bytes
from tacho_operator.shell.store.resource_state import (
    ResourceState,
    StoreChange,
)
from tacho_operator.shell.store.streams import WatchStreams
from tacho_operator.shell.store.trimming import trimmed
from tacho_operator.shell.workqueue import Key


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

    def __init__(self, on_change: Callable[[StoreChange], None]) -> None:
        super().__init__()
        self._on_change = on_change
        self._kinds = {kind: StoredObjects(kind) for kind in KINDS}
        self._nodes: tuple[NodeFacts, ...] | None = None
        self._node_facts: dict[Name, NodeFacts] = {}
        """Facts of the nodes that have not changed: a kubelet may change its own many times a second."""

    # --- for decisions ---
    def resources(self, namespace: str = "") -> Iterator[Key]:
        """Keys of every resource, or of the resources of one namespace."""
        found = tuple(self._kinds["LLMDeployment"].by_name)
        return (Key(*name) for name in found if namespace in ("", name[0]))

    def resource(self, key: Key) -> Manifest | None:
        """The resource as the watch last delivered it; None where it does not exist."""
        return self.read("LLMDeployment", (key.namespace, key.name))

    def children(self, kind: str, key: Key, owners: Collection[str] | None = None) -> list[Manifest]:
        """Every object of ``kind`` with the resource's label, sorted by name.

        With ``owners`` (uids), only those that one of them controls, as labels can be forged; None: all.
        """
        stored = self._kinds[kind]
        names = stored.labelled((key.namespace, key.name), owners)
        return [found for name in names if (found := stored.read(name)) is not None]

    def state(self, key: Key) -> ResourceState:
        """What the queue needs to know of a resource: reported, ready, serving. All False for one that is not
        stored."""
        entry = self._kinds["LLMDeployment"].by_name.get((key.namespace, key.name))
        return entry.state if entry else ResourceState()

    def owners_on(self, node: str) -> set[Key]:
        """Resources that have pods on that node."""
        pods = self._kinds["Pod"]
        found = {(name[0], pods.by_name[name].owner) for name in pods.on_node(node)}
        return {Key(*owner) for owner in found if owner[1]}

    def claim(self, namespace: str, name: str) -> Manifest | None:
        """A PersistentVolumeClaim; None where it does not exist."""
        return self.read("PersistentVolumeClaim", (namespace, name))

    def nodes(self) -> tuple[NodeFacts, ...] | None:
        """Every node; None without permission to read nodes."""
        if not self.may_read("Node"):
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

    def leaving(self, kind: str, namespace: str, name: str) -> bool:
        """Whether a stored object is being deleted."""
        found = self.read(kind, (namespace, name))
        return found is not None and bool(found["metadata"].get("deletionTimestamp"))

    def read(self, kind: str, name: Name) -> Manifest | None:
        """A stored object; None where it is not stored."""
        return self._kinds[kind].read(name)

    # --- for watches ---
    def put(self, kind: str, manifest: Manifest, *, listed: bool = False) -> None:
        """Stores ``manifest`` in place of its old version.

        ``listed``: whether it comes from a complete list, which replaces even a newer stored version, as etcd
        may have been restored.
        """
        kept = trimmed(kind, manifest)
        metadata = kept["metadata"]
        version = str(metadata.pop("resourceVersion", ""))
        name = (intern(metadata.get("namespace", "")), intern(metadata["name"]))
        label = (metadata.get("labels") or {}).get(DEPLOYMENT_LABEL, "")
        if label and not is_read(kind, name[1], label):
            return
        stored = self._kinds[kind]
        old = stored.by_name.get(name)
        # What a cache in between repeats may be older, and of an object that has gone since.
        if old is not None and not listed and not later(version, old.version):
            return
        text = json_bytes(kept)
        if old is not None and old.text == text:
            old.version = version
        else:
            entry = stored.add(name, kept, version, text)
            self._notify(kind, name, {item.owner for item in (old, entry) if item})
        self._wake()

    def remove(self, kind: str, namespace: str, name: str, *, uid: str = "") -> None:
        """Removes a deleted object; with ``uid``, only the object of that uid, not its successor of the same
        name."""
        found = self.find(kind, namespace, name)
        if found is not None and uid in ("", found[0]):
            old = self._kinds[kind].drop((namespace, name))
            assert old is not None
            self._notify(kind, (namespace, name), {old.owner})
        self._wake()

    def keep_only(self, kind: str, namespace: str, names: Collection[Name]) -> None:
        """Removes all objects that are not in ``names``, a complete list: they were deleted."""
        for name in [name for name in self._kinds[kind].by_name if namespace in ("", name[0])]:
            if name not in names:
                self.remove(kind, *name)

    def _notify(self, kind: str, name: Name, owners: Collection[str]) -> None:
        if kind == "Node":
            self._nodes = None
            self._node_facts.pop(name, None)
        for owner in sorted(owners):
            self._on_change(StoreChange(kind, *name, owner))
