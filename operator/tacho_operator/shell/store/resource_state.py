"""The state of a resource for the work queue, and how many resources wait for each hub."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from sys import intern
from typing import Any, NamedTuple

from tacho_contract.uri import CLAIM_SCHEME
from tacho_operator.core.revisions.hub_backoff import SHARED_REASONS, ended_wait, hub_endpoint, notice_due
from tacho_operator.core.types import HubWaiters, Manifest


class HubWait(NamedTuple):
    """What a resource waits for: a hub, and the reason of the resource's condition Ready."""

    why: str
    """Reason of the resource's condition Ready; "": Ready is True."""
    hub: str
    """Address of the hub that the resource waits for."""


WORKED_LIMIT = 10_000
"""Most hubs whose last success is remembered."""


class HubWaiterCounts:
    """Counts of the resources that are not ready, by hub, reason and namespace."""

    def __init__(self, clock: Callable[[], datetime]) -> None:
        self._clock = clock
        self._counts: Counter[HubWait] = Counter()
        self._inside: Counter[tuple[str, HubWait]] = Counter()
        self._worked: dict[HubWait, datetime] = {}

    def of(self, namespace: str, hub: str) -> dict[str, HubWaiters]:
        """The number of resources that wait for ``hub``, by reason; those of other namespaces are counted
        separately."""
        found = {}
        for wait in (HubWait(why, hub) for why in SHARED_REASONS):
            inside = self._inside[namespace, wait]
            elsewhere = self._counts[wait] - inside
            found[wait.why] = HubWaiters(inside, self._worked.get(wait), elsewhere)
        return found

    def add(self, namespace: str, wait: HubWait) -> None:
        """Adds one waiting resource of ``namespace``. Only reasons that many resources can share are
        counted."""
        self._count_wait(namespace, wait, 1)

    def drop(self, namespace: str, wait: HubWait) -> None:
        """Subtracts one waiting resource of ``namespace``."""
        self._count_wait(namespace, wait, -1)

    def _count_wait(self, namespace: str, wait: HubWait, change: int) -> None:
        if wait.why not in SHARED_REASONS:
            return
        self._counts[wait] += change
        self._inside[namespace, wait] += change
        if not self._inside[namespace, wait]:
            del self._inside[namespace, wait]
        if not self._counts[wait]:
            del self._counts[wait]

    def ended(self, was: HubWait, now_why: str) -> HubWait | None:
        """``was``, if that wait ended because the hub works again, so that the others retry now; else None.

        ``now_why``: the resource's present reason. A hub that was reported a moment ago is not reported
        again.
        """
        now = self._clock()
        if not ended_wait(was.why, now_why) or not notice_due(self._worked.get(was), now):
            return None
        self._worked.pop(was, None)
        self._worked[was] = now
        if len(self._worked) > WORKED_LIMIT:
            del self._worked[next(iter(self._worked))]
        return was


@dataclass(frozen=True, slots=True)
class ResourceState:
    """The state of a resource that its queue priority depends on."""

    reported: bool = True
    """Whether the operator has written a status, for any version of the spec. True for a deleted resource,
    which needs none.
    """
    status_is_current: bool = False
    """Whether the status describes the present spec."""
    ready: bool = False
    why: str = ""
    """Reason of the resource's condition Ready; "": Ready is True."""
    hub: str = ""
    """Address of the hub in the resource's spec."""
    serves: bool = False
    """Whether a replica is ready."""
    claims: tuple[str, ...] = ()
    """Names of the PersistentVolumeClaims in the resource's spec."""

    @property
    def wait(self) -> HubWait:
        return HubWait(self.why, self.hub)


@dataclass(frozen=True, slots=True)
class StoreChange:
    """An event that changed a field that decisions read; all other events are dropped."""

    kind: str
    namespace: str
    name: str
    owner: str
    """The resource named by the object's label, now or before its deletion."""
    freed: HubWait | None = None
    """What the resource waited for, if that wait ended now; others that wait for it may continue, too."""


def is_reported(resource: Manifest) -> bool:
    """Whether the operator has written the resource's status.

    The API server gives each new resource a default status, which has no observedGeneration.
    """
    return bool((resource.get("status") or {}).get("observedGeneration"))


def state_of(resource: Manifest) -> ResourceState:
    """What the work queue needs to know of an LLMDeployment: its readiness, the hub it waits for, its claims.

    Where an older CRD accepted fields of another type, it is the state of a deleted resource; the reconcile
    then reports the error.
    """
    try:
        return _state_of(resource)
    except (AttributeError, TypeError):
        return ResourceState()


def _state_of(resource: Manifest) -> ResourceState:
    status = resource.get("status") or {}
    conditions = status.get("conditions") or ()
    ready: Manifest = next((item for item in conditions if item.get("type") == "Ready"), {})
    is_ready = ready.get("status") == "True"
    return ResourceState(
        reported=is_reported(resource),
        status_is_current=status.get("observedGeneration") == resource["metadata"].get("generation"),
        ready=is_ready,
        why="" if is_ready else intern(str(ready.get("reason", ""))),
        hub=intern(hub_endpoint(resource.get("spec") or {})),
        serves=bool(status.get("readyReplicas")),
        claims=tuple(map(intern, dict.fromkeys(_claims(resource.get("spec"))))),
    )


def _claims(spec: Any) -> Iterator[str]:
    """Names of claims anywhere in ``spec``, whatever types an older CRD accepted."""
    if isinstance(spec, list):
        for item in spec:
            yield from _claims(item)
    elif isinstance(spec, dict):
        for key, value in spec.items():
            if key == "claimName" and isinstance(value, str):
                yield value
            elif key == "uri" and isinstance(value, str):
                yield value.removeprefix(CLAIM_SCHEME).partition("/")[0]
            else:
                yield from _claims(value)
