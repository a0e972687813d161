"""The cold start durations to simulate: those of the option, else those measured in status. Pure."""

from __future__ import annotations

import math
from dataclasses import dataclass

from tacho_cli.problems import CommandError
from tacho_operator.api.types import LLMDeployment
from tacho_operator.core.autoscaling.algorithm import tuning
from tacho_operator.core.autoscaling.algorithm.demand import cold_start

MAX_SECONDS = 86_400.0
SPREAD = 10
"""Number of values that stand for a range of cold starts."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ColdStarts:
    """Cold-start durations, from a pod's creation to its readiness."""

    seconds: tuple[float, ...]
    """Durations in seconds, at least one; each pod draws one of the list."""
    known_seconds: float
    """90th percentile of the cold starts in seconds, which scalers may use."""
    unknown: bool = False
    """Whether no cold start was given or measured, so that a default is used."""


def parse_starts(text: str) -> tuple[float, ...]:
    """Comma-separated seconds of the option. Raises CommandError."""
    found = []
    for word in text.split(","):
        try:
            seconds = float(word)
        except ValueError:
            seconds = math.nan
        if not 0 <= seconds <= MAX_SECONDS:
            raise CommandError(
                f"--cold-start {text}: give seconds from 0 to {MAX_SECONDS:.0f}, "
                "several separated by commas, e.g. 120 or 110,115,180"
            )
        found.append(seconds)
    return tuple(found)


def starts_of(observed: tuple[float, ...], resource: LLMDeployment | None) -> ColdStarts:
    """Cold starts to simulate: those ``observed``, given as an option, else those of the status.

    A status has the latest cold start and the 90th percentile. Values between them are equally likely.
    The latest start may include a probe, which is subtracted.
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
        default = tuning.UNKNOWN_START_SECONDS
        return ColdStarts(seconds=(default,), known_seconds=default, unknown=True)
    low, high = min(ends), max(ends)
    if low == high:
        return ColdStarts(seconds=(high,), known_seconds=high)
    spread = tuple(round(low + (high - low) * (at + 0.5) / SPREAD, 1) for at in range(SPREAD))
    return ColdStarts(seconds=spread, known_seconds=float(known or high))


def _drawn(observed: tuple[float, ...]) -> ColdStarts:
    known = cold_start(observed, tuning.UNKNOWN_START_SECONDS)
    return ColdStarts(seconds=tuple(sorted(observed)), known_seconds=known)
