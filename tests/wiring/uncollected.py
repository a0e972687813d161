"""An API server with children of a deleted resource, in memory, and the loop that deletes them."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterable
from datetime import datetime
from typing import Any, cast

from tacho_operator.core.types import ResourceEvent
from tacho_operator.shell.bounded_reading import (
    IN_OBJECT,
    LONGEST_BYTES,
    NESTED,
    TOO_LONG,
    Text,
    metadata_only,
    metadata_part,
)
from tacho_operator.shell.former_children import PERIOD_SECONDS, FormerChildren
from tacho_operator.shell.kube import SIZE_MANAGER, Kube
from tests.wiring.storing import told

Manifest = dict[str, Any]


def owner(uid: str, **fields: Any) -> Manifest:
    reference = {"apiVersion": "tacho.dev/v1alpha1", "kind": "LLMDeployment", "name": "demo", "uid": uid}
    return {**reference, "controller": True, **fields}


def child(kind: str, name: str = "", *owners: Manifest, namespace: str = "team", **metadata: Any) -> Manifest:
    """A child of the former resource of uid "former", or of ``owners``."""
    own = {"name": name or f"demo-{kind.lower()}", "namespace": namespace, "resourceVersion": "1"}
    own |= {"labels": {"tacho.dev/deployment": "demo"}, "ownerReferences": [*owners] or [owner("former")]}
    own |= {"uid": f"uid-{kind}-{own['name']}-{namespace}", **metadata}
    rest = {"spec": {"replicas": 2}, "status": {"replicas": 2}} if kind == "Deployment" else {}
    return {"kind": kind, "metadata": own, **rest}


class Cluster:
    """An API server with these objects, and the operator's store and loop."""

    def __init__(self, *objects: Manifest, namespaces: tuple[str, ...] = ("team",), uid: str = "now") -> None:
        self.store, _ = told()
        self.objects: dict[tuple[str, str, str], Manifest] = {}
        self.errors: dict[str, Exception] = {}
        self.requests: list[str] = []
        self.reads = 0
        self.clock, self.leads = 100.0, True
        for namespace in namespaces:
            self.put({"kind": "LLMDeployment", "metadata": {
                "name": "demo", "namespace": namespace, "uid": uid, "resourceVersion": "1"}})  # fmt: skip
        for item in objects:
            self.put(item)
        self.events: list[tuple[str, str, str]] = []
        """(uid of the resource, reason, message) of each event."""
        leads, clock = (lambda: self.leads), (lambda: self.clock)
        self.loop = FormerChildren(cast(Kube, self), self.store, leads, self.post, clock)

    async def post(self, resource: Manifest, events: Iterable[ResourceEvent], _now: datetime) -> None:
        self.events += [(resource["metadata"]["uid"], item.reason, item.message) for item in events]

    def put(self, item: Manifest) -> None:
        self.objects[item["kind"], item["metadata"]["namespace"], item["metadata"]["name"]] = item
        self.store.put(item["kind"], copy.deepcopy(item))

    def live(self, kind: str, name: str) -> Manifest:
        return self.objects[kind, "team", name]

    def _ask(self, verb: str, kind: str, name: str) -> None:
        if verb == "get":
            self.reads += 1
        else:
            self.requests.append(f"{verb} {kind} {name}")
        for about in (name, verb, f"{verb} {name}"):
            if about in self.errors:
                raise self.errors[about]

    async def get(self, kind: str, namespace: str, name: str) -> Manifest | None:
        self._ask("get", kind, name)
        return copy.deepcopy(self.objects.get((kind, namespace, name)))

    async def delete(self, kind: str, namespace: str, name: str, *, uid: str, version: str) -> bool:
        self._ask("delete", kind, name)
        held = self.objects.pop((kind, namespace, name))
        assert (held["metadata"]["uid"], held["metadata"]["resourceVersion"]) == (uid, version)
        self.store.remove(kind, namespace, name)
        return True

    async def apply(self, manifest: Manifest, *, uid: str, manager: str) -> Manifest:
        metadata = manifest["metadata"]
        self._ask("apply", manifest["kind"], metadata["name"])
        held = self.objects[manifest["kind"], metadata["namespace"], metadata["name"]]
        assert (held["metadata"]["uid"], manager) == (uid, SIZE_MANAGER)
        assert metadata["resourceVersion"] == held["metadata"]["resourceVersion"]
        held["spec"]["replicas"] = manifest["spec"]["replicas"]
        return held

    async def rounds(self, seconds: float) -> list[str]:
        """Rounds at each period of these seconds, the first one at once; the writes that were sent."""
        self.requests.clear()
        ends = self.clock + seconds
        await self.loop.round()
        while self.clock + PERIOD_SECONDS <= ends:
            self.clock += PERIOD_SECONDS
            await self.loop.round()
        return self.requests


async def unreadable(manifest: Manifest) -> Manifest:
    """What Kube.get returns of an object that Python's parser does not read."""
    in_order = sorted(manifest["metadata"].items(), key=lambda member: member[0] == "ownerReferences")
    text = json.dumps({**manifest, "metadata": dict(in_order)}).replace("<", "\\u003c").encode()
    answer = Text(text[:LONGEST_BYTES], len(text))
    return metadata_only(await metadata_part(answer, until=IN_OBJECT), TOO_LONG if answer.is_cut else NESTED)
