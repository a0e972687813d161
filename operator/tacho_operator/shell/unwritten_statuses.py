"""Which failed writes of a status an event tells of: the status itself cannot."""

from __future__ import annotations

from tacho_operator.api.conditions import Reason
from tacho_operator.core.problems import Problem, refusal_problem
from tacho_operator.shell.api_errors import ApiError, Fenced, Forbidden, Invalid
from tacho_operator.shell.workqueue import Key

MIN_FAILED_WRITES = 4
"""Number of writes in a row that failed with an error that may pass, after which an event tells of it. Later
ones tell at each doubling.
"""


class UnwrittenStatuses:
    """Decides which failed writes of a status an event tells: status itself cannot."""

    def __init__(self) -> None:
        self._failures: dict[Key, int] = {}
        """Number of writes in a row with an error that may pass."""

    def problem(self, key: Key, error: ApiError) -> Problem | None:
        """What an event has to tell of the error; None: nothing, as the next write may succeed."""
        if isinstance(error, Forbidden | Invalid):
            return refusal_problem(f"status: {error.message}", invalid=isinstance(error, Invalid))
        tries = self._failures[key] = self._failures.get(key, 0) + 1
        if isinstance(error, Fenced) or tries < MIN_FAILED_WRITES or tries & (tries - 1):
            return None
        what = "The status is not written, and what it says is old."
        return Problem(reason=Reason.RETRYING, what=what, next_step="It is retried.", quotation=error.message)

    def forget(self, key: Key) -> None:
        """Drops the failures of a resource whose status is written, or that is deleted."""
        self._failures.pop(key, None)
