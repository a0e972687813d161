"""The record of a rollout, stored in the annotations and the selector of the Service: both change in one
write."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from tacho_contract import codec
from tacho_contract.units import parse_time
from tacho_operator.core import names
from tacho_operator.core.pods.deadlines import pause_left
from tacho_operator.core.types import Manifest

MIN_READY_SECONDS = 10
"""A pod is available, and may replace another one, when it has been ready for so long: the time that its
readiness probe needs to fail, 5 times 2 s (manifests/pod/containers.py). Loading a model takes far longer. A
resource's first pod serves without it."""
SETTLE_SECONDS = 30.0
"""How long the old revision stays with a complete new one, from the admission of the new one on. The first
answers to real requests end in it; until then a rollback is one write."""
FIRST_PAUSE_SECONDS = 60.0
"""Pause after the first rollback of a candidate; doubles with each further one. Longer than the kubelet's
first pauses between restarts, so that each retry meets another start of the engine."""
LONGEST_PAUSE_SECONDS = 3600.0
"""A retry each hour costs few requests, and recovers when the cause is removed."""
_MAX_DOUBLINGS = 16
"""Bounds the power of two."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RollbackRecord:
    """A candidate that was admitted and then had no available pod; it is admitted again after a pause."""

    revision: str
    count: int = 1
    """Rollbacks without another revision in between."""
    time: str
    """Time of the last rollback (RFC 3339)."""
    reason: str = ""
    """Failure class of the rolled-back pods; "" where unknown."""
    message: str = ""

    @property
    def pause_seconds(self) -> float:
        """Seconds to pause before the next retry."""
        doublings = min(max(self.count - 1, 0), _MAX_DOUBLINGS)
        return min(FIRST_PAUSE_SECONDS * 2.0**doublings, LONGEST_PAUSE_SECONDS)

    @property
    def retry_time(self) -> datetime | None:
        """When the candidate may be admitted again; None, which means now, where the stored time is
        invalid."""
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
class Serving:
    """The rollout record in the Service: which revision is active, admitted and selected."""

    active: str = ""
    """The revision that serves, and that a failing rollout returns to; "" before any served."""
    selected: str = ""
    """The revision that it selects; "" with ``exists``: the servers of every revision."""
    admitted: str = ""
    """The candidate that is selected together with the active revision."""
    switched_time: str = ""
    """When it was admitted (RFC 3339)."""
    rollback: RollbackRecord | None = None
    exists: bool = False

    def annotations(self) -> dict[str, str]:
        """The record as annotations of the Service."""
        found = {
            names.ACTIVE_ANNOTATION: self.active,
            names.ADMITTED_ANNOTATION: self.admitted,
            names.SWITCHED_ANNOTATION: self.switched_time,
            names.ROLLBACK_ANNOTATION: codec.dumps(self.rollback) if self.rollback else "",
        }
        return {key: value for key, value in found.items() if value}


def read_record(service: Manifest, active: str) -> Serving:
    """The record in ``service``; ``active`` is used as the active revision where that annotation was
    removed."""
    notes: Mapping[str, str] = service["metadata"].get("annotations") or {}
    selector = (service.get("spec") or {}).get("selector") or {}
    return Serving(
        active=notes.get(names.ACTIVE_ANNOTATION, "") or active,
        selected=selector.get(names.REVISION_LABEL, ""),
        admitted=notes.get(names.ADMITTED_ANNOTATION, ""),
        switched_time=notes.get(names.SWITCHED_ANNOTATION, ""),
        rollback=codec.read(RollbackRecord, notes.get(names.ROLLBACK_ANNOTATION, "")),
        exists=True,
    )
