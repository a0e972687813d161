"""What is remembered of a rollout. The Service is the memory: each write of it is one whole state."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from tacho_contract import codec
from tacho_contract.times import parse_time
from tacho_operator.core import names
from tacho_operator.core.rollout.times import FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS
from tacho_operator.core.types import Manifest

_MOST_DOUBLINGS = 16
"""More would only make numbers large."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fallback:
    """A candidate that was let in, lost its pods, and is tried again after a pause."""

    revision: str
    count: int = 1
    """How often it has fallen, without another revision in between."""
    time: str
    """Of the last fall (RFC 3339)."""
    reason: str = ""
    """What its pods said; "" where they said nothing."""
    message: str = ""

    @property
    def pause_seconds(self) -> float:
        """Before the next try."""
        doublings = min(max(self.count - 1, 0), _MOST_DOUBLINGS)
        return min(FIRST_PAUSE_SECONDS * 2.0**doublings, LONGEST_PAUSE_SECONDS)

    @property
    def retry_time(self) -> datetime | None:
        """When it may be let in again; None where the note's time cannot be read: now."""
        fell = parse_time(self.time)
        try:
            return fell + timedelta(seconds=self.pause_seconds) if fell else None
        except OverflowError:  # of the year 9999
            return None

    def wait_seconds(self, now: datetime) -> float:
        """Until it may be let in again; 0 when it may. Never longer than the pause: a note from the future
        says nothing but that a clock, or somebody who wrote it, was wrong."""
        retry = self.retry_time
        return min(max(0.0, (retry - now).total_seconds()), self.pause_seconds) if retry else 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Serving:
    """What the Service says."""

    active: str = ""
    """The revision that has served, and to which a failing rollout returns; "" before any did."""
    selected: str = ""
    """The revision it selects; "" with ``exists`` means every revision's servers."""
    admitted: str = ""
    """The revision let in beside the active one, until it is alone."""
    switched_time: str = ""
    """When it was let in (RFC 3339)."""
    fallback: Fallback | None = None
    exists: bool = False

    def notes(self) -> dict[str, str]:
        """As the Service's annotations."""
        found = {
            names.ACTIVE_ANNOTATION: self.active,
            names.ADMITTED_ANNOTATION: self.admitted,
            names.SWITCHED_ANNOTATION: self.switched_time,
            names.FALLBACK_ANNOTATION: codec.dumps(self.fallback) if self.fallback else "",
        }
        return {key: value for key, value in found.items() if value}


def recall(service: Manifest, remembered: str) -> Serving:
    """What ``service`` says; ``remembered`` is the active revision where its note of it was lost."""
    notes: Mapping[str, str] = service["metadata"].get("annotations") or {}
    selector = (service.get("spec") or {}).get("selector") or {}
    return Serving(
        active=notes.get(names.ACTIVE_ANNOTATION, "") or remembered,
        selected=selector.get(names.REVISION_LABEL, ""),
        admitted=notes.get(names.ADMITTED_ANNOTATION, ""),
        switched_time=notes.get(names.SWITCHED_ANNOTATION, ""),
        fallback=_fallback(notes.get(names.FALLBACK_ANNOTATION, "")),
        exists=True,
    )


def _fallback(text: str) -> Fallback | None:
    """A note that somebody made unreadable is no reason to stop."""
    try:
        return codec.loads(Fallback, text) if text else None
    except codec.DocumentError:
        return None
