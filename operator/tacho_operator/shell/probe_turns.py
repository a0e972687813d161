"""The queue of resources that wait to start a probe pod, as only a few may run at the same time.

It is kept in memory and rebuilt after a restart of the operator. Existing probe pods are counted from the
store before any new one may start.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

from tacho_contract.units import parse_time
from tacho_operator.core import names
from tacho_operator.core.measurement.due import Place, next_turns
from tacho_operator.core.measurement.probe_pods import TURN_SECONDS
from tacho_operator.core.pods.view import FINISHED, views
from tacho_operator.core.types import Manifest, Observed, ReconcileDecision
from tacho_operator.shell.store.store import Store
from tacho_operator.shell.workqueue import Key

ABSENT_SECONDS = 2 * TURN_SECONDS
"""Seconds without a reconcile after which a resource loses its place: its namespace may be unreadable."""
LONGEST_TURN_SECONDS = 6 * 3600.0
"""Longest turn in seconds; a resource's startupTimeoutSeconds could be a week."""
SHARED_TURN_SECONDS = 1800.0
"""Seconds after which a turn counts only against its own namespace, so that others do not wait for it."""


class ProbeTurn(NamedTuple):
    """The turn of one probe pod: when it began and when it ends, in Unix time."""

    began: float
    ends: float


class ProbeTurns:
    """Decides which resource may start a probe pod now. ``call`` requests a reconcile of the one in turn."""

    def __init__(
        self, limit: int, store: Store, call: Callable[[Key], None], clock: Callable[[], float] = time.time
    ) -> None:
        """At most ``limit`` turns at a time. ``clock`` is Unix time, like the times of pods."""
        self._store = store
        self._stale_when_counted: tuple[str, ...] | None = None
        """The watches that were interrupted when the probe pods in the store were last counted. (): none, so
        that all are counted; None: they were not counted yet.
        """
        self._limit = limit
        self._call = call
        self._clock = clock
        self._measuring: dict[Key, ProbeTurn] = {}
        """The turns of resources that have a probe pod, or that are creating one."""
        self._began: float | None = None
        """Time of the first reconcile. Probe pods created later without a turn are not the operator's."""
        self._waiting: dict[Key, float] = {}
        """Waiting resources in order of arrival, with the time of their last reconcile."""
        self._called: set[Key] = set()
        """Resources that were called and not reconciled since; a second call would end their back-off."""

    def observed(self, key: Key, observed: Observed) -> Observed:
        """``observed`` with ``probe_turn``: whether the resource may start a probe pod now."""
        self._record_end(key, observed.pods, observed.deployments)
        # One namespace may stay unreadable for ever, and 2,000 resources take 100 ms each time.
        if self._stale_when_counted != () and self._stale_when_counted != (stale := self._store.stale()):
            self._stale_when_counted = stale
            self._count_stored()
        turn = key in self._measuring or key in self._next({**self._waiting, key: 0.0})
        return dataclasses.replace(observed, probe_turn=turn)

    def follow(self, key: Key, observed: Observed, decision: ReconcileDecision) -> None:
        """Updates the line with a decision: the resource waits for a probe pod, has one, or needs none.

        Called in the same step of the event loop as ``observed``, so that no two resources use one turn, and
        again where the decision changed.
        """
        begins = any(
            item["kind"] == "Pod" and item["metadata"]["labels"][names.ROLE_LABEL] == names.ROLE_PROBE
            for item in decision.apply
        )
        self._record_end(key, observed.pods, observed.deployments, begins=begins)
        if decision.awaits_probe_turn:
            self._waiting[key] = self._clock()
        else:
            self._waiting.pop(key, None)
        self._called.discard(key)
        self._call_next()

    def leave(self, key: Key) -> None:
        """Removes a resource from the line because it cannot be reconciled."""
        self._waiting.pop(key, None)
        self._called.discard(key)
        self._call_next()

    def forget(self, key: Key) -> None:
        """Removes a deleted resource from the line."""
        self._measuring.pop(key, None)
        self.leave(key)

    def _count_stored(self) -> None:
        """Counts the probe pods of resources that were not reconciled yet."""
        for key in self._store.resources():
            found = self._store.find("LLMDeployment", *key)
            if found is None or key in self._measuring:
                continue
            if pods := self._store.children("Pod", key, {found[0]}):
                self._record_end(key, pods, self._store.children("Deployment", key, {found[0]}))

    def _record_end(
        self, key: Key, pods: Iterable[Manifest], deployments: Iterable[Manifest], *, begins: bool = False
    ) -> None:
        """Records when a resource's turn ends. Later probe pods do not extend it: users could create them."""
        now = self._clock()
        self._began = now if self._began is None else self._began
        found = [ProbeTurn(now, now + LONGEST_TURN_SECONDS)] if begins else []
        for turn in _turns(pods, deployments):
            if begins or key in self._measuring or turn.began <= self._began:
                found.append(turn)
        former = self._measuring.pop(key, None)
        ends = max((turn.ends for turn in found), default=now)
        if former is not None:
            ends = min(ends, former.ends)
        if ends > now:
            began = min(turn.began for turn in found)
            self._measuring[key] = ProbeTurn(former.began if former else began, ends)

    def _next(self, waiting: Iterable[Key]) -> tuple[tuple[str, str], ...]:
        shared_since = self._clock() - SHARED_TURN_SECONDS
        measuring: dict[Place, bool] = {
            key: turn.began > shared_since for key, turn in self._measuring.items()
        }
        return next_turns(waiting, measuring, self._limit)

    def _call_next(self) -> None:
        now = self._clock()
        for key in [key for key, seen in self._waiting.items() if now - seen > ABSENT_SECONDS]:
            del self._waiting[key]
        for key in [key for key, turn in self._measuring.items() if turn.ends <= now]:
            del self._measuring[key]
        for key in (Key(*place) for place in self._next(self._waiting)):
            if key not in self._called:
                self._called.add(key)
                self._call(key)


def _turns(pods: Iterable[Manifest], deployments: Iterable[Manifest]) -> Iterator[ProbeTurn]:
    """The turn of each probe pod that may hold a GPU. It ends with the pod's deadline, or its grace period if
    it is being deleted.

    A finalizer or a lost node may keep the pod object for ever.
    """
    limits = {
        item["metadata"]["name"]: (item.get("spec") or {}).get("progressDeadlineSeconds")
        for item in deployments
    }
    for pod in views(pods, names.ROLE_PROBE):
        if pod.phase in FINISHED or pod.created is None:
            continue
        created = pod.created.timestamp()
        end = created + min(LONGEST_TURN_SECONDS, limits.get(pod.revision) or LONGEST_TURN_SECONDS)
        deleted = parse_time(pod.raw["metadata"].get("deletionTimestamp"))
        yield ProbeTurn(created, min(end, deleted.timestamp()) if deleted else end)
