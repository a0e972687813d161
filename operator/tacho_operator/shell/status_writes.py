"""Writes the status: the whole one after the children, and before them what must not wait for these."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable

from tacho_operator.api.conditions import ConditionType, find_condition
from tacho_operator.api.status.status import LLMDeploymentStatus
from tacho_operator.core.names import service_name
from tacho_operator.core.planner.history import stored_status
from tacho_operator.core.status.early import early_status
from tacho_operator.core.status.events import transition_events
from tacho_operator.core.status.reachability import leads_to_pods
from tacho_operator.core.types import ChildRefusal, Manifest, Observed, ReconcileDecision, ResourceEvent
from tacho_operator.shell.api_errors import ApiError, Conflict, Missing
from tacho_operator.shell.execute import child_name, children, needs_write
from tacho_operator.shell.kube import Kube

STATUS_TRIES = 5
"""Writes of one status while others change the resource."""

STATUS_CHANGED = "the resource changed while its status was written; the status is decided anew"

NO_STATUS = "the API server has the resource, and no status of it (does its CRD have the status subresource?)"


async def write_status(kube: Kube, raw: Manifest, status: LLMDeploymentStatus | None) -> bool:
    """Writes the whole status by server-side apply if it changed. Returns whether it was written."""
    return await _written(kube, raw, status) is not None


async def _written(kube: Kube, raw: Manifest, status: LLMDeploymentStatus | None) -> str | None:
    """The resource's version once the status is written; None where nothing was to be written, or it is gone.

    The API server compares no uid where it writes a status: one that was under way while a resource was made
    anew became the new one's, with Ready and figures. So each write names the version that it changes.
    """
    wire = status.to_wire() if status else None
    if wire is None or _own(_stored(raw)) == wire:
        return None
    for left in reversed(range(STATUS_TRIES)):
        metadata = {key: raw["metadata"].get(key, "") for key in ("name", "namespace", "resourceVersion")}
        body = {"apiVersion": raw["apiVersion"], "kind": raw["kind"], "metadata": metadata, "status": wire}
        try:
            found = await kube.apply(body, uid=raw["metadata"]["uid"], subresource="status")
            return str((found.get("metadata") or {}).get("resourceVersion", ""))
        except (Conflict, Missing) as error:
            present = await _present(kube, raw, error)
            if present is None:
                return None
            if not left:  # others change it again and again
                raise ApiError(error.status, error.message) from None
            raw = present
    return None


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
    known, found = (_own(_stored(item)) for item in (raw, present))
    if known != found:
        raise ApiError(error.status, STATUS_CHANGED) from None
    return present


def _stored(resource: Manifest) -> Manifest:
    found = resource.get("status")
    return found if isinstance(found, dict) else {}  # any value, of an old CRD


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


def _own(status: Manifest) -> Manifest:
    """A stored status without the conditions of types that the operator does not set."""
    found = status.get("conditions")
    if not isinstance(found, list):  # of an old CRD
        return status
    others = [item for item in found if isinstance(item, dict) and item.get("type") not in set(ConditionType)]
    return {**status, "conditions": [item for item in found if item not in others]}
