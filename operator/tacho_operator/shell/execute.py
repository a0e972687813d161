"""Carries a decision out: children, events, then the status. Sends nothing when nothing differs."""

from __future__ import annotations

import logging
import uuid
from dataclasses import dataclass

from tacho_operator.core.model import Decision, Event, Manifest, Observed
from tacho_operator.shell.differs import abandoned, contains, managed_entry
from tacho_operator.shell.kube import FIELD_MANAGER, ApiError, Conflict, Forbidden, Kube, Missing
from tacho_operator.shell.observe import owner_uid

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What became of a decision."""

    conflicts: tuple[str, ...] = ()
    """``Kind/name`` that somebody else owns."""
    refused: tuple[str, ...] = ()
    """What quota or admission said, one line each."""
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
    conflicts: list[str] = []
    refused: list[str] = []
    writes = 0
    live = _live_children(observed)
    for wanted in decision.apply:
        place = f"{wanted['kind']}/{wanted['metadata']['name']}"
        try:
            writes += await _ensure(kube, live.get((wanted["kind"], wanted["metadata"]["name"])), wanted)
        except Conflict as error:
            logger.info("%s: %s", place, error.message)
            conflicts.append(place)
        except Forbidden as error:
            refused.append(f"{place}: {error.message}")
    for reference in decision.delete:
        namespace = observed.raw["metadata"]["namespace"]
        await kube.delete(reference.kind, namespace, reference.name, uid=reference.uid)
        writes += 1
    return Outcome(conflicts=tuple(conflicts), refused=tuple(refused), writes=writes)


async def _ensure(kube: Kube, live: Manifest | None, wanted: Manifest) -> int:
    """Brings one child to what is wanted. Returns the number of requests that changed something."""
    if live is None:
        await _create(kube, wanted)
        return 1
    if wanted["kind"] in ("ControllerRevision", "Pod"):
        return 0  # their content is immutable; another content has another name
    if contains(live, wanted) and not abandoned(live, wanted, FIELD_MANAGER):
        return 0
    writes = 1
    entry = managed_entry(live, FIELD_MANAGER)
    if entry and entry[1].get("operation") == "Update":
        # What a POST owns as Update, a later apply that leaves it out would never remove.
        index, _ = entry
        await kube.patch_json(
            live,
            [
                {"op": "test", "path": "/metadata/uid", "value": live["metadata"]["uid"]},
                {"op": "test", "path": f"/metadata/managedFields/{index}/manager", "value": FIELD_MANAGER},
                {"op": "replace", "path": f"/metadata/managedFields/{index}/operation", "value": "Apply"},
            ],
        )
        writes += 1
    await kube.apply(wanted, uid=live["metadata"]["uid"])
    return writes


async def _create(kube: Kube, wanted: Manifest) -> None:
    """POST; a name that is taken by our own child (seen late) is fine, anybody else's is a conflict."""
    try:
        await kube.create(wanted)
    except Conflict:
        metadata = wanted["metadata"]
        taken = await kube.get(wanted["kind"], metadata["namespace"], metadata["name"])
        if taken is None or owner_uid(taken) != owner_uid(wanted):
            raise


async def write_status(kube: Kube, observed: Observed, status: Manifest) -> bool:
    """Server-side apply of the whole status; no request when it is stored already."""
    if observed.raw.get("status") == status:
        return False
    metadata = observed.raw["metadata"]
    body = {
        "apiVersion": observed.raw["apiVersion"],
        "kind": observed.raw["kind"],
        "metadata": {"name": metadata["name"], "namespace": metadata["namespace"]},
        "status": status,
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
    now = decision.now.strftime("%Y-%m-%dT%H:%M:%SZ")
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
