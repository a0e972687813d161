"""Failed measurement attempts: the note about the last one, and when the next one starts.

The note is an annotation of the live ConfigMap: it survives a restart of the operator.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime

from tacho_contract.units import format_time, parse_time
from tacho_operator.api.conditions import Reason

RETRY_SECONDS = 600.0
"""Delay before the second attempt; doubled before each further one. The cause (no free GPU, a noisy
neighbour) may be gone by then."""
PROVISIONAL_RETRY_SECONDS = 120.0
"""Delay before the second attempt after a provisional measurement: there was a free GPU, and most neighbours
are done by then."""
LONGEST_RETRY_SECONDS = 6 * 3600.0
CRASHES = 2
"""Crashes of the measuring pod after which the measurement counts as failed."""
DISRUPT = "disrupt"
"""The first word of a measurement request that a serving pod answers; every other one starts a probe pod."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AttemptNote:
    """The last attempt to measure one revision with one workload."""

    reason: Reason
    """Reason of the last attempt: CannotJudge (the cluster prevented it), ReportUnreachable,
    MeasurementProvisional (something disturbed it) or MeasurementFailed (it is not tried again)."""
    message: str
    time: str
    """When the last attempt ended."""
    request: str = ""
    """The user's request that the attempt was for; "" where tacho measured of its own accord."""
    tries: int = 1
    crashes: int = 0
    """How many of the tries ended because a container of the pod crashed."""


def read_note(text: str, revision: str, measure_key: str, request: str = "") -> AttemptNote | None:
    """The note in ``text``; None where it is unreadable or about another revision, workload or request."""
    try:
        data = json.loads(text) if text else {}
        about = (data["revision"], data["measureKey"], data.get("request", ""))
        if about != (revision, measure_key, request):
            return None
        return AttemptNote(
            reason=Reason(data["reason"]),
            message=str(data["message"]),
            time=str(data["time"]),
            request=request,
            tries=max(1, int(data.get("tries", 1))),
            crashes=max(0, int(data.get("crashes", 0))),
        )
    except (KeyError, TypeError, ValueError, OverflowError, RecursionError):
        return None


def write_note(note: AttemptNote, revision: str, measure_key: str) -> str:
    return json.dumps(
        {
            "revision": revision,
            "measureKey": measure_key,
            "reason": str(note.reason),
            "message": note.message,
            "time": note.time,
            "request": note.request,
            "tries": note.tries,
            "crashes": note.crashes,
        },
        sort_keys=True,
    )


def next_note(
    before: AttemptNote | None,
    reason: Reason,
    message: str,
    now: datetime,
    *,
    request: str = "",
    crashed: bool = False,
) -> AttemptNote:
    """The note after one more attempt. A crash is tried a second time, to show whether it was chance."""
    crashes = (before.crashes if before else 0) + crashed
    if crashed and crashes < CRASHES:
        reason, message = Reason.CANNOT_JUDGE, f"{message} It is tried once more."
    return AttemptNote(
        reason=reason,
        message=message,
        time=format_time(now),
        request=request,
        tries=(before.tries if before else 0) + 1,
        crashes=crashes,
    )


def backoff_seconds(reason: Reason, tries: int) -> float:
    """Delay before the next attempt, after ``tries`` attempts, the last of which ended for ``reason``."""
    doublings = min(max(0, tries - 1), 32)
    first = PROVISIONAL_RETRY_SECONDS if reason == Reason.MEASUREMENT_PROVISIONAL else RETRY_SECONDS
    return min(LONGEST_RETRY_SECONDS, first * 2.0**doublings)


def wait_seconds(note: AttemptNote, now: datetime) -> float | None:
    """Seconds until the next attempt; 0 at once, None never."""
    since = parse_time(note.time)
    if note.reason == Reason.MEASUREMENT_FAILED or since is None:
        return None
    # A clock that was set back is no reason to wait for longer than a whole pause.
    limit = backoff_seconds(note.reason, note.tries)
    return min(limit, max(0.0, limit - (now - since).total_seconds()))
