"""A pod's manifest, read: the few facts of it that decisions need."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime

from tacho_contract.times import parse_time
from tacho_operator.core import names
from tacho_operator.core.types import Manifest, Reference


@dataclass(frozen=True, slots=True)
class ContainerView:
    """One container's status, init containers included."""

    name: str
    raw: Manifest

    @property
    def waiting(self) -> Manifest | None:
        found: Manifest | None = self.raw.get("state", {}).get("waiting")
        return found

    @property
    def terminated(self) -> Manifest | None:
        """The end of the present run, or of the last one where the container waits or runs again."""
        states = (self.raw.get("state") or {}, self.raw.get("lastState") or {})
        return next((found for state in states if (found := state.get("terminated"))), None)

    @property
    def running_since(self) -> datetime | None:
        return parse_time(self.raw.get("state", {}).get("running", {}).get("startedAt"))

    @property
    def restarts(self) -> int:
        return int(self.raw.get("restartCount", 0))

    @property
    def image(self) -> str:
        return str(self.raw.get("image", ""))


@dataclass(frozen=True, slots=True)
class PodView:
    """One pod."""

    raw: Manifest

    @property
    def name(self) -> str:
        return str(self.raw["metadata"]["name"])

    @property
    def uid(self) -> str:
        return str(self.raw["metadata"].get("uid", ""))

    def _label(self, key: str) -> str:
        return str((self.raw["metadata"].get("labels") or {}).get(key, ""))

    @property
    def role(self) -> str:
        return self._label(names.ROLE_LABEL)

    @property
    def revision(self) -> str:
        return self._label(names.REVISION_LABEL)

    def annotation(self, key: str) -> str:
        return str((self.raw["metadata"].get("annotations") or {}).get(key, ""))

    @property
    def terminating(self) -> bool:
        return bool(self.raw["metadata"].get("deletionTimestamp"))

    @property
    def created(self) -> datetime | None:
        return parse_time(self.raw["metadata"].get("creationTimestamp"))

    @property
    def status(self) -> Manifest:
        found: Manifest = self.raw.get("status") or {}
        return found

    @property
    def phase(self) -> str:
        return str(self.status.get("phase", "Pending"))

    @property
    def node(self) -> str:
        return str((self.raw.get("spec") or {}).get("nodeName", ""))

    def condition(self, kind: str) -> Manifest | None:
        found: Iterable[Manifest] = self.status.get("conditions") or ()
        return next((item for item in found if item.get("type") == kind), None)

    def condition_time(self, kind: str) -> datetime | None:
        """When a condition that is True became so."""
        found = self.condition(kind)
        if not found or found.get("status") != "True":
            return None
        return parse_time(found.get("lastTransitionTime"))

    @property
    def ready(self) -> bool:
        """Whether endpoints list it: the Ready condition, and not on its way out."""
        found = self.condition("Ready")
        return not self.terminating and bool(found) and (found or {}).get("status") == "True"

    def containers(self) -> Iterator[ContainerView]:
        for key in ("initContainerStatuses", "containerStatuses"):
            for item in self.status.get(key) or ():
                yield ContainerView(item["name"], item)

    def container(self, name: str) -> ContainerView | None:
        return next((item for item in self.containers() if item.name == name), None)


def views(pods: Iterable[Manifest], role: str) -> tuple[PodView, ...]:
    """The pods of one role, oldest first, then by name: a stable order whatever the server's is."""
    found = [view for view in map(PodView, pods) if view.role == role]
    return tuple(
        sorted(found, key=lambda view: (str(view.raw["metadata"].get("creationTimestamp")), view.name))
    )


def references(pods: Iterable[PodView]) -> tuple[Reference, ...]:
    """What to delete: those not on their way out already."""
    return tuple(Reference(kind="Pod", name=pod.name, uid=pod.uid) for pod in pods if not pod.terminating)
