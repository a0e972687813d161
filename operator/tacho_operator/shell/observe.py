"""Collects from the store everything that one decision depends on."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime, timezone

from pydantic import ValidationError

from tacho_operator.api.types import LLMDeployment
from tacho_operator.core.measurement.step import live_text
from tacho_operator.core.names import ROLE_PROBE, ROLE_SERVER
from tacho_operator.core.planner.history import stored_status
from tacho_operator.core.pods.claims import claim_names
from tacho_operator.core.pods.nodes import on_nodes
from tacho_operator.core.pods.view import PodView
from tacho_operator.core.problems import Problem
from tacho_operator.core.revisions.identity import desired_revision_name
from tacho_operator.core.rollout.reading import lost_nodes
from tacho_operator.core.status.undecided import (
    StoredResource,
    internal_error,
    unreadable_spec,
)
from tacho_operator.core.types import Manifest, Observed
from tacho_operator.shell.replica_writes import ReplicaWrites
from tacho_operator.shell.reports import Reports
from tacho_operator.shell.store.store import Store
from tacho_operator.shell.workqueue import Key

CHILDREN = (
    "ControllerRevision",
    "Deployment",
    "ReplicaSet",
    "Service",
    "ConfigMap",
    "NetworkPolicy",
    "PodDisruptionBudget",
    "Pod",
)
"""Kinds of children, which carry the resource's label."""


def utc_now() -> datetime:
    return datetime.now(timezone.utc)


class UnreadableResource(Exception):
    """A stored resource that cannot be read, with the problem that says why."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem.message)
        self.problem = problem


class UndecidedResource(Exception):
    """A stored resource that cannot be decided on: unreadable objects, or a defect of the operator."""

    def __init__(self, found: StoredResource, cause: Exception) -> None:
        self.found = found
        self.problem = cause.problem if isinstance(cause, UnreadableResource) else internal_error(cause)
        super().__init__(self.problem.message)


@contextmanager
def deciding(observed: Observed) -> Iterator[None]:
    """Turns any error of a decision into UndecidedResource, so that one resource's error stops no other, and
    Ready still follows its pods.
    """
    try:
        yield
    except Exception as error:
        raise UndecidedResource(StoredResource.of(observed), error) from error


def read_resource(raw: Manifest) -> LLMDeployment:
    """The stored resource, typed. Raises UnreadableResource, as where an older CRD accepted it.

    A status that cannot be parsed (a later version of the operator wrote it) counts as absent. It has no
    other writer, so the operator writes it anew; no user could repair it.
    """
    try:
        resource = LLMDeployment.model_validate({**raw, "status": {}})
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        raise UnreadableResource(unreadable_spec(f"{place}: {first['msg']}")) from None
    return resource.model_copy(update={"status": stored_status(raw)})


class Observer:
    """Collects the state of one resource at a time."""

    def __init__(self, store: Store, reports: Reports, clock: Callable[[], datetime] = utc_now) -> None:
        """``clock``: that of the decisions."""
        self._store, self._reports, self._clock = store, reports, clock
        self._replica_writes = ReplicaWrites(clock)

    async def observe(self, key: Key) -> Observed | None:
        """The resource and all that its decision depends on; None: deleted. Raises UndecidedResource."""
        raw = self._store.resource(key)
        if raw is None:
            self._reports.forget(key)
            self._replica_writes.forget(key)
            return None
        mine = self._children(key, raw["metadata"]["uid"])
        try:
            return await self._complete(key, raw, mine)
        except Exception as error:
            stored = StoredResource(
                raw=raw, pods=mine["Pod"], deployments=mine["Deployment"], services=mine["Service"]
            )
            raise UndecidedResource(stored, error) from error

    def _children(self, key: Key, uid: str) -> dict[str, tuple[Manifest, ...]]:
        """The resource's children by kind, found by owner uid."""
        found: dict[str, tuple[Manifest, ...]] = {}
        for kind in CHILDREN:
            between = {"ReplicaSet": "Deployment", "Pod": "ReplicaSet"}.get(kind)
            owners = {item["metadata"]["uid"] for item in found[between]} if between else set()
            owners |= {uid} if kind != "ReplicaSet" else set()
            found[kind] = tuple(self._store.children(kind, key, owners))
        found["Pod"] = on_nodes(found["Pod"], self._store.nodes())
        return found

    async def _complete(
        self,
        key: Key,
        raw: Manifest,
        mine: Mapping[str, tuple[Manifest, ...]],
    ) -> Observed:
        """The observed state of the resource, from its children and from nodes and claims in the store."""
        resource, pods = read_resource(raw), mine["Pod"]
        recorded = {item["metadata"]["name"] for item in mine["ControllerRevision"]}
        waits = any((pod.get("status") or {}).get("phase") == "Pending" for pod in pods)  # perhaps for a GPU
        planning = waits or desired_revision_name(resource) not in recorded
        lost = lost_nodes(self._store.nodes())
        engines = [
            pod
            for pod, view in zip(pods, map(PodView, pods), strict=True)
            if view.role in (ROLE_PROBE, ROLE_SERVER) and not view.is_stuck(lost)
        ]
        reports = await self._reports.collect(key, engines, live_text(mine["ConfigMap"], key.name))
        history = await self._store.history(key.namespace) if planning else ()
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
            replica_sets=mine["ReplicaSet"],
            reports=reports,
            claims=self._claims(key.namespace, claim_names(resource.spec)),
            nodes=self._store.nodes(),
            history=history,
            replicas_written=self._replica_writes.last(key, resource),
        )

    def _claims(self, namespace: str, names: Iterable[str]) -> dict[str, Manifest | None]:
        """PersistentVolumeClaims by name. Without permission the result is empty: unknown, not missing."""
        if not self._store.may_read("PersistentVolumeClaim", namespace):
            return {}
        return {name: self._store.claim(namespace, name) for name in names}
