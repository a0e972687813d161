"""Executes a decision: applies and deletes children. Sends no request where nothing differs.

A child that the API server refuses is reported, and the others are still written. After a temporary error
(408, 429, 5xx, no answer) no more children are written in this pass, only the status; the queue retries.
"""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

from tacho_contract.failure import FailureClass
from tacho_operator.core.names import DELETION_COST_ANNOTATION, ROLE_LABEL
from tacho_operator.core.pods.view import owner_uid
from tacho_operator.core.problems import Problem, refused_child, unmarked_pod
from tacho_operator.core.status.reachability import refused_policy
from tacho_operator.core.types import ChildRefusal, Manifest, Observed, ReconcileDecision, Reference
from tacho_operator.shell.api_errors import (
    UNPROCESSABLE,
    ApiError,
    Conflict,
    Forbidden,
    Invalid,
)
from tacho_operator.shell.child_backoff import Backoff, Place
from tacho_operator.shell.drift import abandoned, contains, managed_entry
from tacho_operator.shell.kube import FIELD_MANAGER, SIZE_MANAGER, Kube
from tacho_operator.shell.store.trimming import POD_ANNOTATIONS, READ_LABELS
from tacho_operator.shell.taken_names import CONFLICT, NotCollected, Taken, has_same_owner_but_uid

logger = logging.getLogger(__name__)

PASS_SECONDS = 60.0
"""Seconds of writes after which a pass ends, and the next one goes on with a new decision.

A user may make 5,000 pods to be deleted, and a webhook may take seconds for each. Without an end a worker
would be held for hours, and what was decided would no longer be so.
"""
UNCHANGING = frozenset({"ControllerRevision", "Pod"})
"""Kinds whose content never changes, but for a pod's labels; a different content gets a different name."""


@dataclass(frozen=True, slots=True)
class ExecuteResult:
    """Result of carrying out a decision: refused children, and the number of writes."""

    refusals: tuple[ChildRefusal, ...] = ()
    """Children that the API server refused to create or change."""
    writes: int = 0
    error: ApiError | None = None
    """The temporary error that ended the pass; None: the pass was completed."""
    unanswered: ChildRefusal | None = None
    """The child whose write got that error, or did not begin in time; None: the pass was completed."""
    rest_seconds: float = 0.0
    """Seconds until a child is written that others change after each write; 0: there is none."""
    is_unfinished: bool = False
    """Whether the pass ended after PASS_SECONDS."""
    unreported: tuple[Problem, ...] = ()
    """What was refused, and no status says."""


def children(observed: Observed) -> tuple[Manifest, ...]:
    """All live objects of a resource that the operator may apply."""
    return (
        *observed.revisions,
        *observed.deployments,
        *observed.services,
        *observed.config_maps,
        *observed.network_policies,
        *observed.disruption_budgets,
        *observed.pods,
    )


def child_name(child: Manifest) -> str:
    """Kind and name of a child: its identity among the children of one resource."""
    return f"{child['kind']}/{child['metadata']['name']}"


async def execute(
    kube: Kube,
    observed: Observed,
    decision: ReconcileDecision,
    backoff: Backoff,
    newest: Callable[[], ReconcileDecision | None] = lambda: None,
) -> ExecuteResult:
    """Applies the children in their order, then deletes. Refusals are collected; an error that may pass ends
    the pass. ``newest``: the last decision that was made meanwhile; servers that it keeps stay."""
    live = {(child["kind"], child["metadata"]["name"]): child for child in children(observed)}
    ends = time.monotonic() + PASS_SECONDS
    marked, unreported = await _mark_victims(kube, live, decision, ends)
    if not marked:  # as where a webhook refuses each annotation after seconds, which stops no scale-down
        ends = time.monotonic() + PASS_SECONDS
    found = await _apply(kube, observed, decision, backoff, live, ends, newest)
    if found.error is None and not found.is_unfinished:
        found = await _delete(kube, observed, decision.delete, ends, found, newest)
    return replace(found, writes=found.writes + marked, unreported=unreported)


async def _apply(
    kube: Kube,
    observed: Observed,
    decision: ReconcileDecision,
    backoff: Backoff,
    live: dict[tuple[str, str], Manifest],
    ends: float,
    newest: Callable[[], ReconcileDecision | None],
) -> ExecuteResult:
    """Applies until ``ends``, by the monotonic clock. ``live``: the present children."""
    refusals: list[ChildRefusal] = []
    writes, rest = 0, 0.0
    generation = int(observed.raw["metadata"].get("generation") or 0)
    for desired in decision.apply:
        kind, name = desired["kind"], desired["metadata"]["name"]
        found = live.get((kind, name))
        is_changed = found is None or needs_write(found, desired)
        if is_changed and time.monotonic() > ends:
            return _unfinished(refusals, writes, kind, name)
        if kind == "Deployment" and _is_premature(observed, name, found, refusals):
            continue
        if is_changed and found is not None and _keeps(newest(), kind, name, _size(found), _size(desired)):
            continue
        place = _place(observed, kind, name)
        if is_changed and (former := backoff.present(place, generation)) is not None:
            refusals.append(former)
            continue
        if is_changed and (seconds := backoff.rest_seconds(place)):
            rest = min(rest or seconds, seconds)
            continue
        try:
            requests = await _ensure(kube, found, desired)
        except (Conflict, Forbidden, Invalid) as error:
            logger.info("%s/%s: %s", kind, name, error.message)
            refusals.append(_refusal(desired, error))
            # Others, as by quota and policies, may end at any time.
            if refused_child(refusals[-1]).reason == FailureClass.INVALID_CONFIG:
                backoff.note(place, generation, refusals[-1])
        except ApiError as error:
            return ExecuteResult(tuple(refusals), writes, error, _refusal(desired, error))
        else:
            writes += requests
            if requests:
                backoff.note_write(place)
    return ExecuteResult(tuple(refusals), writes, rest_seconds=rest)


def _place(observed: Observed, kind: str, name: str) -> Place:
    metadata = observed.raw["metadata"]
    return (metadata["namespace"], metadata["name"], kind, name)


def _unfinished(refusals: Iterable[ChildRefusal], writes: int, kind: str, name: str) -> ExecuteResult:
    """The result of a pass that ended before the write of that child."""
    why = f"the writes took {PASS_SECONDS:.0f} s, and the next ones resume here"
    left = ChildRefusal(kind=kind, name=name, message=why)
    return ExecuteResult(tuple(refusals), writes, unanswered=left, is_unfinished=True)


async def _delete(
    kube: Kube,
    observed: Observed,
    references: Iterable[Reference],
    ends: float,
    applied: ExecuteResult,
    newest: Callable[[], ReconcileDecision | None],
) -> ExecuteResult:
    """Deletes until ``ends``, by the monotonic clock. ``applied``: the result so far."""
    refusals, writes = list(applied.refusals), applied.writes
    namespace = observed.raw["metadata"]["namespace"]
    for reference in references:
        if time.monotonic() > ends:
            return _unfinished(refusals, writes, reference.kind, reference.name)
        if _keeps(newest(), reference.kind, reference.name):
            continue
        try:
            await kube.delete(reference.kind, namespace, reference.name, uid=reference.uid)
            writes += 1
        except (Conflict, Forbidden, Invalid) as error:
            refusals.append(ChildRefusal(kind=reference.kind, name=reference.name, message=error.message))
        except ApiError as error:
            unanswered = ChildRefusal(kind=reference.kind, name=reference.name, message=error.message)
            return ExecuteResult(tuple(refusals), writes, error, unanswered)
    return replace(applied, refusals=tuple(refusals), writes=writes)


def _keeps(newest: ReconcileDecision | None, kind: str, name: str, before: int = 1, after: int = 0) -> bool:
    """Whether ``newest`` has more than ``after`` replicas of a Deployment of ``before``: since the pass
    began, others were lost, and these may be all that is left."""
    if newest is None or kind != "Deployment" or after >= before:
        return False
    if any((item.kind, item.name) == (kind, name) for item in newest.delete):
        return False
    found = (item for item in newest.apply if (item["kind"], item["metadata"]["name"]) == (kind, name))
    return all(_size(item) > after for item in found)


def _size(deployment: Manifest) -> int:
    return int((deployment.get("spec") or {}).get("replicas", 1))


async def delete_pods(kube: Kube, observed: Observed, references: Iterable[Reference]) -> None:
    """Deletes probe pods whose measurement status has now, for PASS_SECONDS at most. What is not deleted is
    left to the next reconcile, which the write of status causes.
    """
    ends = time.monotonic() + PASS_SECONDS
    for item in references:
        if time.monotonic() > ends:
            return
        with contextlib.suppress(ApiError):
            await kube.delete(item.kind, observed.raw["metadata"]["namespace"], item.name, uid=item.uid)


def _is_premature(
    observed: Observed, name: str, found: Manifest | None, refusals: list[ChildRefusal]
) -> bool:
    """Whether a Deployment must wait: its ControllerRevision, or its pods' NetworkPolicy, was refused."""
    if any((item.kind, item.name) == ("ControllerRevision", name) for item in refusals):
        return True
    return found is None and refused_policy(observed.resource, refusals) is not None


async def _mark_victims(
    kube: Kube, live: dict[tuple[str, str], Manifest], decision: ReconcileDecision, ends: float
) -> tuple[int, tuple[Problem, ...]]:
    """Annotates the pods to delete first, before their Deployment shrinks; returns the number of writes, and
    the problem of the first one that was refused. After ``ends``, by the monotonic clock, no more are
    annotated.

    A failed annotation does not stop the scale-down.
    """
    writes = 0
    unreported: tuple[Problem, ...] = ()
    for name, cost in decision.deletion_costs.items():
        if time.monotonic() > ends:
            break
        try:
            await kube.annotate(live["Pod", name], {DELETION_COST_ANNOTATION: cost})
        except ApiError as error:
            logger.warning("pod %s: %s", name, error)
            if not unreported and isinstance(error, Forbidden | Invalid):
                unreported = (unmarked_pod(name, error.message),)
        else:
            writes += 1
    return writes, unreported


def _refusal(desired: Manifest, error: ApiError) -> ChildRefusal:
    metadata = desired["metadata"]
    taken = isinstance(error, Conflict)
    return ChildRefusal(
        kind=desired["kind"],
        name=metadata["name"],
        role=(metadata.get("labels") or {}).get(ROLE_LABEL, ""),
        message="" if taken else error.message,
        taken=taken,
        unowned=isinstance(error, Taken) and error.is_unowned,
        invalid=isinstance(error, Invalid),
    )


async def _ensure(kube: Kube, live: Manifest | None, desired: Manifest) -> int:
    """Creates or updates one child as desired. Returns the number of requests."""
    if live is None:
        return await _create(kube, desired)
    if not needs_write(live, desired):
        return 0
    if desired["kind"] in UNCHANGING:
        metadata = {"uid": live["metadata"]["uid"], **_lost(live, desired)}
        try:
            await kube.merge(live, {"metadata": metadata})
        except Conflict as error:  # it was replaced, or others change it at the same moment
            raise _passing(error) from None
        return 1
    writes = 0
    for part, manager in _parts(live, desired):
        try:
            await kube.apply(part, uid=live["metadata"]["uid"], manager=manager)
        except ApiError as error:
            if error.status not in (CONFLICT, UNPROCESSABLE):
                raise
            if await _replaced(kube, live, desired):
                return writes + 1
            raise _passing(error) from None
        writes += 1
    return writes


def needs_write(live: Manifest, desired: Manifest) -> bool:
    """Whether a live child differs from the desired one, so that it has to be written."""
    return bool(_lost(live, desired) if desired["kind"] in UNCHANGING else _parts(live, desired))


def _lost(live: Manifest, desired: Manifest) -> dict[str, dict[str, str]]:
    """The labels and annotations by which a pod is found, where somebody changed or removed them: it would be
    awaited, or deleted and created, for ever.
    """
    found = {}
    for part, keys in (("labels", READ_LABELS), ("annotations", POD_ANNOTATIONS)):
        own = (desired["metadata"].get(part) or {}) if desired["kind"] == "Pod" else {}
        present = live["metadata"].get(part) or {}
        found[part] = {key: own[key] for key in keys if key in own and own[key] != present.get(key)}
    return {part: lost for part, lost in found.items() if lost}


def _parts(live: Manifest, desired: Manifest) -> list[tuple[Manifest, str]]:
    """(manifest to apply, field manager) of each apply that the child needs.

    The replica count of a Deployment has a field manager of its own; all other fields are applied without it.
    The count is applied first: a field whose last owner leaves it out falls back to its default, one replica.
    """
    abandons = abandoned(live, desired, FIELD_MANAGER)
    if desired["kind"] != "Deployment":
        return [(desired, FIELD_MANAGER)] if abandons or not contains(live, desired) else []
    size, rest = _split(desired)
    # Who made it owns its size until it changes: that is nothing to be given up by a write of its own.
    differs = abandons or not contains(live, rest)
    parts = []
    if not contains(live, size) or (differs and managed_entry(live, SIZE_MANAGER) is None):
        parts.append((size, SIZE_MANAGER))
    return [*parts, (rest, FIELD_MANAGER)] if differs else parts


def _split(deployment: Manifest) -> tuple[Manifest, Manifest]:
    """A Deployment's replica count, and its other fields."""
    metadata = {key: deployment["metadata"][key] for key in ("name", "namespace")}
    spec = dict(deployment["spec"])
    size = {**deployment, "metadata": metadata, "spec": {"replicas": spec.pop("replicas")}}
    return size, {**deployment, "spec": spec}


def _passing(error: ApiError) -> ApiError:
    """``error``, where it is a conflict but no name is taken, as one that may pass. A quota or an object that
    others change at the same moment is answered so.
    """
    return ApiError(error.status, error.message) if isinstance(error, Conflict) else error


async def _replaced(kube: Kube, live: Manifest, desired: Manifest) -> bool:
    """Whether the object ``live`` was deleted. Raises Conflict where another owner has its name now."""
    metadata = desired["metadata"]
    now = await kube.get(desired["kind"], metadata["namespace"], metadata["name"])
    if now is not None and owner_uid(now) != owner_uid(desired):
        raise Taken(now)
    return now is None or now["metadata"]["uid"] != live["metadata"]["uid"]


async def _create(kube: Kube, desired: Manifest) -> int:
    """Creates a child that the store does not contain. Raises Taken if its name has another owner or none,
    NotCollected if the owner is a deleted resource of this name.

    If the resource's own child exists, it is compared with the desired one: it may have lost its label.
    Raises ApiError where no object has the name: it vanished, or a quota was changed meanwhile.
    """
    try:
        made = await kube.create(desired)
    except Conflict as error:
        metadata = desired["metadata"]
        taken = await kube.get(desired["kind"], metadata["namespace"], metadata["name"])
        if taken is None:
            raise _passing(error) from None
        if owner_uid(taken) == owner_uid(desired):
            return await _ensure(kube, taken, desired)
        if has_same_owner_but_uid(taken, desired):
            raise NotCollected(taken) from error
        raise Taken(taken) from error
    return 1 + (await _ensure(kube, made, desired) if _lost(made, desired) else 0)  # else no watch brings it


def existing(observed: Observed, desired: Iterable[Manifest], applied: Iterable[Manifest]) -> tuple[str, ...]:
    """Kind and name of the desired children that exist. A refused one does not, so it cannot vanish later."""
    found = set(map(child_name, (*children(observed), *applied)))
    return tuple(name for name in map(child_name, desired) if name in found)
