"""What the queue reads of a resource: whether it is reported, ready, and serves."""

from __future__ import annotations

from dataclasses import dataclass
from sys import intern

from tacho_operator.core.revisions.hub_backoff import hub_endpoint
from tacho_operator.core.types import Manifest
from tacho_operator.shell.store.waits import Wait


@dataclass(frozen=True, slots=True)
class StoreState:
    """The state of a resource that its queue priority depends on."""

    reported: bool = True
    """The operator has written a status, for any version of the spec. True for a deleted resource, which
    needs no status."""
    status_is_current: bool = False
    """The status speaks of the spec as it is."""
    ready: bool = False
    why: str = ""
    """The reason of its condition Ready, while that is not True."""
    hub: str = ""
    """Endpoint of its hub."""
    serves: bool = False
    """Some replica is ready."""

    @property
    def wait(self) -> Wait:
        return Wait(self.why, self.hub)


def is_reported(resource: Manifest) -> bool:
    """Whether the operator has written its status: the API server gives each a first status of its own,
    without observedGeneration."""
    return bool((resource.get("status") or {}).get("observedGeneration"))


def state_of(resource: Manifest) -> StoreState:
    status = resource.get("status") or {}
    conditions = status.get("conditions") or ()
    ready: Manifest = next((item for item in conditions if item.get("type") == "Ready"), {})
    is_ready = ready.get("status") == "True"
    return StoreState(
        reported=is_reported(resource),
        status_is_current=status.get("observedGeneration") == resource["metadata"].get("generation"),
        ready=is_ready,
        why="" if is_ready else intern(str(ready.get("reason", ""))),
        hub=intern(hub_endpoint(resource.get("spec") or {})),
        serves=bool(status.get("readyReplicas")),
    )
