"""The line of resources that wait to start a probe pod.

It is kept in memory: after a restart of the operator it forms anew, and for moments, until every resource was
reconciled once, more probe pods may run than the limit.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Iterable

from tacho_operator.core import names
from tacho_operator.core.measurement.remeasure import TURN_SECONDS
from tacho_operator.core.measurement.turns import next_turns
from tacho_operator.core.pods.view import views
from tacho_operator.core.types import Observed, ReconcileDecision
from tacho_operator.shell.workqueue import Key

ABSENT_SECONDS = 2 * TURN_SECONDS
"""A resource in the line that is not reconciled for so long loses its place: its namespace cannot be read."""
SILENT_SECONDS = 7200.0
"""The same for a resource with a probe pod, whose reconciles are rarer while nothing changes."""


class ProbeTurns:
    """Grants turns to start a probe pod; ``call`` reconciles a resource whose turn has come."""

    def __init__(
        self, limit: int, call: Callable[[Key], None], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._limit = limit
        self._call = call
        self._clock = clock
        self._measuring: dict[Key, float] = {}
        """Resources with a probe pod, or with one that is being created, and when they were last seen."""
        self._waiting: dict[Key, float] = {}
        """Those that wait, in the order of their arrival, and when they were last seen."""
        self._called: set[Key] = set()
        """Those that were called and did not come yet: a second call would end their back-off."""

    def observed(self, key: Key, observed: Observed) -> Observed:
        """``observed``, which knows whether the resource may start a probe pod now."""
        self._note(key, measuring=_measures(observed))
        turn = key in self._measuring or key in self._next({**self._waiting, key: 0.0})
        return dataclasses.replace(observed, probe_turn=turn)

    def follow(self, key: Key, observed: Observed, decision: ReconcileDecision) -> None:
        """What a reconcile has decided. Called in the same step of the event loop as ``observed``, so that no
        two resources take one turn, and again where the decision changed."""
        begins = any(
            item["kind"] == "Pod" and item["metadata"]["labels"][names.ROLE_LABEL] == names.ROLE_PROBE
            for item in decision.apply
        )
        self._note(key, measuring=begins or _measures(observed))
        if decision.awaits_probe_turn:
            self._waiting[key] = self._clock()
        else:
            self._waiting.pop(key, None)
        self._called.discard(key)
        self._call_next()

    def leave(self, key: Key) -> None:
        """Nothing can be decided for the resource: it holds up nobody."""
        self._waiting.pop(key, None)
        self._called.discard(key)
        self._call_next()

    def forget(self, key: Key) -> None:
        """The resource was deleted."""
        self._measuring.pop(key, None)
        self.leave(key)

    def _note(self, key: Key, *, measuring: bool) -> None:
        if measuring:
            self._measuring[key] = self._clock()
        else:
            self._measuring.pop(key, None)

    def _next(self, waiting: Iterable[Key]) -> tuple[tuple[str, str], ...]:
        return next_turns(waiting, self._measuring, self._limit)

    def _call_next(self) -> None:
        now = self._clock()
        for found, seconds in ((self._waiting, ABSENT_SECONDS), (self._measuring, SILENT_SECONDS)):
            for key in [key for key, seen in found.items() if now - seen > seconds]:
                del found[key]
        for key in (Key(*place) for place in self._next(self._waiting)):
            if key not in self._called:
                self._called.add(key)
                self._call(key)


def _measures(observed: Observed) -> bool:
    """Whether a probe pod of the resource may hold a GPU."""
    probes = views(observed.pods, names.ROLE_PROBE)
    return any(pod.phase not in ("Failed", "Succeeded") for pod in probes)
