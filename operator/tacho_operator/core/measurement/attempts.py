"""Attempts to measure in a probe pod: how the last one ended, and when the next one starts.

That is recorded in an annotation of the live ConfigMap, so that a restart of the operator neither loses nor
repeats an attempt.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime

from tacho_contract import codec
from tacho_contract.units import format_time, parse_time
from tacho_operator.api.conditions import Reason
from tacho_operator.core.pauses import doubling_seconds, pause_left

RETRY_SECONDS = 600.0
"""Delay in seconds before the second attempt; it doubles before each further one. By then a GPU may be free,
or a noisy neighbour gone.
"""
PROVISIONAL_RETRY_SECONDS = 120.0
"""Delay in seconds before the second attempt after a provisional measurement. It is shorter, as a GPU was
free and most neighbours have finished by then.
"""
LONGEST_RETRY_SECONDS = 6 * 3600.0
CRASHES = 2
"""Number of crashes of the measuring pod after which the measurement counts as failed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AttemptNote:
    """The last attempt to measure one revision with one workload. Raises ValueError for an unknown reason."""

    revision: str = ""
    measure_key: str = ""
    reason: str
    """Reason of the last attempt: CannotJudge (the cluster prevented it), ReportUnreachable,
    MeasurementProvisional (something disturbed it) or MeasurementFailed (it is not tried again)."""
    message: str
    time: str
    """When the last attempt ended."""
    request: str = ""
    """The user's request that the attempt answered; "" where tacho started the measurement itself."""
    tries: int = 1
    crashes: int = 0
    """Number of attempts that ended because a container of the pod crashed."""
    uid: str = ""
    """uid of the attempt's pod, which counts once although its deletion or a write of status fails."""

    def __post_init__(self) -> None:
        Reason(self.reason)


def read_note(text: str, revision: str, measure_key: str, request: str = "") -> AttemptNote | None:
    """The note in ``text``; None where it is unreadable or about another revision, workload or request."""
    note = codec.read(AttemptNote, text)
    about = (revision, measure_key, request)
    return note if note and (note.revision, note.measure_key, note.request) == about else None


def write_note(note: AttemptNote, revision: str, measure_key: str) -> str:
    return codec.dumps(replace(note, revision=revision, measure_key=measure_key))


def next_note(
    before: AttemptNote | None,
    reason: Reason,
    message: str,
    now: datetime,
    *,
    uid: str = "",
    request: str = "",
    crashed: bool = False,
) -> AttemptNote:
    """The note after one more attempt, by the pod ``uid``. A first crash may be chance: it is repeated."""
    if before is not None and uid and before.uid == uid:
        return before
    crashes = (before.crashes if before else 0) + crashed
    if crashed and crashes < CRASHES:
        reason, message = Reason.CANNOT_JUDGE, f"{message} It is retried once."
    return AttemptNote(
        reason=reason,
        message=message,
        time=format_time(now),
        request=request,
        tries=(before.tries if before else 0) + 1,
        crashes=crashes,
        uid=uid,
    )


def backoff_seconds(reason: str, tries: int) -> float:
    """Delay before the next attempt, after ``tries`` attempts of which the last one failed for ``reason``."""
    first = PROVISIONAL_RETRY_SECONDS if reason == Reason.MEASUREMENT_PROVISIONAL else RETRY_SECONDS
    return doubling_seconds(first, LONGEST_RETRY_SECONDS, tries)


def wait_seconds(note: AttemptNote, now: datetime) -> float | None:
    """Seconds until the next attempt; 0: it may start now; None: none follows."""
    since = parse_time(note.time)
    if note.reason == Reason.MEASUREMENT_FAILED or since is None:
        return None
    return pause_left(since, backoff_seconds(note.reason, note.tries), now)
