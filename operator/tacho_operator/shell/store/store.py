"""The store: every object that decisions read, as the watches last told it.

How to ask it::

    store.resources()              every LLMDeployment's Key, or those of one namespace
    store.resource(key)            the LLMDeployment itself, None when there is none
    store.children("Pod", key)     what carries its label; also Deployment, Service, ConfigMap, …
    store.pods_on({"node-1"})      tacho's own pods on these nodes, whosever they are
    store.claim(namespace, name)   a PersistentVolumeClaim
    store.nodes(), store.history(namespace)
    store.stale()                  why what it holds may be old; empty: every stream runs

Answers are copies, trimmed to what is read of them (trim.py): change them as you like. Objects are held as
compressed JSON (packed.py). Nothing here waits or asks the API server.
"""

from __future__ import annotations

import asyncio
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime, timezone
from sys import intern

from tacho_operator.core.measurement.history import history_from, stored_status
from tacho_operator.core.names import DEPLOYMENT_LABEL
from tacho_operator.core.pods.nodes import node_facts
from tacho_operator.core.revisions.awaited import AWAITED, ceased, is_news
from tacho_operator.core.types import History, Manifest, NodeFacts, Waiting
from tacho_operator.shell.kube import KINDS
from tacho_operator.shell.store.packed import Packing
from tacho_operator.shell.store.trim import trimmed
from tacho_operator.shell.workqueue import Key

Name = tuple[str, str]
"""Namespace ("" of what has none) and name."""


def utc_now() -> datetime:
    return datetime.now(timezone.utc)


@dataclass(frozen=True, slots=True)
class State:
    """Of a resource: what tells how urgent it is."""

    told: bool = True
    """The operator has said something of it, of whichever spec; of what is gone nothing is to be told."""
    looked_at: bool = False
    """The status speaks of the spec as it is."""
    ready: bool = False
    why: str = ""
    """The reason of its condition Ready, while that is not True."""
    serves: bool = False
    """Some replica is ready."""


@dataclass(slots=True)
class Entry:
    """One object."""

    uid: str
    version: str
    owner: str
    """The LLMDeployment its label names; "" where it has none."""
    node: str
    text: bytes
    state: State = State()
    history: tuple[History, ...] | None = None


@dataclass(frozen=True, slots=True)
class Change:
    """What one event changed of what is read; an event that changed nothing of that is none."""

    kind: str
    namespace: str
    name: str
    owner: str
    """The resource of its label as it is now, or was before it went."""
    freed: str = ""
    """The reason for which it waited: others that wait for the same may have it too."""


def later(version: str, than: str) -> bool:
    """Whether a resourceVersion is that of ``than`` or later. They are comparable as numbers within a kind
    (kubernetes.io, API concepts, resource versions); what is no number compares by being the same."""
    if version.isdigit() and than.isdigit():
        return int(version) >= int(than)
    return version == than


def told(resource: Manifest) -> bool:
    """Whether the operator has said anything of it: the API server gives each a first status of its own, of
    which no generation is said."""
    return bool((resource.get("status") or {}).get("observedGeneration"))


def _state(resource: Manifest) -> State:
    status = resource.get("status") or {}
    conditions = status.get("conditions") or ()
    ready: Manifest = next((item for item in conditions if item.get("type") == "Ready"), {})
    is_ready = ready.get("status") == "True"
    return State(
        told=told(resource),
        looked_at=status.get("observedGeneration") == resource["metadata"].get("generation"),
        ready=is_ready,
        why="" if is_ready else intern(str(ready.get("reason", ""))),
        serves=bool(status.get("readyReplicas")),
    )


class Store:
    """Filled by reflectors; ``on_change`` is called for every change of what is read."""

    def __init__(self, on_change: Callable[[Change], None], clock: Callable[[], datetime] = utc_now) -> None:
        self._on_change = on_change
        self._objects: dict[str, dict[Name, Entry]] = {kind: {} for kind in KINDS}
        self._packing = {kind: Packing() for kind in KINDS}
        self._owned: dict[str, dict[Name, tuple[Name, ...]]] = {kind: {} for kind in KINDS}
        self._on_node: dict[str, set[Name]] = defaultdict(set)
        self._nodes: tuple[NodeFacts, ...] | None = None
        self._waiting: set[asyncio.Future[None]] = set()
        self._unknown: set[tuple[str, str]] = set()
        """Kinds and namespaces ("" for all) that may not be read."""
        self._clock = clock
        self._unready: Counter[str] = Counter()
        """Resources that are not ready, by the reason that Ready gives."""
        self._freed: dict[str, datetime] = {}
        self.streams: dict[tuple[str, str], str] = {}
        """Latest resourceVersion that a kind's stream of a namespace ("" for all) has brought."""
        self._stale: dict[tuple[str, str], str] = {}

    # --- what decisions ask ---
    def resources(self, namespace: str = "") -> Iterator[Key]:
        """Every resource, or those of one namespace."""
        found = tuple(self._objects["LLMDeployment"])
        return (Key(*name) for name in found if namespace in ("", name[0]))

    def waiting(self) -> dict[str, Waiting]:
        """Who waits for what comes by itself, by the reason that Ready gives."""
        return {why: Waiting(self._unready[why], self._freed.get(why)) for why in AWAITED}

    def waiting_for(self, why: str) -> Iterator[Key]:
        """Whose Ready gives that reason."""
        return (key for key in self.resources() if self.state(key).why == why)

    def resource(self, key: Key) -> Manifest | None:
        """The resource as it was last told."""
        return self._read("LLMDeployment", (key.namespace, key.name))

    def children(self, kind: str, key: Key) -> list[Manifest]:
        """Every object of that kind with the resource's label, by name."""
        names = sorted(self._owned[kind].get((key.namespace, key.name), ()))
        return [found for name in names if (found := self._read(kind, name)) is not None]

    def state(self, key: Key) -> State:
        """How a resource is; as one that was never looked at where it is unknown."""
        entry = self._objects["LLMDeployment"].get((key.namespace, key.name))
        return entry.state if entry else State()

    def owners_on(self, node: str) -> set[Key]:
        """Resources that have pods on that node."""
        pods = self._objects["Pod"]
        found = {(name[0], pods[name].owner) for name in self._on_node.get(node, ())}
        return {Key(*owner) for owner in found if owner[1]}

    def pods_on(self, nodes: Iterable[str]) -> list[Manifest]:
        """tacho's pods on these nodes."""
        names = sorted(name for node in set(nodes) for name in self._on_node.get(node, ()))
        return [found for name in names if (found := self._read("Pod", name)) is not None]

    def claim(self, namespace: str, name: str) -> Manifest | None:
        """A PersistentVolumeClaim, None where there is none."""
        return self._read("PersistentVolumeClaim", (namespace, name))

    def known(self, kind: str, namespace: str = "") -> bool:
        """False where the operator may not read that kind: then nothing follows from its absence."""
        return self._unknown.isdisjoint({(kind, ""), (kind, namespace)})

    def nodes(self) -> tuple[NodeFacts, ...] | None:
        """Every node; None where they may not be read."""
        if not self.known("Node"):
            return None
        if self._nodes is None:
            found = sorted(self._objects["Node"])
            self._nodes = tuple(node_facts(self._read("Node", name) or {}) for name in found)
        return self._nodes

    def history(self, namespace: str) -> tuple[History, ...]:
        """What was measured in a namespace so far."""
        found: list[History] = []
        unpacked = self._packing["LLMDeployment"].unpacked
        for name, entry in self._objects["LLMDeployment"].items():
            if name[0] != namespace:
                continue
            if entry.history is None:
                entry.history = history_from([stored_status(unpacked(entry.text))])
            found += entry.history
        return tuple(found)

    def naming(self, namespace: str, text: str) -> list[Key]:
        """Resources of a namespace whose manifest has that text in it."""
        sought, told = text.encode(), self._packing["LLMDeployment"].json
        found = self._objects["LLMDeployment"].items()
        return [Key(*name) for name, entry in found if name[0] == namespace and sought in told(entry.text)]

    def stale(self, namespace: str | None = None) -> tuple[str, ...]:
        """Why what is held may be old, or what is read for resources of one namespace: a line a stream; empty
        when every stream runs."""
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

    def leaving(self, kind: str, namespace: str, name: str) -> bool:
        """Whether an object that is held is being deleted."""
        found = self._read(kind, (namespace, name))
        return found is not None and bool(found["metadata"].get("deletionTimestamp"))

    async def changed(self) -> None:
        """Waits for the next event of any stream."""
        future = asyncio.get_running_loop().create_future()
        self._waiting.add(future)
        try:
            await future
        finally:
            self._waiting.discard(future)

    # --- what reflectors tell ---
    def put(self, kind: str, manifest: Manifest) -> None:
        """An object as it is now."""
        kept = trimmed(kind, manifest)
        metadata = kept["metadata"]
        version = str(metadata.pop("resourceVersion", ""))
        # Children repeat their resource's names: each is kept once.
        name = (intern(metadata.get("namespace", "")), intern(metadata["name"]))
        former = self._objects[kind].get(name)
        if former is not None and former.uid == metadata["uid"] and not later(version, former.version):
            return  # a list that is read page by page may be older than what was watched meanwhile
        text = self._packing[kind].packed(kept, former.text if former else b"")
        if former is not None and former.text is text:
            former.version = version
        else:
            self._drop(kind, name)
            entry = Entry(
                uid=metadata["uid"],
                version=version,
                owner=intern((metadata.get("labels") or {}).get(DEPLOYMENT_LABEL, "")),
                node=intern(kept["spec"].get("nodeName", "")) if kind == "Pod" else "",
                text=text,
                state=_state(kept) if kind == "LLMDeployment" else State(),
                history=None if (kept.get("status") or {}).get("measurements") else (),
            )
            self._objects[kind][name] = entry
            if kind == "LLMDeployment" and not entry.state.ready:
                self._unready[entry.state.why] += 1
            if entry.owner:
                owner = (name[0], entry.owner)
                self._owned[kind][owner] = (*self._owned[kind].get(owner, ()), name)
            if entry.node:
                self._on_node[entry.node].add(name)
            self._tell(kind, name, former, entry, self._ceased(former, entry))
        self._wake()

    def _ceased(self, former: Entry | None, entry: Entry) -> str:
        """What it awaited and awaits no longer; "" where that is old news."""
        why = ceased(former.state.why if former else "", entry.state.why)
        now = self._clock()
        if not why or not is_news(self._freed.get(why), now):
            return ""
        self._freed[why] = now
        return why

    def remove(self, kind: str, namespace: str, name: str) -> None:
        """An object that is gone."""
        if (former := self._drop(kind, (namespace, name))) is not None:
            self._tell(kind, (namespace, name), former, None)
        self._wake()

    def keep_only(self, kind: str, namespace: str, names: Collection[Name]) -> None:
        """What a complete list did not name is gone."""
        held = [name for name in self._objects[kind] if namespace in ("", name[0])]
        for name in held:
            if name not in names:
                self.remove(kind, *name)

    def at(self, kind: str, namespace: str, version: str) -> None:
        """The stream has brought everything up to ``version``."""
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

    def _drop(self, kind: str, name: Name) -> Entry | None:
        former = self._objects[kind].pop(name, None)
        if former is None:
            return None
        if kind == "LLMDeployment" and not former.state.ready:
            self._unready[former.state.why] -= 1
        if former.owner:
            owner = (name[0], former.owner)
            others = tuple(item for item in self._owned[kind].pop(owner) if item != name)
            if others:
                self._owned[kind][owner] = others
        if former.node:
            self._on_node[former.node].discard(name)
            if not self._on_node[former.node]:
                del self._on_node[former.node]
        return former

    def _tell(
        self, kind: str, name: Name, former: Entry | None, entry: Entry | None, freed: str = ""
    ) -> None:
        if kind == "Node":
            self._nodes = None
        for owner in sorted({item.owner for item in (former, entry) if item}):
            self._on_change(Change(kind, name[0], name[1], owner, freed))

    def _wake(self) -> None:
        waiting, self._waiting = self._waiting, set()
        for future in waiting:
            if not future.done():
                future.set_result(None)
