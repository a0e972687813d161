"""Carries a decision out: children, then the status, then events. Sends nothing when nothing differs."""

from __future__ import annotations

import logging
import uuid
from dataclasses import dataclass

from tacho_contract.times import format_time
from tacho_operator.api.types import LLMDeploymentStatus
from tacho_operator.core.names import DELETION_COST_ANNOTATION, DEPLOYMENT_LABEL, ROLE_LABEL
from tacho_operator.core.types import Decision, Event, Manifest, Observed, Refusal
from tacho_operator.shell.differs import abandoned, contains, managed_entry
from tacho_operator.shell.kube import (
    FIELD_MANAGER,
    SIZE_MANAGER,
    ApiError,
    Conflict,
    Forbidden,
    Kube,
    Missing,
)
from tacho_operator.shell.observe import controller, owner_uid

logger = logging.getLogger(__name__)

CONFLICT = 409
UNPROCESSABLE = 422
CHANGED_MEANWHILE_TRIES = 3
DEFAULTED = frozenset({"Deployment", "Service"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What became of a decision."""

    refusals: tuple[Refusal, ...] = ()
    """Children that could not be had."""
    writes: int = 0


def _live_children(observed: Observed) -> dict[tuple[str, str], Manifest]:
    children = (
        *observed.revisions,
        *observed.deployments,
        *observed.services,
        *observed.config_maps,
        *observed.network_policies,
        *observed.disruption_budgets,
        *observed.pods,
    )
    return {(child["kind"], child["metadata"]["name"]): child for child in children}


async def execute(kube: Kube, observed: Observed, decision: Decision) -> Outcome:
    """Applies the children in their order, then deletes. Refusals are collected, other errors raise."""
    refusals: list[Refusal] = []
    live = _live_children(observed)
    writes = await _mark_victims(kube, live, decision)
    for wanted in decision.apply:
        kind, name = wanted["kind"], wanted["metadata"]["name"]
        if kind == "Deployment" and any(
            (item.kind, item.name) == ("ControllerRevision", name) for item in refusals
        ):
            continue  # what its pods are made from could not be kept
        try:
            writes += await _ensure(kube, live.get((kind, name)), wanted)
        except Conflict as error:
            logger.info("%s/%s: %s", kind, name, error.message)
            refusals.append(_refusal(wanted, taken=True))
        except Forbidden as error:
            refusals.append(_refusal(wanted, message=error.message))
    for reference in decision.delete:
        namespace = observed.raw["metadata"]["namespace"]
        await kube.delete(reference.kind, namespace, reference.name, uid=reference.uid)
        writes += 1
    return Outcome(refusals=tuple(refusals), writes=writes)


async def _mark_victims(kube: Kube, live: dict[tuple[str, str], Manifest], decision: Decision) -> int:
    """Before a Deployment shrinks: its controller looks at the pods as they are then. Which pod goes is worth
    no failure."""
    writes = 0
    for name, cost in decision.deletion_costs.items():
        try:
            await kube.annotate(live["Pod", name], {DELETION_COST_ANNOTATION: cost})
        except ApiError as error:
            logger.warning("pod %s: %s", name, error)
        else:
            writes += 1
    return writes


def _refusal(wanted: Manifest, *, message: str = "", taken: bool = False) -> Refusal:
    metadata = wanted["metadata"]
    role = (metadata.get("labels") or {}).get(ROLE_LABEL, "")
    return Refusal(kind=wanted["kind"], name=metadata["name"], role=role, message=message, taken=taken)


async def _ensure(kube: Kube, live: Manifest | None, wanted: Manifest) -> int:
    """Brings one child to what is wanted. Returns the number of requests that changed something."""
    if live is None:
        await _create(kube, wanted)
        return 1
    if wanted["kind"] in ("ControllerRevision", "Pod"):
        return 0  # their content is immutable; another content has another name
    writes, uid, now = 0, live["metadata"]["uid"], live
    for part, manager in _parts(live, wanted):
        if manager == FIELD_MANAGER:
            writes += await _own_by_apply(kube, now)
        try:
            now = await kube.apply(part, uid=uid, manager=manager)
        except ApiError as error:
            if error.status not in (CONFLICT, UNPROCESSABLE) or not await _replaced(kube, live, wanted):
                raise
            return writes + 1
        writes += 1
    return writes


def _parts(live: Manifest, wanted: Manifest) -> list[tuple[Manifest, str]]:
    """What is to be applied, and as whose.

    How many replicas a Deployment has is decided apart from what they are: another manager owns the number,
    and all else is applied without it. The number goes first, for a field that its last owner leaves out
    falls back to its default, and that is one replica.
    """
    if wanted["kind"] != "Deployment":
        return [(wanted, FIELD_MANAGER)] if _differs(live, wanted) else []
    size, rest = _split(wanted)
    # Who made it owns its size until it changes: that is nothing to be given up by a write of its own.
    differs = not contains(live, rest) or _abandons(live, wanted)
    parts = []
    if not contains(live, size) or (differs and managed_entry(live, SIZE_MANAGER) is None):
        parts.append((size, SIZE_MANAGER))
    return [*parts, (rest, FIELD_MANAGER)] if differs else parts


def _split(deployment: Manifest) -> tuple[Manifest, Manifest]:
    """Its size, and all else."""
    metadata = {key: deployment["metadata"][key] for key in ("name", "namespace")}
    spec = dict(deployment["spec"])
    size = {**deployment, "metadata": metadata, "spec": {"replicas": spec.pop("replicas")}}
    return size, {**deployment, "spec": spec}


def _differs(live: Manifest, wanted: Manifest) -> bool:
    return not contains(live, wanted) or _abandons(live, wanted)


def _abandons(live: Manifest, wanted: Manifest) -> bool:
    return not _as_made(live) and abandoned(live, wanted, FIELD_MANAGER)


def _as_made(live: Manifest) -> bool:
    """Whether it is as a POST left it and of a kind that the API server fills with defaults.

    Who creates such an object owns the defaults too, and none of them is in what is wanted: to take that for
    fields that were given up would be two writes for every new object, for nothing.
    """
    entry = managed_entry(live, FIELD_MANAGER)
    return live["kind"] in DEFAULTED and entry is not None and entry[1].get("operation") == "Update"


async def _replaced(kube: Kube, live: Manifest, wanted: Manifest) -> bool:
    """Whether the object we knew is gone. Raises Conflict when a stranger's stands in its place now."""
    metadata = wanted["metadata"]
    now = await kube.get(wanted["kind"], metadata["namespace"], metadata["name"])
    if now is not None and owner_uid(now) != owner_uid(wanted):
        raise Conflict(CONFLICT, f"{wanted['kind']} {metadata['name']} was replaced by somebody else's")
    return now is None or now["metadata"]["uid"] != live["metadata"]["uid"]


async def _own_by_apply(kube: Kube, live: Manifest) -> int:
    """Turns what a POST owns as Update into Apply: a later apply that leaves it out would never remove it.

    The entry is named by its index, so a change in between is refused (422) and tried on a fresh read.
    """
    metadata = live["metadata"]
    for _ in range(CHANGED_MEANWHILE_TRIES):
        entry = managed_entry(live, FIELD_MANAGER)
        if entry is None or entry[1].get("operation") != "Update":
            return 0
        place = f"/metadata/managedFields/{entry[0]}"
        try:
            await kube.patch_json(
                live,
                [
                    {"op": "test", "path": "/metadata/uid", "value": metadata["uid"]},
                    {"op": "test", "path": f"{place}/manager", "value": FIELD_MANAGER},
                    {"op": "test", "path": f"{place}/operation", "value": "Update"},
                    {"op": "replace", "path": f"{place}/operation", "value": "Apply"},
                ],
            )
        except ApiError as error:
            if error.status != UNPROCESSABLE:
                raise
        else:
            return 1
        live = await kube.get(live["kind"], metadata["namespace"], metadata["name"]) or live
    return 0


async def _create(kube: Kube, wanted: Manifest) -> None:
    """POST; a name that is taken by our own child (seen late) is fine, anybody else's is a conflict.

    One that was taken and is free again is made in the next turn, which its deletion or the resync brings.
    A child of the deleted resource of the same name is about to be collected: that is worth a retry
    (ApiError), and nobody has to be called.
    """
    try:
        await kube.create(wanted)
    except Conflict as error:
        metadata = wanted["metadata"]
        taken = await kube.get(wanted["kind"], metadata["namespace"], metadata["name"])
        if taken is None:
            return
        if owner_uid(taken) == owner_uid(wanted):
            await _label_again(kube, taken, wanted)
            return
        if _same_owner_but_uid(taken, wanted):
            raise ApiError(
                CONFLICT, f"{wanted['kind']} {metadata['name']} of the deleted resource is not collected yet"
            ) from error
        raise


async def _label_again(kube: Kube, taken: Manifest, wanted: Manifest) -> None:
    """A child whose label somebody took is seen by no watch, and would be missing for ever."""
    label = (wanted["metadata"].get("labels") or {}).get(DEPLOYMENT_LABEL)
    mutable = wanted["kind"] not in ("ControllerRevision", "Pod")
    if mutable and label != (taken["metadata"].get("labels") or {}).get(DEPLOYMENT_LABEL):
        await _ensure(kube, taken, wanted)


def _same_owner_but_uid(taken: Manifest, wanted: Manifest) -> bool:
    ours, theirs = controller(wanted) or {}, controller(taken) or {}
    return bool(ours) and all(ours[key] == theirs.get(key) for key in ("apiVersion", "kind", "name"))


async def write_status(kube: Kube, observed: Observed, status: LLMDeploymentStatus | None) -> bool:
    """Server-side apply of the whole status; no request when it is stored already, or stays as it is."""
    wire = status.to_wire() if status else None
    if wire is None or observed.raw.get("status") == wire:
        return False
    metadata = observed.raw["metadata"]
    body = {
        "apiVersion": observed.raw["apiVersion"],
        "kind": observed.raw["kind"],
        "metadata": {"name": metadata["name"], "namespace": metadata["namespace"]},
        "status": wire,
    }
    try:
        await kube.apply(body, uid=metadata["uid"], subresource="status")
    except Missing:
        return False  # deleted meanwhile
    return True


async def post_events(kube: Kube, observed: Observed, decision: Decision) -> None:
    """Posts events; a refused event is logged and never holds up the work it reports."""
    for event in decision.events:
        try:
            await kube.create(_event(observed.raw, event, decision))
        except ApiError as error:
            logger.warning("event %s: %s", event.reason, error)


def _event(raw: Manifest, event: Event, decision: Decision) -> Manifest:
    metadata = raw["metadata"]
    now = format_time(decision.now)
    return {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {
            "name": f"{metadata['name']}.{uuid.uuid4().hex[:16]}",
            "namespace": metadata["namespace"],
        },
        "involvedObject": {
            "apiVersion": raw["apiVersion"],
            "kind": raw["kind"],
            "name": metadata["name"],
            "namespace": metadata["namespace"],
            "uid": metadata["uid"],
            "resourceVersion": metadata["resourceVersion"],
        },
        "type": event.type,
        "reason": event.reason,
        "message": event.message[:1024],
        "source": {"component": FIELD_MANAGER},
        "reportingComponent": FIELD_MANAGER,
        "firstTimestamp": now,
        "lastTimestamp": now,
        "count": 1,
    }
