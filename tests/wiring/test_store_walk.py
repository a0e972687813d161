"""Random walks: whatever comes in whatever order, a child of a held resource is stored or known to be
missing, and no namespace has more than its share."""

from __future__ import annotations

import random
from collections import Counter, deque
from typing import Any

import pytest

from tacho_operator.core.types import Manifest
from tacho_operator.shell.store import bounds, objects
from tacho_operator.shell.store.bounds import CHILDREN, OWNED
from tacho_operator.shell.store.objects import child_limit
from tacho_operator.shell.store.store import Store
from tests.wiring.storing import owned_by, thing

WALKS, STEPS = 300, 200
RESOURCES = "abcd"
KINDS = ("LLMDeployment", "Deployment", "ReplicaSet", "Pod", "ConfigMap", "Service")
OWNER = {"ReplicaSet": "Deployment", "Pod": "ReplicaSet"}
LIMITS = {"NAMESPACE_CHILDREN": 14, "RESOURCE_CHILDREN": 0, "UNOWNED": 3, "POD_LIMIT": 6, "CHILD_LIMIT": 4}


class Walk:
    """Objects of an API server, their events that are on the way, and a store that gets them."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.live: dict[tuple[str, str], Manifest] = {}
        self.events: dict[str, deque[tuple[str, Manifest]]] = {kind: deque() for kind in KINDS}
        self.store = Store(lambda _: None)
        self.version = 0

    def go(self) -> None:
        steps = (self.change, self.deliver, self.list_anew, self.read)
        for step in self.random.choices(steps, (10, 8, 1, 1), k=STEPS):
            step()
            owned = sum(self.store._kinds[kind].owned["ml"] for kind in CHILDREN)
            assert owned <= LIMITS["NAMESPACE_CHILDREN"]
            for kind in CHILDREN:
                assert len(self.store._kinds[kind]._unowned.get("ml", ())) <= LIMITS["UNOWNED"]
        while any(self.events.values()):
            self.deliver()
        self.check()

    # --- what happens in the cluster
    def change(self) -> None:
        """Somebody creates, changes or deletes an object. No owner gets another resource."""
        kind = self.random.choice((*KINDS, "Pod", "Pod", "ReplicaSet"))
        names = {"LLMDeployment": RESOURCES, "ConfigMap": [f"{one}-live" for one in RESOURCES]}
        name = self.random.choice(names.get(kind, [f"{kind.lower()}{number}" for number in range(12)]))
        self.version += 1
        found = self.live.get((kind, name))
        if found is not None and self.random.random() < 0.4:
            del self.live[kind, name]
            self.events[kind].append(("DELETED", found))
            return
        if found is not None:
            metadata = {**found["metadata"], "resourceVersion": str(self.version)}
            if kind not in OWNED:
                metadata |= self.owner(kind)
            made = {**found, "metadata": metadata, "spec": {"x": self.version}}
        else:
            made = thing(name, str(self.version), uid=f"uid-{self.version}", spec={"x": self.version})
            made["metadata"] |= self.owner(kind)
            if kind == "LLMDeployment":
                made["metadata"]["labels"] = {}
        self.live[kind, name] = made
        self.events[kind].append(("MODIFIED", made))

    def owner(self, kind: str) -> dict[str, Any]:
        """An owner that exists, one that does not, or none; with its resource's label."""
        above = OWNER.get(kind, "LLMDeployment")
        if kind == "Pod" and self.random.random() < 0.3:
            above = "LLMDeployment"
        found = [item for (other, _), item in self.live.items() if other == above]
        if kind == "LLMDeployment" or not found or self.random.random() < 0.2:
            ghost = owned_by("LLMDeployment", "ghost") if self.random.random() < 0.5 else {}
            return {"labels": {"tacho.dev/deployment": self.random.choice(RESOURCES)}, **ghost}
        metadata = self.random.choice(found)["metadata"]
        labels = metadata["labels"] or {"tacho.dev/deployment": metadata["name"]}
        return {"labels": labels, **owned_by(above, metadata["name"], metadata["uid"])}

    # --- what the operator sees of it
    def deliver(self) -> None:
        kind = self.random.choice(KINDS)
        if self.events[kind]:
            what, item = self.events[kind].popleft()
            if what == "DELETED":
                self.store.remove(kind, "ml", item["metadata"]["name"], uid=item["metadata"]["uid"])
            else:
                self.store.put(kind, item)

    def list_anew(self) -> None:
        kind = self.random.choice(KINDS)
        self.events[kind].clear()
        items = [item for (other, _), item in sorted(self.live.items()) if other == kind]
        for item in items:
            self.store.put(kind, item, listed=True)
        self.store.keep_only(kind, "", [("ml", item["metadata"]["name"]) for item in items])

    def read(self) -> None:
        """As ChildReads does."""
        resource = ("ml", self.random.choice(RESOURCES))
        known = self.store.bounds
        before = known.over_limit[resource]
        if not before or known.is_full("ml"):
            return
        for kind in KINDS[1:]:
            for (other, _), item in sorted(self.live.items()):
                if other == kind and item["metadata"]["labels"]["tacho.dev/deployment"] == resource[1]:
                    self.store.put(kind, item, live=True)
        if known.over_limit[resource] == before:
            known.complete(resource)

    # --- what holds once all is delivered
    def check(self) -> None:
        for kind in KINDS:
            held = self.store._kinds[kind]
            assert all((kind, name) in self.live for _, name in held.by_name)
            counted = Counter(entry.is_owned for entry in held.by_name.values())
            assert counted[True] == held.owned["ml"]
            assert counted[False] == len(held._unowned.get("ml", ()))
        for name in RESOURCES:
            if ("LLMDeployment", name) in self.live and not self.store.bounds.over_limit["ml", name]:
                self.check_children(name, self.live["LLMDeployment", name]["metadata"]["uid"])

    def check_children(self, resource: str, uid: str) -> None:
        found: dict[str, list[Manifest]] = {}
        for kind in KINDS[1:]:
            owners = {item["metadata"]["uid"] for item in found.get(OWNER.get(kind, ""), ())}
            owners |= {uid} - ({uid} if kind == "ReplicaSet" else set())
            found[kind] = [
                item
                for (other, name), item in self.live.items()
                if other == kind
                and item["metadata"]["labels"]["tacho.dev/deployment"] == resource
                and item["metadata"].get("ownerReferences", [{}])[0].get("uid") in owners
                and (kind != "ConfigMap" or name == f"{resource}-live")
            ]
            for item in found[kind]:
                entry = self.store._kinds[kind].by_name.get(("ml", item["metadata"]["name"]))
                assert entry is not None, f"{kind} {item['metadata']['name']} is not known to be missing"
                assert entry.is_owned, f"{kind} {item['metadata']['name']} may be dropped unnoticed"


def test_walks(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, limit in LIMITS.items():
        monkeypatch.setattr(objects, name, limit)
    monkeypatch.setattr(bounds, "DROPPED_OWNERS", 2)
    assert child_limit("Pod") == LIMITS["POD_LIMIT"]
    for seed in range(WALKS):
        try:
            Walk(seed).go()
        except AssertionError as error:
            error.add_note(f"walk {seed}")
            raise
