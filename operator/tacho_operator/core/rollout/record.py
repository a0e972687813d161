"""The record of a rollout, in the annotations of the Service. Record and selector change in one write."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from tacho_contract import codec
from tacho_contract.launch import Again
from tacho_contract.units import parse_time
from tacho_operator.core import names
from tacho_operator.core.pauses import doubling_seconds, pause_left
from tacho_operator.core.types import Manifest

MIN_READY_SECONDS = 10
"""Seconds that a pod must be ready before it counts as available and may replace another pod.

It is the time that the readiness probe needs to fail: 5 times 2 s (manifests/containers.py). The first
pod of a resource serves at once.
"""
SETTLE_SECONDS = 30.0
"""Seconds that the old revision's pods stay after the new revision was admitted with all its pods.

First answers to real requests end in this time, and a rollback is a single write.
"""
FIRST_PAUSE_SECONDS = 60.0
"""Pause in seconds after the first rollback of a candidate; it doubles with each further one.

It is longer than the kubelet's first restart back-offs, so that each retry meets a new start of the engine.
"""
LONGEST_PAUSE_SECONDS = 3600.0
"""Longest pause in seconds between two tries of a candidate: few requests fail, and it recovers within an
hour after the cause ended.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class RollbackRecord:
    """The rollback of an admitted candidate that had no available pod. It is tried again after a pause."""

    revision: str
    count: int = 1
    """Number of rollbacks of this candidate in a row."""
    time: str
    """Time of the last rollback (RFC 3339)."""
    reason: str = ""
    """Failure class of the candidate's pods; "" where unknown."""
    message: str = ""

    @property
    def pause_seconds(self) -> float:
        """Seconds from the last rollback to the next try."""
        return doubling_seconds(FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS, self.count)

    @property
    def retry_time(self) -> datetime | None:
        """When the candidate may receive requests again; None where that time is invalid: at once."""
        begun = parse_time(self.time)
        try:
            return begun + timedelta(seconds=self.pause_seconds) if begun else None
        except OverflowError:  # of the year 9999
            return None

    def wait_seconds(self, now: datetime) -> float:
        """Seconds until the candidate may be admitted again; 0 when it may."""
        begun = parse_time(self.time)
        return pause_left(begun, self.pause_seconds, now) if begun else 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class GateRecord:
    """What the rollout's gate found of a candidate. It holds as long as ``key`` stays the same."""

    revision: str
    key: str
    """Hash of what a verdict depends on: tolerances, workload, SLO, probe, a person's request."""
    verdict: str = ""
    """Acceptable, Regression or Unjudged; "" while the candidate is judged."""
    what: str = ""
    """The worst figure, or why nothing was judged."""
    details: str = ""
    """All figures of the last measurement."""
    figures: tuple[str, ...] = ()
    """Names of the figures that regressed in a measurement so far; of a verdict: in two."""
    measurements: int = 0
    """Number of measurements that were judged."""
    measured_time: str = ""
    """When the last of them ended (RFC 3339, by the pod's clock)."""
    pod: str = ""
    """The pod that shall measure itself again."""
    since: str = ""
    """Since when its next measurement is awaited (RFC 3339)."""
    begun: str = ""
    """When the candidate was first judged (RFC 3339)."""
    outage: str = ""
    """Since when the active revision has had no ready pod (RFC 3339); "": it has one."""
    missed: str = ""
    """Since when its pod's report is missing (RFC 3339); "": it was read."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Gating:
    """The gate's decision on the candidate in one reconcile pass."""

    record: GateRecord | None = None
    admits: bool = True
    """Whether the candidate may receive requests once it is available."""
    rejects: bool = False
    message: str = ""
    """What is awaited, as a clause; "": nothing."""
    again: Again = Again()
    """The request to the candidate's pod to measure itself again."""
    awaits: str = ""
    """A revision that has measured itself and is about to be ready, while none serves; "": none."""
    requeue_after_seconds: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Serving:
    """The rollout record in the Service: which revision is active, admitted and selected."""

    active: str = ""
    """The revision that serves, and that a failing rollout returns to; "": none has served yet."""
    selected: str = ""
    """The revision in the Service's selector. "", if the Service ``exists``: it selects all pods."""
    admitted: str = ""
    """The candidate that receives requests together with the active revision; "": none."""
    switched_time: str = ""
    """When ``admitted`` first received requests (RFC 3339)."""
    rollback: RollbackRecord | None = None
    gate: GateRecord | None = None
    exists: bool = False

    def annotations(self) -> dict[str, str]:
        """The record as annotations of the Service."""
        found = {
            names.ACTIVE_ANNOTATION: self.active,
            names.ADMITTED_ANNOTATION: self.admitted,
            names.SWITCHED_ANNOTATION: self.switched_time,
            names.ROLLBACK_ANNOTATION: codec.dumps(self.rollback) if self.rollback else "",
            names.GATE_ANNOTATION: codec.dumps(self.gate) if self.gate else "",
        }
        return {key: value for key, value in found.items() if value}


def read_record(service: Manifest, active: str) -> Serving:
    """The record in ``service``; if its annotation for the active revision is gone, ``active`` is used."""
    notes: Mapping[str, str] = service["metadata"].get("annotations") or {}
    selector = (service.get("spec") or {}).get("selector") or {}
    return Serving(
        active=notes.get(names.ACTIVE_ANNOTATION, "") or active,
        selected=selector.get(names.REVISION_LABEL, ""),
        admitted=notes.get(names.ADMITTED_ANNOTATION, ""),
        switched_time=notes.get(names.SWITCHED_ANNOTATION, ""),
        rollback=codec.read(RollbackRecord, notes.get(names.ROLLBACK_ANNOTATION, "")),
        gate=codec.read(GateRecord, notes.get(names.GATE_ANNOTATION, "")),
        exists=True,
    )
