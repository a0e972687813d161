"""Counts the resources that wait for each hub, and notes when a hub last worked."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from datetime import datetime
from typing import NamedTuple

from tacho_operator.core.revisions.hub_backoff import SHARED_REASONS, ended_wait, notice_due
from tacho_operator.core.types import HubWaiters


class HubWait(NamedTuple):
    """What a resource waits for: a hub, and the reason of the resource's condition Ready."""

    why: str
    """Reason of the resource's condition Ready; "": Ready is True."""
    hub: str
    """Address of the hub that the resource waits for."""


WORKED_LIMIT = 10_000
"""Most hubs whose last success is remembered."""


class HubWaiterCounts:
    """Counts of the resources that are not ready, by hub, reason and namespace."""

    def __init__(self, clock: Callable[[], datetime]) -> None:
        self._clock = clock
        self._counts: Counter[HubWait] = Counter()
        self._inside: Counter[tuple[str, HubWait]] = Counter()
        self._worked: dict[HubWait, datetime] = {}

    def of(self, namespace: str, hub: str) -> dict[str, HubWaiters]:
        """The number of resources that wait for ``hub``, by reason; those of other namespaces are counted
        separately."""
        found = {}
        for wait in (HubWait(why, hub) for why in SHARED_REASONS):
            inside = self._inside[namespace, wait]
            elsewhere = self._counts[wait] - inside
            found[wait.why] = HubWaiters(inside, self._worked.get(wait), elsewhere)
        return found

    def add(self, namespace: str, wait: HubWait) -> None:
        """Adds one waiting resource of ``namespace``. Only reasons that many resources can share are
        counted."""
        self._count(namespace, wait, 1)

    def drop(self, namespace: str, wait: HubWait) -> None:
        """Subtracts one waiting resource of ``namespace``."""
        self._count(namespace, wait, -1)

    def _count(self, namespace: str, wait: HubWait, change: int) -> None:
        if wait.why not in SHARED_REASONS:
            return
        self._counts[wait] += change
        self._inside[namespace, wait] += change
        if not self._inside[namespace, wait]:
            del self._inside[namespace, wait]
        if not self._counts[wait]:
            del self._counts[wait]

    def ended(self, was: HubWait, now_why: str) -> HubWait | None:
        """``was``, if that wait ended because the hub works again, so that the others retry now; else None.

        ``now_why``: the resource's present reason. A hub that was reported a moment ago is not reported
        again.
        """
        now = self._clock()
        if not ended_wait(was.why, now_why) or not notice_due(self._worked.get(was), now):
            return None
        self._worked.pop(was, None)
        self._worked[was] = now
        if len(self._worked) > WORKED_LIMIT:
            del self._worked[next(iter(self._worked))]
        return was
