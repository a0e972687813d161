"""Pauses between two tries of what failed."""

from __future__ import annotations

from datetime import datetime


def doubling_seconds(first_seconds: float, longest_seconds: float, failures: int) -> float:
    """The pause after ``failures`` failures in a row: it doubles with each, up to ``longest_seconds``."""
    return min(longest_seconds, first_seconds * 2.0 ** min(max(failures - 1, 0), 32))


def pause_left(since: datetime, pause_seconds: float, now: datetime) -> float:
    """Seconds left of a pause of ``pause_seconds`` that began at ``since``; 0 when it is over.

    Clocks may differ, so the result is never longer than the whole pause. A beginning more than one pause in
    the future is an error, and gives 0.
    """
    left = pause_seconds - (now - since).total_seconds()
    return 0.0 if left > 2 * pause_seconds else min(max(0.0, left), pause_seconds)
