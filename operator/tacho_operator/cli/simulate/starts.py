"""How long starts take: those that were said, else what the status has measured of them. Pure."""

from __future__ import annotations

import math
from dataclasses import dataclass

from tacho_operator.api.types import LLMDeployment
from tacho_operator.cli.output.problems import CommandError
from tacho_operator.core.scaling.law import coldstart

LONGEST_SECONDS = 86_400.0
SPREAD = 10
"""Values that a range of seconds is drawn from."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Starts:
    """From a pod's creation to its readiness."""

    seconds: tuple[float, ...]
    """One of which each pod draws; there is one at least."""
    known_seconds: float
    """What nine in ten keep to: so much a scaler knows."""
    unknown: bool = False
    """Nobody said or measured any."""


def said(text: str) -> tuple[float, ...]:
    """Seconds with commas, as an option has them. Raises CommandError."""
    found = []
    for word in text.split(","):
        try:
            seconds = float(word)
        except ValueError:
            seconds = math.nan
        if not 0 <= seconds <= LONGEST_SECONDS:
            raise CommandError(
                f"--cold-start {text}: seconds of 0 to {LONGEST_SECONDS:.0f} are wanted, of one start or of "
                "several with commas, e.g. 120 or 110,115,180"
            )
        found.append(seconds)
    return tuple(found)


def starts_of(observed: tuple[float, ...], resource: LLMDeployment | None) -> Starts:
    """``observed``: those that were said.

    A status tells of the latest start, and what nine in ten starts keep to. Between these two all are taken
    to be as likely. The latest may have measured; a pod that comes to help does not.
    """
    if observed:
        return _drawn(observed)
    status = resource.status if resource else None
    known = status.autoscaling.cold_start_seconds if status and status.autoscaling else None
    startup = status.startup if status else None
    latest = startup.total_seconds if startup else None
    if startup and latest:
        latest = max(1, latest - (startup.probe_seconds or 0))
    ends = [float(end) for end in (latest, known) if end]
    if not ends:
        default = coldstart.UNKNOWN_SECONDS
        return Starts(seconds=(default,), known_seconds=default, unknown=True)
    low, high = min(ends), max(ends)
    if low == high:
        return Starts(seconds=(high,), known_seconds=high)
    spread = tuple(round(low + (high - low) * (at + 0.5) / SPREAD, 1) for at in range(SPREAD))
    return Starts(seconds=spread, known_seconds=float(known or high))


def _drawn(observed: tuple[float, ...]) -> Starts:
    numbered = tuple((str(at), seconds) for at, seconds in enumerate(observed))
    return Starts(seconds=tuple(sorted(observed)), known_seconds=coldstart.cold_start_seconds(numbered, None))
