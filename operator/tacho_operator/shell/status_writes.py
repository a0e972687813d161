"""Writes the status: the whole one after the children, and before them what must not wait for these."""

from __future__ import annotations

from typing import Any

from tacho_operator.api.conditions import ConditionType
from tacho_operator.api.status.status import LLMDeploymentStatus
from tacho_operator.core.planner.history import stored_status
from tacho_operator.core.status.early import early_status
from tacho_operator.core.status.events import transition_events
from tacho_operator.core.types import Manifest, Observed, ReconcileDecision, ResourceEvent
from tacho_operator.shell.api_errors import FORBIDDEN, ApiError, Conflict, Forbidden, Invalid, Missing
from tacho_operator.shell.bounded_reading import METADATA_ONLY
from tacho_operator.shell.drift import contains
from tacho_operator.shell.execute import child_name, children, needs_write
from tacho_operator.shell.kube import Kube

STATUS_UNDONE = "the API server's answer has other conditions, as where a webhook removes or changes them"

STATUS_TRIES = 5
"""Writes of one status while others change the resource."""

NO_STATUS = "the API server has the resource, and no status of it (does its CRD have the status subresource?)"


async def write_status(kube: Kube, raw: Manifest, status: LLMDeploymentStatus | None) -> bool:
    """Writes the whole status by server-side apply if it changed. Returns whether it was written."""
    return await _written(kube, raw, status) is not None


async def _written(kube: Kube, raw: Manifest, status: LLMDeploymentStatus | None) -> str | None:
    """The resource's version once the status is written; None where nothing was to be written, or it is gone.

    An apply keeps what others wrote there, as `kubectl edit` or a restored backup. It would stay for ever, or
    make each later status invalid, so a second write removes it. Conditions of other types stay.
    """
    stored = raw.get("status") or {}
    wire, _ = _by_writer(status.to_wire()) if status else (None, [])
    if wire is None or _by_writer(stored)[0] == wire:
        return None
    metadata = raw["metadata"]
    body = {
        "apiVersion": raw["apiVersion"],
        "kind": raw["kind"],
        "metadata": {"name": metadata["name"], "namespace": metadata["namespace"]},
        "status": wire,
    }
    try:
        found = await _applied(kube, metadata, body)
        if found is None:
            return None
        version = _version(found)
        live = wire if METADATA_ONLY in found else found.get("status") or {}
        own, others = _by_writer(live)
        if not all(item in own.get("conditions", ()) for item in wire.get("conditions", ())):
            raise Forbidden(FORBIDDEN, STATUS_UNDONE)
    except Invalid:
        if contains(wire, stored):
            raise
        version, live, own, others = _version(raw), stored, stored, []
    if not contains(wire, own):
        whole = _replacement(live, {**wire, "conditions": wire.get("conditions", []) + others})
        named = {"uid": metadata["uid"], "resourceVersion": version}
        version = _version(await kube.merge(body, {"metadata": named, "status": whole}, subresource="status"))
    return version


async def _applied(kube: Kube, metadata: Manifest, body: Manifest) -> Manifest | None:
    """The resource with the status of ``body``; None: it was deleted, or replaced by another of its name.

    The API server compares no uid where it writes a status: one that was under way while a resource was made
    anew became the new one's, with Ready and figures. So each write names the version that it changes.
    """
    uid, version = metadata["uid"], metadata.get("resourceVersion", "")
    for left in reversed(range(STATUS_TRIES)):
        named = {**body["metadata"], "resourceVersion": version}
        try:
            return await kube.apply({**body, "metadata": named}, uid=uid, subresource="status")
        except (Conflict, Missing) as error:
            there = await kube.get(body["kind"], named["namespace"], named["name"])
            if there is None or there["metadata"]["uid"] != uid:
                return None
            if isinstance(error, Missing):
                raise ApiError(error.status, NO_STATUS) from None
            if not left:  # others change it again and again
                raise ApiError(error.status, error.message) from None
            version = _version(there)
    return None


def _version(manifest: Manifest) -> str:
    return str((manifest.get("metadata") or {}).get("resourceVersion", ""))


async def with_early_status(kube: Kube, observed: Observed, decision: ReconcileDecision) -> Manifest:
    """Writes the early status, before the children. Returns the resource as it is then. What is refused is
    written again, and reported, after the children.
    """
    early = early_status(observed.resource.status, decision.status)
    if early is None or not _has_writes(observed, decision):
        return observed.raw
    try:
        version = await _written(kube, observed.raw, early)
    except ApiError:
        return observed.raw
    metadata = {**observed.raw["metadata"], **({"resourceVersion": version} if version else {})}
    return {**observed.raw, "metadata": metadata, "status": early.to_wire()}


def early_events(observed: Observed, raw: Manifest) -> tuple[ResourceEvent, ...]:
    """The events of the early status, which ``raw`` has: no later decision sees that it is new."""
    if raw is observed.raw:
        return ()
    return transition_events(observed.resource.status, stored_status(raw))


def _has_writes(observed: Observed, decision: ReconcileDecision) -> bool:
    """Whether anything is to be written before the status. A trial precedes the creation of what it tries."""
    live = {child_name(child): child for child in children(observed)}
    found = ((live.get(child_name(desired)), desired) for desired in decision.apply)
    return bool(decision.deletion_costs or decision.delete) or any(
        child is None or needs_write(child, desired) for child, desired in found
    )


def _by_writer(status: Manifest) -> tuple[Manifest, list[Any]]:
    """A stored status without the conditions of types that the operator does not set, and these."""
    found = status.get("conditions")
    if not isinstance(found, list):  # of an old CRD
        return status, []
    others = [item for item in found if isinstance(item, dict) and item.get("type") not in set(ConditionType)]
    return {**status, "conditions": [item for item in found if item not in others]}, others


def _replacement(live: Any, desired: Any) -> Any:
    """The JSON merge patch that turns ``live`` into ``desired``."""
    if not isinstance(live, dict) or not isinstance(desired, dict):
        return desired
    changed = {key: _replacement(live.get(key), value) for key, value in desired.items()}
    return dict.fromkeys(live.keys() - desired.keys()) | changed
