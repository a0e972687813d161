"""Typed views of manifests: the facts of pods and Deployments that decisions need, and who owns an object."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime

from tacho_contract.units import parse_time
from tacho_operator.core import names
from tacho_operator.core.types import Manifest, Reference

UNKNOWN_PHASE = "Unknown"
"""Phase of a pod whose state is not known: Kubernetes gives it, and the operator where it cannot read the
pod."""

FINISHED = ("Failed", "Succeeded")
"""Phases of a pod that has ended."""
STUCK_SECONDS = 60.0
"""Seconds after its grace period from which a pod that is being deleted has no end of its own."""


@dataclass(frozen=True, slots=True)
class Termination:
    """How one run of a container ended: exit code, reason, message and times."""

    exit_code: int
    reason: str
    message: str
    """The termination message, or the last lines of the log."""
    started: datetime | None
    finished: datetime | None

    @classmethod
    def read(cls, state: Manifest) -> Termination:
        """The end of a container's run, read from ``state.terminated`` of its status."""
        return cls(
            exit_code=int(state.get("exitCode", 0)),
            reason=str(state.get("reason", "")),
            message=str(state.get("message", "")),
            started=parse_time(state.get("startedAt")),
            finished=parse_time(state.get("finishedAt")),
        )


@dataclass(frozen=True, slots=True)
class PodCondition:
    """One condition of a pod; every field of an absent condition is empty."""

    status: str = ""
    reason: str = ""
    message: str = ""
    since: datetime | None = None


@dataclass(frozen=True, slots=True)
class ContainerView:
    """One container's status, init containers included."""

    name: str
    raw: Manifest

    @property
    def _state(self) -> Manifest:
        found: Manifest = self.raw.get("state") or {}
        return found

    @property
    def waiting_reason(self) -> str:
        """Why the container waits; "" while it does not wait."""
        return str((self._state.get("waiting") or {}).get("reason", ""))

    @property
    def waiting_message(self) -> str:
        return str((self._state.get("waiting") or {}).get("message", "")).strip()

    @property
    def ended(self) -> bool:
        """Whether the container's present run has ended."""
        return "terminated" in self._state

    @property
    def terminated(self) -> Termination | None:
        """How the present run ended; where the container waits or runs, how its previous run ended; None: no
        run has ended.
        """
        states = (self._state, self.raw.get("lastState") or {})
        return next((Termination.read(found) for state in states if (found := state.get("terminated"))), None)

    @property
    def running_since(self) -> datetime | None:
        return parse_time((self._state.get("running") or {}).get("startedAt"))

    @property
    def restarts(self) -> int:
        return int(self.raw.get("restartCount", 0))

    @property
    def image(self) -> str:
        return str(self.raw.get("image", ""))

    @property
    def image_id(self) -> str:
        return str(self.raw.get("imageID", ""))


@dataclass(frozen=True, slots=True)
class PodView:
    """One pod, read from its manifest."""

    raw: Manifest

    @property
    def name(self) -> str:
        return str(self.raw["metadata"]["name"])

    @property
    def namespace(self) -> str:
        return str(self.raw["metadata"].get("namespace", ""))

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
    def ends(self) -> datetime | None:
        """The end of the pod's grace period; None: the pod is not being deleted."""
        return parse_time(self.raw["metadata"].get("deletionTimestamp"))

    def is_stuck(self, lost: Collection[str]) -> bool:
        """Whether the pod is being deleted on one of the ``lost`` nodes: no kubelet can confirm that it has
        ended."""
        return self.terminating and self.node in lost

    def cannot_end(self, lost: Collection[str], now: datetime) -> bool:
        """Whether the pod is being deleted and stays: a finalizer keeps it, or its node, one of the ``lost``
        ones or one that the operator may not read, does not confirm the end."""
        if self.ends is None:
            return False
        return self.is_stuck(lost) or (now - self.ends).total_seconds() > STUCK_SECONDS

    @property
    def created(self) -> datetime | None:
        return parse_time(self.raw["metadata"].get("creationTimestamp"))

    def start_seconds(self, until: datetime | None) -> float | None:
        """Seconds from the pod's creation to ``until``, a time by its node's clock; None: unknown.

        That clock may be wrong. So by it only what follows the node's taking up the pod is counted.
        """
        created, scheduled = self.created, self.condition_time("PodScheduled")
        taken_up = parse_time(self._status.get("startTime"))
        if created is None or until is None:
            return None
        if scheduled is None or taken_up is None:
            scheduled = taken_up = created
        found = (scheduled - created + (until - taken_up)).total_seconds()
        return found if found >= 0 else None

    @property
    def age_order(self) -> tuple[str, str]:
        """Sort key of pods: oldest first, then by name."""
        return str(self.raw["metadata"].get("creationTimestamp")), self.name

    @property
    def _status(self) -> Manifest:
        found: Manifest = self.raw.get("status") or {}
        return found

    @property
    def phase(self) -> str:
        return str(self._status.get("phase", "Pending"))

    @property
    def reason(self) -> str:
        """``status.reason``, which the kubelet or a controller sets; "" otherwise."""
        return str(self._status.get("reason", ""))

    @property
    def exceeded_deadline(self) -> bool:
        """Whether the kubelet ended the pod because of its activeDeadlineSeconds."""
        return self.phase == "Failed" and self.reason == "DeadlineExceeded"

    @property
    def message(self) -> str:
        """The pod's ``status.message``."""
        return str(self._status.get("message", "")).strip()

    @property
    def address(self) -> str:
        """IP address of the pod; "" until it has one."""
        return str(self._status.get("podIP") or "")

    @property
    def node(self) -> str:
        return str((self.raw.get("spec") or {}).get("nodeName", ""))

    @property
    def node_selector(self) -> dict[str, str]:
        """The node labels that the pod requires; empty for a pod that has a node, as the operator then does
        not keep them.
        """
        return dict((self.raw.get("spec") or {}).get("nodeSelector") or {})

    @property
    def tolerations(self) -> tuple[Manifest, ...]:
        """The tolerations that keep the pod on a node that stopped answering; others are not kept."""
        return tuple((self.raw.get("spec") or {}).get("tolerations") or ())

    def condition(self, kind: str) -> PodCondition:
        for item in self._status.get("conditions") or ():
            if item.get("type") == kind:
                return PodCondition(
                    status=str(item.get("status", "")),
                    reason=str(item.get("reason", "")),
                    message=str(item.get("message", "")),
                    since=parse_time(item.get("lastTransitionTime")),
                )
        return PodCondition()

    @property
    def unready_because(self) -> str:
        """What keeps the pod unready besides its engine, such as a sidecar or a readiness gate that a webhook
        added, by the kubelet's condition; "": nothing.
        """
        found = self.condition("Ready")
        if found.status == "True" and not self.address:
            return "it has no IP address"
        own = f"containers with unready status: [{names.ENGINE_CONTAINER}]"
        return "" if found.status == "True" or found.message == own else found.message.strip()

    def condition_time(self, kind: str) -> datetime | None:
        """When the condition of type ``kind`` became True; None where it is not True."""
        found = self.condition(kind)
        return found.since if found.status == "True" else None

    @property
    def unprepared_since(self) -> datetime | None:
        """Since when the pod has waited for its node to mount volumes and set up the network; None where it
        does not wait."""
        found = self.condition("PodReadyToStartContainers")
        return found.since if self.node and self.phase == "Pending" and found.status == "False" else None

    @property
    def ready(self) -> bool:
        """Whether the Service sends requests to the pod: it is Ready and has an address, has not ended and is
        not being deleted.

        A pod whose node was deleted ends as it was, with its condition Ready.
        """
        has_address = self.address != ""
        is_leaving = self.terminating or self.phase in FINISHED
        return has_address and not is_leaving and self.condition("Ready").status == "True"

    def containers(self) -> Iterator[ContainerView]:
        for key in ("initContainerStatuses", "containerStatuses"):
            for item in self._status.get(key) or ():
                yield ContainerView(item["name"], item)

    def container(self, name: str) -> ContainerView | None:
        return next((item for item in self.containers() if item.name == name), None)


def views(pods: Iterable[Manifest], role: str) -> tuple[PodView, ...]:
    """The pods with one role, oldest first, then by name: the API server's order is not stable."""
    found = [view for view in map(PodView, pods) if view.role == role]
    return tuple(sorted(found, key=lambda view: view.age_order))


def named(manifests: Iterable[Manifest], name: str) -> Manifest | None:
    """The object with that name; None where there is none."""
    return next((item for item in manifests if item["metadata"]["name"] == name), None)


def references(pods: Iterable[PodView]) -> tuple[Reference, ...]:
    """References for deleting ``pods``, without those that are being deleted already."""
    return tuple(Reference(kind="Pod", name=pod.name, uid=pod.uid) for pod in pods if not pod.terminating)


def deployment_sizes(deployments: Iterable[Manifest]) -> dict[str, int]:
    """spec.replicas by name, without Deployments that are being deleted."""
    return {
        item["metadata"]["name"]: int((item.get("spec") or {}).get("replicas", 1))
        for item in deployments
        if not item["metadata"].get("deletionTimestamp")
    }


def controller(manifest: Manifest) -> Manifest | None:
    """The owner reference of the controlling owner; None where there is none."""
    owners = manifest["metadata"].get("ownerReferences") or ()
    return next((owner for owner in owners if owner.get("controller")), None)


def owner_uid(manifest: Manifest) -> str | None:
    """The uid of the controlling owner; None where there is none."""
    found = controller(manifest)
    return str(found["uid"]) if found else None


def replica_sets_of(pods: Iterable[PodView]) -> frozenset[str]:
    """The uids of the ReplicaSets of ``pods``. A Deployment has one for each template that it had."""
    owners = (controller(pod.raw) for pod in pods)
    return frozenset(str(owner["uid"]) for owner in owners if owner and owner.get("kind") == "ReplicaSet")
