"""Which objects of a namespace have a place in the store, where there are more than it holds of one."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Mapping
from datetime import datetime, timedelta
from sys import intern

from tacho_contract.units import parse_time
from tacho_operator.core.names import DEPLOYMENT_LABEL, is_read
from tacho_operator.core.places import ResourceOrder, rank, reports_full
from tacho_operator.core.pods.view import owner_uid
from tacho_operator.core.types import Manifest
from tacho_operator.shell.store import objects
from tacho_operator.shell.store.objects import Name, StoredObjects
from tacho_operator.shell.store.stored_object import StoredObject
from tacho_operator.shell.store.trimming import CONTROLLED, UNOWNED

CHILDREN = CONTROLLED | UNOWNED
OWNED: Mapping[str, Collection[str]] = {
    "LLMDeployment": CHILDREN - {"ReplicaSet"},
    "Deployment": ("ReplicaSet",),
    "ReplicaSet": ("Pod",),
}
"""Kinds of the children that decisions read, by the kind of their controller."""
NODES = 1000
"""Most nodes of a namespace that are remembered, beside those that exist: anyone may name others."""
DROPPED_OWNERS = 1000
"""Most controllers of a namespace that are remembered, of which a child was dropped before they came."""
ANY = ""
"""Instead of the uids of more than DROPPED_OWNERS."""
CLOCKS_DIFFER = timedelta(hours=1)
"""Time by which the operator's clock may be behind the API server's. A controller that was made so long after
the last child was dropped had none that was.
"""
REMOVED = 10_000
"""Most removed objects that are remembered."""


def label_of(manifest: Manifest) -> str:
    """Name of the resource in the object's label."""
    return str((manifest["metadata"].get("labels") or {}).get(DEPLOYMENT_LABEL, ""))


class NamespacePlaces:
    """Which LLMDeployments are stored, and the namespaces that have more."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._orders: defaultdict[str, ResourceOrder] = defaultdict(lambda: ResourceOrder(limit))
        self.unheld: dict[str, int] = {}
        """Number of LLMDeployments that are not stored, as last counted, by namespace with any."""
        self.uncounted: set[str] = set()
        """Namespaces of ``unheld`` to be checked: one lacks its status, or there may be a place."""

    def take(self, name: Name, resource: Manifest) -> Name | None:
        """Gives the resource a place; the name of the one that has none then, perhaps ``name`` itself."""
        namespace = name[0]
        evicted = self._orders[namespace].take(name[1], rank(resource))
        if evicted is None:
            return None
        if evicted != name[1] or namespace not in self.unheld or not reports_full(resource):
            self.unheld.setdefault(namespace, 1)
            self.uncounted.add(namespace)
        return namespace, evicted

    def held(self, namespace: str) -> int:
        """Number of LLMDeployments of the namespace that are stored."""
        return len(self._orders[namespace]) if namespace in self._orders else 0

    def leave(self, name: Name) -> None:
        """Notes that a resource was deleted."""
        namespace = name[0]
        if namespace in self._orders:
            self._orders[namespace].leave(name[1])
            if not self._orders[namespace]:
                del self._orders[namespace]
        if namespace in self.unheld:
            self.uncounted.add(namespace)

    def counted(self, namespace: str, unheld: int) -> None:
        """Notes how many resources of the namespace are not stored."""
        if unheld:
            self.unheld[namespace] = unheld
        else:
            self.unheld.pop(namespace, None)


class DroppedOwners:
    """Controllers that were not stored when a child of theirs was dropped, as of such few are stored."""

    def __init__(self, clock: Callable[[], datetime]) -> None:
        self._clock = clock
        self._uids: defaultdict[str, set[str]] = defaultdict(set)
        self._last: dict[str, datetime] = {}
        """When the last child was dropped, by namespace."""

    def add(self, namespace: str, uid: str) -> None:
        self._last[namespace] = self._clock()
        found = self._uids[namespace]
        found.add(uid)
        if len(found) > DROPPED_OWNERS:
            self._uids[namespace] = {ANY}

    def take(self, namespace: str, uid: str, created: str) -> bool:
        """Whether a child of that controller, which is stored from now on, may have been dropped.

        ``created``: when the controller was made; "": unknown.
        """
        found = self._uids.get(namespace, set())
        if uid in found:
            found.remove(uid)
            return True
        if ANY not in found:
            return False
        made = parse_time(created)
        return made is None or made <= self._last[namespace] + CLOCKS_DIFFER

    def forget(self, namespace: str) -> None:
        """Notes that nothing of the namespace is stored any more."""
        self._uids.pop(namespace, None)
        self._last.pop(namespace, None)


class StoreBounds:
    """The places of all kinds, and what is known of objects without one."""

    def __init__(
        self, kinds: Mapping[str, StoredObjects], max_resources: int, clock: Callable[[], datetime]
    ) -> None:
        self._kinds = kinds
        self.places = NamespacePlaces(max_resources)
        self._owners: dict[str, str] = {}
        """Name of the resource by uid of a stored owner: the resource, its Deployments and ReplicaSets."""
        self.over_limit: Counter[Name] = Counter()
        """How often a child of a resource had no place, since all had one."""
        self._nodes: defaultdict[Name, set[str]] = defaultdict(set)
        """Nodes of pods that have no place, by resource."""
        self._node_counts: Counter[str] = Counter()
        """Number of these, by namespace."""
        self.claims_over_limit: Counter[str] = Counter()
        """How often a claim had no place, by namespace of which not all claims are stored."""
        self._removed: dict[str, None] = {}
        self._dropped_owners = DroppedOwners(clock)

    def is_owned(self, kind: str, name: Name, kept: Manifest) -> bool:
        """Whether a stored resource of the label's name controls the child, directly or through others."""
        label = label_of(kept)
        is_known = (name[0], label) in self._kinds["LLMDeployment"].by_name
        return is_known and owner_uid(kept) in self._owners and is_read(kind, name[1], label)

    def most_children(self, namespace: str) -> int:
        """Most owned children of the namespace that are stored."""
        return max(objects.NAMESPACE_CHILDREN, objects.RESOURCE_CHILDREN * self.places.held(namespace))

    def is_owner(self, uid: str, label: str) -> bool:
        """Whether an object of that uid is an owner already, of the same resource."""
        return self._owners.get(uid) == label

    def adopt(
        self, kind: str, namespace: str, uid: str, label: str, created: str = "", *, is_known: bool = False
    ) -> list[tuple[str, Name]]:
        """Notes an owner, of the resource ``label``. Some of its children may have come before it: those that
        have no place now are returned, by kind and name.

        ``created``: when it was made; "": unknown. ``is_known``: whether it was an owner already.
        """
        self._owners[uid] = label
        if is_known:
            return []
        is_resource = (namespace, label) in self._kinds["LLMDeployment"].by_name
        if self._dropped_owners.take(namespace, uid, created) and is_resource:
            self.over_limit[namespace, label] += 1
        without: list[tuple[str, Name]] = []
        for owned in OWNED[kind]:
            stored = self._kinds[owned]
            for name in stored.unowned_of(namespace, uid):
                child = stored.by_name[name]
                if self.is_full(namespace):
                    self._count_over_limit((namespace, child.owner), child.node)
                    without.append((owned, name))
                    continue
                stored.own(name)
                if owned in OWNED:
                    without += self.adopt(owned, namespace, child.uid, child.owner)
        return without

    def dropped_unowned(self, namespace: str, owner_uid: str) -> None:
        """Notes that a child whose controller is not stored was dropped, so that it is read if that comes."""
        if owner_uid:
            self._dropped_owners.add(namespace, owner_uid)

    def take(
        self, kind: str, name: Name, kept: Manifest, old: StoredObject | None, *, is_owned: bool
    ) -> Name | None:
        """Gives an object a place; the name of the one that has none then, perhaps ``name`` itself."""
        stored = self._kinds[kind]
        if kind == "LLMDeployment":
            return self.places.take(name, kept)
        if kind == "PersistentVolumeClaim" and old is None and stored.owned[name[0]] >= objects.CLAIMS:
            self.claims_over_limit[name[0]] += 1
            return name
        if kind not in CHILDREN or not is_owned or (old is not None and old.is_owned):
            return None
        if not self.is_full(name[0]) and not stored.is_over(name[0], owner_uid(kept) or ""):
            return None
        node = (kept.get("spec") or {}).get("nodeName", "") if kind == "Pod" else ""
        self._count_over_limit((name[0], label_of(kept)), node)
        return name

    def _count_over_limit(self, resource: Name, node: str) -> None:
        """Notes a child without a place. Labels of no resource would be remembered for ever."""
        if resource not in self._kinds["LLMDeployment"].by_name:
            return
        self.over_limit[resource] += 1
        is_known = ("", node) in self._kinds["Node"].by_name
        if (
            node
            and node not in self._nodes[resource]
            and (is_known or self._node_counts[resource[0]] < NODES)
        ):
            self._nodes[resource].add(intern(node))
            self._node_counts[resource[0]] += 1

    def claims_due(self) -> list[str]:
        """Namespaces of which not all claims are stored, although half of the places are free. Where it were
        one, who makes and deletes a claim would cause a list of all each time.
        """
        owned = self._kinds["PersistentVolumeClaim"].owned
        return sorted(name for name in self.claims_over_limit if owned[name] <= objects.CLAIMS // 2)

    def is_full(self, namespace: str) -> bool:
        """Whether there is no place for another child of a resource."""
        return sum(self._kinds[kind].owned[namespace] for kind in CHILDREN) >= self.most_children(namespace)

    def incomplete_on(self, node: str) -> set[Name]:
        """Resources that have a pod on the node, and children without a place."""
        pods = self._kinds["Pod"]
        labelled = {(name[0], pods.by_name[name].owner) for name in pods.on_node(node)}
        found = {resource for resource, nodes in self._nodes.items() if node in nodes}
        return found | (labelled & self.over_limit.keys())

    def complete(self, resource: Name) -> None:
        """Notes that all children of the resource have a place."""
        self.over_limit.pop(resource, None)
        self._node_counts[resource[0]] -= len(self._nodes.pop(resource, ()))
        if not self._node_counts[resource[0]]:
            del self._node_counts[resource[0]]

    def dropped(self, kind: str, uid: str) -> None:
        """Notes that an object is not stored any more."""
        if kind in OWNED:
            self._owners.pop(uid, None)

    def removed(self, kind: str, name: Name, uid: str) -> None:
        """Notes that an object was deleted, so that a read that began before does not bring it back."""
        if uid:
            self._removed[uid] = None
            if len(self._removed) > REMOVED:
                del self._removed[next(iter(self._removed))]
        if kind == "LLMDeployment":
            self.places.leave(name)
            self.complete(name)

    def left(self, namespace: str) -> None:
        """Forgets what was dropped of a namespace of which nothing is stored any more."""
        if all(stored.is_empty(namespace) for stored in self._kinds.values()):
            self._dropped_owners.forget(namespace)

    def was_removed(self, uid: str) -> bool:
        return uid in self._removed
