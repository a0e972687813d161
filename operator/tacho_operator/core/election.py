"""Leader election on a coordination.k8s.io Lease: what a candidate writes next, and when it reads again.

The rules are those of Kubernetes' own components. A Lease has expired when a candidate has seen no change of
it for its duration, by that candidate's own clock: clocks of two machines are never compared.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from tacho_operator.core.types import Manifest

LEASE_SECONDS = 15.0
RENEW_DEADLINE_SECONDS = 10.0
"""A leader that has not renewed the Lease for so long no longer leads, before any other may."""
RETRY_SECONDS = 2.0
MOST_TRANSITIONS = 2**31 - 1
"""The API server refuses a higher count, which an edited Lease could bring: then no replica would lead."""
ADDRESS_ANNOTATION = "tacho.dev/leader-address"
"""Host and port at which the leader answers /scaling."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """A process that takes part in the leader election, and what it last read of the Lease."""

    identity: str
    address: str = ""
    leads_until: float = float("-inf")
    """By the process's monotonic clock."""
    seen: tuple[str, ...] = ()
    """Holder, time of renewal and transitions of the Lease when it was last read."""
    seen_since: float = float("-inf")
    """When the Lease was first read so."""

    def leads(self, now: float) -> bool:
        """Whether this process is the leader and its Lease has not expired, so that it may write to the
        cluster."""
        return now < self.leads_until

    def renewed(self, began: float) -> Candidate:
        """The candidate after the API server accepted its write of the Lease, which it had read at
        ``began``."""
        return replace(self, leads_until=began + RENEW_DEADLINE_SECONDS)


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """The result of one reading of the Lease: what to write, if anything, and when to read again."""

    candidate: Candidate
    write: Manifest | None = None
    """The Lease to create, or to replace the one that was read; None: another holds it."""
    wait_seconds: float = RETRY_SECONDS


def holder_of(lease: Manifest | None) -> str:
    """Identity of the Lease's holder; "" where it has none."""
    return str(_spec(lease).get("holderIdentity") or "")


def address_of(lease: Manifest | None) -> str:
    """The HTTP address of the Lease's holder; "" where the Lease does not contain it."""
    metadata = (lease or {}).get("metadata") or {}
    return str((metadata.get("annotations") or {}).get(ADDRESS_ANNOTATION, "")) if holder_of(lease) else ""


def turn(candidate: Candidate, lease: Manifest | None, now: float, moment: datetime) -> Turn:
    """The next step of a candidate that has read the Lease: to write it, or to wait.

    ``now``: the candidate's monotonic clock. ``moment``: the wall clock, which the Lease shows to people.
    """
    holder = holder_of(lease)
    if holder in ("", candidate.identity):
        return Turn(candidate=candidate, write=_held(candidate, lease, moment))
    spec = _spec(lease)
    seen = tuple(str(spec.get(name)) for name in ("holderIdentity", "renewTime", "leaseTransitions"))
    if seen != candidate.seen:
        candidate = replace(candidate, seen=seen, seen_since=now)
    left = candidate.seen_since + LEASE_SECONDS - now
    if left > 0:
        return Turn(candidate=candidate, wait_seconds=min(RETRY_SECONDS, left))
    return Turn(candidate=candidate, write=_held(candidate, lease, moment))


def new_lease(namespace: str, name: str) -> Manifest:
    """The manifest of a Lease without a holder."""
    metadata = {"name": name, "namespace": namespace}
    return {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": metadata}


def released(lease: Manifest, moment: datetime) -> Manifest:
    """The Lease without a holder, so that another may take it at once."""
    spec = {**_spec(lease), "holderIdentity": "", "renewTime": _micro_time(moment)}
    return {**lease, "spec": spec}


def _held(candidate: Candidate, lease: Manifest | None, moment: datetime) -> Manifest:
    spec, metadata = _spec(lease), (lease or {}).get("metadata") or {}
    same = holder_of(lease) == candidate.identity
    held = {
        "holderIdentity": candidate.identity,
        "leaseDurationSeconds": int(LEASE_SECONDS),
        "acquireTime": spec.get("acquireTime") if same else _micro_time(moment),
        "renewTime": _micro_time(moment),
        "leaseTransitions": min(MOST_TRANSITIONS, int(spec.get("leaseTransitions") or 0) + (not same)),
    }
    annotations = {**(metadata.get("annotations") or {}), ADDRESS_ANNOTATION: candidate.address}
    return {**(lease or {}), "metadata": {**metadata, "annotations": annotations}, "spec": held}


def _spec(lease: Manifest | None) -> Mapping[str, Any]:
    return (lease or {}).get("spec") or {}


def _micro_time(moment: datetime) -> str:
    """Kubernetes' MicroTime."""
    return moment.strftime("%Y-%m-%dT%H:%M:%S.%fZ")
