"""The state of a resource for the work queue."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from sys import intern
from typing import Any

from tacho_contract.uri import CLAIM_SCHEME
from tacho_operator.core.types import Manifest


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
    serves: bool = False
    """Whether a replica is ready."""
    claims: tuple[str, ...] = ()
    """Names of the PersistentVolumeClaims in the resource's spec."""


@dataclass(frozen=True, slots=True)
class StoreChange:
    """An event that changed a field that decisions read; all other events are dropped."""

    kind: str
    namespace: str
    name: str
    owner: str
    """The resource named by the object's label, now or before its deletion."""


def is_reported(resource: Manifest) -> bool:
    """Whether the operator has written the resource's status.

    The API server gives each new resource a default status, which has no observedGeneration.
    """
    return bool((resource.get("status") or {}).get("observedGeneration"))


def state_of(resource: Manifest) -> ResourceState:
    """What the work queue needs to know of an LLMDeployment: its readiness, its claims.

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
    return ResourceState(
        reported=is_reported(resource),
        status_is_current=status.get("observedGeneration") == resource["metadata"].get("generation"),
        ready=ready.get("status") == "True",
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
