"""When a child is written again that the API server refused, or that others change after each write."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from tacho_operator.core.pauses import doubling_seconds
from tacho_operator.core.types import ChildRefusal

REFUSED_SECONDS, LONGEST_REFUSED_SECONDS = 30.0, 300.0
"""Pause in seconds after a refusal, and its maximum. It grows only where the object itself is invalid: a
quota may be raised at any time.
"""
WRITES, WRITE_SECONDS = 20, 10.0
"""Writes of one child that need no pause, and seconds after which one more needs none. A rollout writes its
Deployment for each pod; a webhook that undoes each write would make the operator write without end.
"""

Place = tuple[str, ...]
"""Namespace and name of a resource, then of its child kind and name."""


@dataclass(frozen=True, slots=True)
class _Refused:
    version: int | str
    refusal: ChildRefusal
    count: int
    due: float
    """When it is tried again, in seconds of the monotonic clock."""


class Backoff:
    """Refusals by place, and the writes of each child."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._refused: dict[Place, _Refused] = {}
        self._free: dict[Place, float] = {}
        """When the child has all of its WRITES free again, in seconds of the monotonic clock."""

    def note(self, place: Place, version: int | str, refusal: ChildRefusal) -> None:
        """Records that the API server refused ``version`` of what is to be at ``place``."""
        previous = self._refused.get(place)
        count = previous.count + 1 if previous is not None and previous.version == version else 1
        pause = doubling_seconds(REFUSED_SECONDS, LONGEST_REFUSED_SECONDS, count if refusal.invalid else 1)
        self._refused[place] = _Refused(version, refusal, count, self._clock() + pause)

    def present(self, place: Place, version: int | str) -> ChildRefusal | None:
        """The refusal because of which ``version`` is not sent for now; None: it is sent."""
        previous = self._refused.get(place)
        if previous is None or previous.version != version or self._clock() >= previous.due:
            return None
        return previous.refusal

    def left_seconds(self, place: Place) -> float:
        """Seconds until what was refused is sent again; REFUSED_SECONDS where none waits."""
        previous = self._refused.get(place)
        left = previous.due - self._clock() if previous is not None else 0.0
        return left if left > 0 else REFUSED_SECONDS

    def note_write(self, place: Place) -> None:
        """Counts a write of the child, which was not refused."""
        self._refused.pop(place, None)
        self._free[place] = max(self._free.get(place, 0.0), self._clock()) + WRITE_SECONDS

    def rest_seconds(self, place: Place) -> float:
        """Seconds until the next write of the child; 0 while it has free ones."""
        free = self._free.get(place, 0.0) - self._clock()
        return max(0.0, free - (WRITES - 1) * WRITE_SECONDS)

    def forget(self, place: Place) -> None:
        """Removes the records of ``place`` and of all places that begin with it."""
        for records in (self._refused, self._free):
            for known in [known for known in records if known[: len(place)] == place]:
                del records[known]
