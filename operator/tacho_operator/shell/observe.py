"""Collects from the store everything that one decision depends on."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime

from pydantic import ValidationError

from tacho_operator.api.types import LLMDeployment
from tacho_operator.core.measurement.noisy_neighbours import needs_neighbours
from tacho_operator.core.measurement.step import live_text
from tacho_operator.core.names import ROLE_PROBE, ROLE_SERVER
from tacho_operator.core.planner.history import stored_status
from tacho_operator.core.pods.claims import claim_names
from tacho_operator.core.pods.nodes import on_nodes
from tacho_operator.core.pods.view import UNKNOWN_PHASE, PodView, owner_uid
from tacho_operator.core.problems import Problem, refusal_problem
from tacho_operator.core.revisions.identity import desired_revision_name
from tacho_operator.core.rollout.reading import lost_nodes
from tacho_operator.core.status.undecided import (
    StoredResource,
    crowded_children,
    internal_error,
    unheld_children,
    unreadable_child,
    unreadable_spec,
)
from tacho_operator.core.types import Manifest, Observed
from tacho_operator.shell.api_errors import ApiError, Forbidden
from tacho_operator.shell.bounded_reading import METADATA_ONLY
from tacho_operator.shell.child_reads import CHILDREN as CHILDREN, ChildReads
from tacho_operator.shell.kube import KINDS, Kube
from tacho_operator.shell.replica_writes import ReplicaWrites
from tacho_operator.shell.reports import Reports
from tacho_operator.shell.server_clock import utc_now
from tacho_operator.shell.store.objects import BYTES_LIMIT, Excess, child_limit
from tacho_operator.shell.store.store import Store
from tacho_operator.shell.store.trimming import CONTROLLED, json_bytes, readable_part, weight
from tacho_operator.shell.workqueue import Key

MOST_READ = 1000
"""Most long pods of a resource that are read from the API server for each decision; 5,000 take minutes."""

TOO_LONG_TOGETHER = f"such long pods have more than {BYTES_LIMIT >> 20} MiB together"


class UnreadableObject(Exception):
    """A stored resource or a child of it that cannot be read, with the problem that says why."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem.message)
        self.problem = problem


class TooManyChildren(UnreadableObject):
    """More children of one kind than the operator reads."""


def _too_many(kind: str, excess: Excess) -> TooManyChildren:
    if excess is Excess.COUNT:
        text = f"more than {child_limit(kind)} objects of kind {kind}"
        next_step = "Delete those that have ended, and those that the operator did not make."
    else:
        text = f"more than {BYTES_LIMIT >> 20} MiB of " + ("objects" if kind in CONTROLLED else f"{kind}s")
        next_step = "Delete the longest; the operator creates its own again."
    return TooManyChildren(crowded_children(text, next_step))


def _too_many_long(kind: str) -> TooManyChildren:
    text = f"more than {MOST_READ} objects of kind {kind} that are long, or whose namespace stores too much"
    return TooManyChildren(crowded_children(text, "Delete those that the operator did not make."))


class UndecidedResource(Exception):
    """A stored resource that cannot be decided on: unreadable objects, or a defect of the operator."""

    def __init__(self, found: StoredResource, cause: Exception) -> None:
        self.found = found
        self.problem = cause.problem if isinstance(cause, UnreadableObject) else internal_error(cause)
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
    """The stored resource, typed. Raises UnreadableObject, as where an older CRD accepted it.

    A status that cannot be parsed (a later version of the operator wrote it) counts as absent. It has no
    other writer, so the operator writes it anew; no user could repair it.
    """
    try:
        resource = LLMDeployment.model_validate({**raw, "status": {}})
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        raise UnreadableObject(unreadable_spec(f"{place}: {first['msg']}")) from None
    return resource.model_copy(update={"status": stored_status(raw)})


def _readable(kind: str, manifest: Manifest) -> Manifest:
    """What decisions read of an object that came from the API server, as the store would keep it."""
    if METADATA_ONLY in manifest:
        return manifest
    return {**readable_part(kind, manifest), "apiVersion": KINDS[kind][0], "kind": kind}


def _unknown_pod(item: Manifest, why: str) -> Manifest:
    """A pod of which only the metadata can be read, as one in an unknown state."""
    return {"metadata": item["metadata"], "kind": "Pod", "status": {"phase": UNKNOWN_PHASE, "message": why}}


class Observer:
    """Collects the state of one resource at a time. Nodes, claims and neighbours always come from the
    store."""

    def __init__(
        self, kube: Kube, store: Store, reports: Reports, clock: Callable[[], datetime] = utc_now
    ) -> None:
        """``clock``: that of the decisions."""
        self._kube, self._store, self._reports, self._clock = kube, store, reports, clock
        self._child_reads = ChildReads(kube, store)
        self._replica_writes = ReplicaWrites(clock)

    async def observe(self, key: Key) -> Observed | None:
        """The resource and all that its decision depends on; None: deleted. Raises UndecidedResource."""
        raw = self._store.resource(key)
        if raw is None:
            self._reports.forget(key)
            self._child_reads.forget(key)
            self._replica_writes.forget(key)
            return None
        unread: list[UnreadableObject] = []
        mine = self._children(key, raw["metadata"]["uid"], unread)
        if self._store.bounds.over_limit[key]:
            # While others fill the namespace, or its own are too many, it stays as it is: lists cost much.
            may_read = not unread and not self._store.bounds.is_full(key.namespace)
            if may_read and self._child_reads.is_due(key):
                await self._child_reads.read(key)
                mine = self._children(key, raw["metadata"]["uid"], unread)
            if self._store.bounds.over_limit[key]:
                most = self._store.bounds.most_children(key.namespace)
                unread.append(TooManyChildren(unheld_children(most)))
                mine = dict.fromkeys(CHILDREN, ())
        try:
            if METADATA_ONLY in raw:
                whole = await self._read_whole("LLMDeployment", raw)
                if whole is None:  # deleted: the watch says so in a moment
                    return None
                raw = whole
            mine = {kind: await self._read_all_whole(kind, items, unread) for kind, items in mine.items()}
            mine["Pod"] = on_nodes(mine["Pod"], self._store.nodes())
            if METADATA_ONLY in raw:
                raise UnreadableObject(unreadable_spec(raw[METADATA_ONLY]))
            if unread:
                raise unread[0]
            return await self._complete(key, raw, mine)
        except ApiError:
            raise
        except Exception as error:
            serving = (*mine["Pod"], *mine["Deployment"], *mine["Service"])
            stored = StoredResource(
                raw=raw,
                pods=mine["Pod"],
                deployments=mine["Deployment"],
                services=mine["Service"],
                is_whole=not any(METADATA_ONLY in item for item in serving)
                and not any(isinstance(item, TooManyChildren) for item in unread),
            )
            raise UndecidedResource(stored, error) from error

    def _children(
        self, key: Key, uid: str, unread: list[UnreadableObject]
    ) -> dict[str, tuple[Manifest, ...]]:
        """The resource's children by kind, found by owner uid; kinds with too many objects are left out."""
        found: dict[str, tuple[Manifest, ...]] = {}
        for kind in CHILDREN:
            between = {"ReplicaSet": "Deployment", "Pod": "ReplicaSet"}.get(kind)
            owners = {item["metadata"]["uid"] for item in found[between]} if between else set()
            owners |= {uid} if kind != "ReplicaSet" else set()
            excess = self._store.excess(kind, key.namespace, owners)
            if excess is not None:
                unread.append(_too_many(kind, excess))
            found[kind] = () if excess else tuple(self._store.children(kind, key, owners))
        return found

    async def _read_all_whole(
        self, kind: str, items: Iterable[Manifest], unread: list[UnreadableObject]
    ) -> tuple[Manifest, ...]:
        """The objects with their full content, without those that were deleted meanwhile.

        Unreadable ones stay marked METADATA_ONLY; ``unread`` gets each with its cause. () if they turn out to
        be too long together. Pods beyond what is read count as pods in an unknown state: the kubelet of one
        node may write megabytes into the status of its pods, and the others have to be decided about.
        """
        found, items, read, read_bytes = [], tuple(items), 0, 0
        owners = {owner_uid(item) or "" for item in items}
        for item in items:
            whole: Manifest | None = item
            text = f"{kind} {item['metadata']['name']} cannot be read"
            try:
                if METADATA_ONLY in item and kind == "Pod" and read_bytes > BYTES_LIMIT:
                    whole = _unknown_pod(item, TOO_LONG_TOGETHER)
                elif METADATA_ONLY in item:
                    read += 1
                    if read > MOST_READ:
                        unread.append(_too_many_long(kind))
                        return ()
                    whole = await self._read_whole(kind, item)
                    # Pods are not kept whole, so that the store does not count them: 50 took 170 MiB.
                    read_bytes += weight(json_bytes(whole)) if whole is not None else 0
                    excess = self._store.excess(kind, item["metadata"]["namespace"], owners)
                    is_long = read_bytes > BYTES_LIMIT
                    if kind == "Pod" and whole is not None and (is_long or METADATA_ONLY in whole):
                        whole = _unknown_pod(whole, whole.get(METADATA_ONLY, TOO_LONG_TOGETHER))
                    elif excess := Excess.BYTES if is_long else excess:
                        unread.append(_too_many(kind, excess))
                        return ()
                if whole is not None and METADATA_ONLY in whole:
                    unread.append(UnreadableObject(unreadable_child(f"{text}: {whole[METADATA_ONLY]}")))
            except Forbidden as error:
                unread.append(UnreadableObject(refusal_problem(f"{text}: {error}")))
            found += [whole] if whole is not None else []
        return tuple(found)

    async def _read_whole(self, kind: str, item: Manifest) -> Manifest | None:
        """Reads one object of which the store has only metadata; None: it was deleted."""
        metadata = item["metadata"]
        found = await self._kube.get(kind, metadata["namespace"], metadata["name"])
        if found is None or found["metadata"]["uid"] != metadata["uid"]:
            return None
        kept = _readable(kind, found)
        held = self._store.find(kind, metadata["namespace"], metadata["name"])
        is_held = held is not None and held[0] == metadata["uid"]  # else its deletion came before this answer
        if is_held and (METADATA_ONLY in found or METADATA_ONLY not in kept):
            self._store.put(kind, kept)
        return kept

    async def _complete(
        self,
        key: Key,
        raw: Manifest,
        mine: Mapping[str, tuple[Manifest, ...]],
    ) -> Observed:
        """The observed state of the resource: from its children's content, and from nodes, claims and
        neighbours in the store.
        """
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
        measuring = needs_neighbours(pods, reports, resource.status.measurements, self._clock())
        history = await self._store.history(key.namespace) if planning else ()
        nodes = {pod["spec"]["nodeName"] for pod in pods if (pod.get("spec") or {}).get("nodeName")}
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
            neighbours=tuple(self._store.neighbours_on(nodes)) if measuring else (),
            claims=self._claims(key.namespace, claim_names(resource.spec)),
            nodes=self._store.nodes(),
            history=history,
            waiting=self._store.waiting(key),
            replicas_written=self._replica_writes.last(key, resource),
        )

    def _claims(self, namespace: str, names: Iterable[str]) -> dict[str, Manifest | None]:
        """PersistentVolumeClaims by name. Without permission the result is empty: unknown, not missing."""
        if not self._store.known("PersistentVolumeClaim", namespace):
            return {}
        return {name: self._store.claim(namespace, name) for name in names}
