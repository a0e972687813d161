"""What the attempts to measure came to so far: kept as a note on the live ConfigMap, so that a restart of the
operator neither forgets it nor tries for ever."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime

from tacho_contract.times import format_time, parse_time
from tacho_operator.api.conditions import Reason

RETRY_SECONDS = 600.0
"""Before the second attempt. What was in the way (no room, a neighbour) may be gone by then; doubled with
each further one."""
PROVISIONAL_RETRY_SECONDS = 120.0
"""The same after figures that something disturbed: there was room, and most neighbours are done by then."""
LONGEST_RETRY_SECONDS = 6 * 3600.0
CRASHES = 2
"""What fails twice fails a third time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Note:
    """About one revision with one workload."""

    reason: Reason
    """Of the last attempt: CannotJudge (the cluster did not let it), ReportUnreachable,
    MeasurementProvisional (something disturbed it) or MeasurementFailed (it is not tried again)."""
    message: str
    time: str
    """When the last attempt ended."""
    request: str = ""
    """The request that the attempt was for; "": tacho's own."""
    tries: int = 1
    crashes: int = 0
    """Of these, those that what runs in the pod ended itself."""


def read_note(text: str, revision: str, measure_key: str, request: str = "") -> Note | None:
    """The note in ``text``, where it is about these and can be read."""
    try:
        data = json.loads(text) if text else {}
        about = (data["revision"], data["measureKey"], data.get("request", ""))
        if about != (revision, measure_key, request):
            return None
        return Note(
            reason=Reason(data["reason"]),
            message=str(data["message"]),
            time=str(data["time"]),
            request=request,
            tries=max(1, int(data.get("tries", 1))),
            crashes=max(0, int(data.get("crashes", 0))),
        )
    except (KeyError, TypeError, ValueError, OverflowError, RecursionError):
        return None


def write_note(note: Note, revision: str, measure_key: str) -> str:
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
    before: Note | None,
    reason: Reason,
    message: str,
    now: datetime,
    *,
    request: str = "",
    crashed: bool = False,
) -> Note:
    """After one more attempt. A crash is worth a second try, which shows whether it was chance."""
    crashes = (before.crashes if before else 0) + crashed
    if crashed and crashes < CRASHES:
        reason, message = Reason.CANNOT_JUDGE, f"{message} It is tried once more."
    return Note(
        reason=reason,
        message=message,
        time=format_time(now),
        request=request,
        tries=(before.tries if before else 0) + 1,
        crashes=crashes,
    )


def backoff_seconds(reason: Reason, tries: int) -> float:
    """How long to wait after so many attempts, the last of which ended for ``reason``."""
    doublings = min(max(0, tries - 1), 32)
    first = PROVISIONAL_RETRY_SECONDS if reason == Reason.MEASUREMENT_PROVISIONAL else RETRY_SECONDS
    return min(LONGEST_RETRY_SECONDS, first * 2.0**doublings)


def wait_seconds(note: Note, now: datetime) -> float | None:
    """Until it may be tried again; 0 at once, None never."""
    since = parse_time(note.time)
    if note.reason == Reason.MEASUREMENT_FAILED or since is None:
        return None
    # A clock that was set back is no reason to wait for longer than a whole pause.
    limit = backoff_seconds(note.reason, note.tries)
    return min(limit, max(0.0, limit - (now - since).total_seconds()))
