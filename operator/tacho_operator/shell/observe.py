"""Reads everything one decision looks at, live, just before it is made."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable

import httpx
from pydantic import ValidationError

from tacho_operator.api.types import LLMDeployment
from tacho_operator.core.measurement.history import history_from, stored_status
from tacho_operator.core.names import DEPLOYMENT_LABEL
from tacho_operator.core.pods.claims import claim_names
from tacho_operator.core.pods.nodes import node_facts
from tacho_operator.core.revisions.step import wanted_revision
from tacho_operator.core.types import History, Manifest, NodeFacts, Observed
from tacho_operator.shell.kube import Forbidden, Kube
from tacho_operator.shell.reports import collect
from tacho_operator.shell.workqueue import Key

NODES_FRESH_SECONDS = 15.0
"""For planning, and to see a lost node; what is free on them is the scheduler's to judge."""

CHILD_KINDS = (
    "ControllerRevision",
    "Deployment",
    "Service",
    "ConfigMap",
    "NetworkPolicy",
    "PodDisruptionBudget",
    "ReplicaSet",
    "Pod",
)


class UnreadableResource(Exception):
    """A stored resource that the types refuse: an old CRD let it in."""


def read_resource(raw: Manifest) -> LLMDeployment:
    """The stored resource. Raises UnreadableResource.

    A status that the types refuse (a later version of the operator wrote it) is as if there were none: it has
    no other writer, so it is written anew, and no person could mend it.
    """
    try:
        resource = LLMDeployment.model_validate({**raw, "status": {}})
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        raise UnreadableResource(f"{place}: {first['msg']}") from None
    return resource.model_copy(update={"status": stored_status(raw)})


def controller(manifest: Manifest) -> Manifest | None:
    """Reference to the controlling owner."""
    owners = manifest["metadata"].get("ownerReferences") or ()
    return next((owner for owner in owners if owner.get("controller")), None)


def owner_uid(manifest: Manifest) -> str | None:
    """Uid of the controlling owner."""
    found = controller(manifest)
    return str(found["uid"]) if found else None


def owned(manifests: Iterable[Manifest], uids: set[str]) -> tuple[Manifest, ...]:
    """Only what one of ``uids`` controls: labels can be forged, owner uids cannot be guessed twice."""
    found = (manifest for manifest in manifests if owner_uid(manifest) in uids)
    return tuple(sorted(found, key=lambda manifest: manifest["metadata"]["name"]))


class Observer:
    """Observes one resource at a time; remembers only nodes, for a moment."""

    def __init__(self, kube: Kube, client: httpx.AsyncClient) -> None:
        self._kube = kube
        self._client = client
        self._nodes: tuple[NodeFacts, ...] | None = None
        self._nodes_until = 0.0
        self._nodes_lock = asyncio.Lock()

    async def observe(self, key: Key) -> Observed | None:
        """The resource and everything around it; None when it is gone. Raises UnreadableResource."""
        raw = await self._kube.get("LLMDeployment", key.namespace, key.name)
        if raw is None:
            return None
        resource = read_resource(raw)
        selector = f"{DEPLOYMENT_LABEL}={key.name}"
        lists = await asyncio.gather(
            *(self._kube.list_all(kind, key.namespace, selector) for kind in CHILD_KINDS)
        )
        found = dict(zip(CHILD_KINDS, lists, strict=True))
        uid = {raw["metadata"]["uid"]}
        mine = {kind: owned(items, uid) for kind, items in found.items()}
        replica_sets = owned(found["ReplicaSet"], {item["metadata"]["uid"] for item in mine["Deployment"]})
        pods = owned(found["Pod"], uid | {item["metadata"]["uid"] for item in replica_sets})
        recorded = {item["metadata"]["name"] for item in mine["ControllerRevision"]}
        planning = wanted_revision(resource) not in recorded
        return Observed(
            resource=resource,
            raw=raw,
            revisions=mine["ControllerRevision"],
            deployments=mine["Deployment"],
            services=mine["Service"],
            config_maps=mine["ConfigMap"],
            network_policies=mine["NetworkPolicy"],
            disruption_budgets=mine["PodDisruptionBudget"],
            pods=pods,
            replica_sets=replica_sets,
            reports=await collect(self._client, pods),
            claims=await self._claims(key.namespace, claim_names(resource.spec)),
            nodes=await self._read_nodes(),
            history=await self._history(key.namespace) if planning else (),
        )

    async def _claims(self, namespace: str, names: Iterable[str]) -> dict[str, Manifest | None]:
        """Claims by name; without the right to read them they are absent, which means unknown."""
        try:
            return {name: await self._kube.get("PersistentVolumeClaim", namespace, name) for name in names}
        except Forbidden:
            return {}

    async def _read_nodes(self) -> tuple[NodeFacts, ...] | None:
        async with self._nodes_lock:  # workers that wait here find fresh nodes
            if time.monotonic() >= self._nodes_until:
                try:
                    # A node's manifest has some 20 KB, most of it images: a large cluster does not fit.
                    self._nodes = tuple(
                        [node_facts(node) async for page in self._kube.pages("Node") for node in page]
                    )
                except Forbidden:
                    self._nodes = None
                self._nodes_until = time.monotonic() + NODES_FRESH_SECONDS
        return self._nodes

    async def _history(self, namespace: str) -> tuple[History, ...]:
        return history_from(map(stored_status, await self._kube.list_all("LLMDeployment", namespace)))
