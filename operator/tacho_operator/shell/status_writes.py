"""Writes the status: the whole one after the children, and before them what must not wait for these."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable
from typing import Any

from tacho_operator.api.conditions import ConditionType, find_condition
from tacho_operator.api.status.status import LLMDeploymentStatus
from tacho_operator.core.names import service_name
from tacho_operator.core.planner.history import stored_status
from tacho_operator.core.status.early import early_status
from tacho_operator.core.status.events import transition_events
from tacho_operator.core.status.reachability import leads_to_pods
from tacho_operator.core.types import ChildRefusal, Manifest, Observed, ReconcileDecision, ResourceEvent
from tacho_operator.shell.api_errors import FORBIDDEN, ApiError, Conflict, Forbidden, Invalid, Missing
from tacho_operator.shell.bounded_reading import METADATA_ONLY
from tacho_operator.shell.drift import contains
from tacho_operator.shell.execute import child_name, children, needs_write
from tacho_operator.shell.kube import Kube

STATUS_UNDONE = (
    "the API server's answer has another status ({}), as where a webhook changes it or its CRD is older"
)

STATUS_TRIES = 5
"""Writes of one status while others change the resource."""

STATUS_CHANGED = "the resource changed while its status was written; the status is decided anew"

NO_STATUS = "the API server has the resource, and no status of it (does its CRD have the status subresource?)"


async def write_status(kube: Kube, raw: Manifest, status: LLMDeploymentStatus | None) -> bool:
    """Writes the whole status by server-side apply if it changed. Returns whether it was written."""
    return await _written(kube, raw, status) is not None


async def _written(kube: Kube, raw: Manifest, status: LLMDeploymentStatus | None) -> str | None:
    """The resource's version once the status is written; None where nothing was to be written, or it is gone.

    An apply keeps what others wrote there, as `kubectl edit` or a restored backup. It would stay for ever, or
    make each later status invalid, so a second write removes it. Conditions of other types stay.
    """
    wire, _ = _by_writer(status.to_wire()) if status else (None, [])
    if wire is None or _by_writer(_stored(raw))[0] == wire:
        return None
    metadata = raw["metadata"]
    body = {
        "apiVersion": raw["apiVersion"],
        "kind": raw["kind"],
        "metadata": {"name": metadata["name"], "namespace": metadata["namespace"]},
        "status": wire,
    }
    for left in reversed(range(STATUS_TRIES)):
        try:
            return await _write(kube, raw, body)
        except (Conflict, Missing) as error:
            present = await _present(kube, raw, error)
            if present is None:
                return None
            if not left:  # others change it again and again
                raise ApiError(error.status, error.message) from None
            raw = present
    return None


async def _write(kube: Kube, raw: Manifest, body: Manifest) -> str:
    """The version of ``raw`` with the status of ``body``. Raises Conflict where it is no longer as it was.

    The API server compares no uid where it writes a status: one that was under way while a resource was made
    anew became the new one's, with Ready and figures. So each write names the version that it changes.
    """
    uid, version, wire, stored = raw["metadata"]["uid"], _version(raw), body["status"], _stored(raw)
    try:
        named = {**body, "metadata": {**body["metadata"], "resourceVersion": version}}
        found = await kube.apply(named, uid=uid, subresource="status")
        version = _version(found)
        live = wire if METADATA_ONLY in found else _stored(found)
        own, others = _by_writer(live)
        if undone := [key for key, value in wire.items() if not _keeps(own.get(key), value)]:
            raise Forbidden(FORBIDDEN, STATUS_UNDONE.format(", ".join(undone)))
    except Invalid:
        if contains(wire, stored):
            raise
        live, own, others = stored, stored, []
    if not contains(wire, own):
        whole = _replacement(live, {**wire, "conditions": wire.get("conditions", []) + others})
        patch = {"metadata": {"uid": uid, "resourceVersion": version}, "status": whole}
        merged = await kube.merge(body, patch, subresource="status")
        version, own = _version(merged), _by_writer(_stored(merged))[0]
        undone = [key for key in wire if not contains(own.get(key), wire[key])]
        undone += [key for key in own if not contains(wire.get(key), own[key]) and key not in undone]
        if undone and METADATA_ONLY not in merged:
            raise Forbidden(FORBIDDEN, STATUS_UNDONE.format(", ".join(undone)))
    return version


async def _present(kube: Kube, raw: Manifest, error: ApiError) -> Manifest | None:
    """The resource as it is after a refused write; None: it was deleted, or replaced by another of its name.

    Raises ApiError where its status is another one too. The new status was decided without that, and what
    another leader wrote may be the newer.
    """
    metadata = raw["metadata"]
    present = await kube.get(raw["kind"], metadata["namespace"], metadata["name"])
    if present is None or present["metadata"]["uid"] != metadata["uid"]:
        return None
    if isinstance(error, Missing):
        raise ApiError(error.status, NO_STATUS) from None
    known, found = (_by_writer(_stored(item))[0] for item in (raw, present))
    if METADATA_ONLY in present or known != found:
        raise ApiError(error.status, STATUS_CHANGED) from None
    return present


def _stored(resource: Manifest) -> Manifest:
    found = resource.get("status")
    return found if isinstance(found, dict) else {}  # any value, of an old CRD


def _version(manifest: Manifest) -> str:
    return str((manifest.get("metadata") or {}).get("resourceVersion", ""))


def rests_on_service(
    observed: Observed, decision: ReconcileDecision, applied: Iterable[Manifest] = ()
) -> bool:
    """Whether the decided Ready is True only once the Service is written: as it is, it leads to no pod.

    That write may take half a minute, and fail. ``applied``: the children that are written.
    """
    found = find_condition(decision.status.conditions, ConditionType.READY) if decision.status else None
    if found is None or found.status != "True" or any(item["kind"] == "Service" for item in applied):
        return False
    return not leads_to_pods(observed)


async def with_early_status(
    kube: Kube,
    observed: Observed,
    decision: ReconcileDecision,
    decide: Callable[[Observed], ReconcileDecision],
) -> Manifest:
    """Writes the early status, before the children. Returns the resource as it is then. What is refused is
    written again, and reported, after the children. ``decide``: makes the decision for another observed
    state.
    """
    if not _has_writes(observed, decision):
        return observed.raw
    return await write_early(kube, observed.raw, status_until_service(observed, decision, decide))


def status_until_service(
    observed: Observed, decision: ReconcileDecision, decide: Callable[[Observed], ReconcileDecision]
) -> LLMDeploymentStatus | None:
    """The decided status, as it is until the Service is written."""
    if not rests_on_service(observed, decision):
        return decision.status
    service = service_name(observed.resource.metadata.name)
    unwritten = ChildRefusal(kind="Service", name=service, message="it is being written")
    return decide(dataclasses.replace(observed, unanswered=unwritten)).status


async def write_early(kube: Kube, raw: Manifest, decided: LLMDeploymentStatus | None) -> Manifest:
    """Writes the early status; returns the resource as it is then: ``raw`` where nothing is written."""
    early = early_status(stored_status(raw), decided)
    if early is None:
        return raw
    try:
        version = await _written(kube, raw, early)
    except ApiError:
        return raw
    metadata = {**raw["metadata"], **({"resourceVersion": version} if version else {})}
    return {**raw, "metadata": metadata, "status": early.to_wire()}


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
    typed = (item for item in found if isinstance(item, dict) and isinstance(item.get("type"), str))
    others = [item for item in typed if item["type"] not in set(ConditionType)]
    return {**status, "conditions": [item for item in found if item not in others]}, others


def _keeps(live: Any, desired: Any) -> bool:
    """Whether ``live`` has what an apply of ``desired`` wrote. Its lists may have items of others as well."""
    if isinstance(desired, dict):
        return isinstance(live, dict) and all(_keeps(live.get(key), desired[key]) for key in desired)
    if isinstance(desired, list):
        return isinstance(live, list) and all(any(_keeps(one, item) for one in live) for item in desired)
    return bool(live == desired)


def _replacement(live: Any, desired: Any) -> Any:
    """The JSON merge patch that turns ``live`` into ``desired``."""
    if not isinstance(live, dict) or not isinstance(desired, dict):
        return desired
    changed = {key: _replacement(live.get(key), value) for key, value in desired.items()}
    return dict.fromkeys(live.keys() - desired.keys()) | changed
