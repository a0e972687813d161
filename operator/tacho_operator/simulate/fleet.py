"""The replicas of one run: who is ready, where requests go, how replicas come and go."""

from __future__ import annotations

import math
from collections.abc import Sequence
from random import Random

from tacho_operator.api.defaults import GRACE_SECONDS
from tacho_operator.simulate.engine_law import EngineLaw
from tacho_operator.simulate.policy import PodView
from tacho_operator.simulate.replica import Ledger, Replica, Timed, replica_of


class Pod:
    """One pod and the replica in it."""

    __slots__ = ("created", "gone", "hung", "number", "ready", "ready_seconds", "replica", "timed", "uid")

    def __init__(self, number: int, created: float, timed: Timed, replica: Replica) -> None:
        self.number, self.uid = number, f"pod-{number}"
        self.created, self.timed, self.replica = created, timed, replica
        self.ready = self.hung = False
        self.ready_seconds: float | None = None
        self.gone = math.inf
        """When its GPU is free."""


class Fleet:
    """Pods share requests as those of a Kubernetes Service do: each goes to any ready one, by chance.

    ``dealt``: of each request the pod that it goes to, if that serves: 0 is the first that became ready.
    """

    def __init__(
        self,
        law: EngineLaw,
        stragglers: Sequence[tuple[int, float]],
        ledger: Ledger,
        rng: Random,
        dealt: Sequence[int] = (),
    ) -> None:
        self._law, self._ledger, self._rng, self._dealt = law, ledger, rng, dealt
        self._normal = Timed.of(law)
        self._slow = {number: Timed.of(law, factor) for number, factor in stragglers}
        self._serving: list[Pod] = []
        self._begun: list[Pod] = []
        """All that ever became ready, in that order."""
        self._held: list[int] = []
        """Requests that no pod was ready for."""
        self._retired_preemptions = 0
        self.pods: list[Pod] = []
        """That were not told to go, the oldest first."""
        self.ended: list[Pod] = []
        self.made = 0
        self.arrived = 0
        """Requests that have come."""

    @property
    def ready(self) -> int:
        return len(self._serving)

    @property
    def held(self) -> int:
        return len(self._held)

    @property
    def preemptions(self) -> int:
        return self._retired_preemptions + sum(pod.replica.preemptions for pod in (*self.pods, *self.ended))

    def arrive(self, until: float) -> None:
        """All requests that come before ``until`` go their ways."""
        arrived, at, count = self._ledger.arrived, self.arrived, len(self._ledger.arrived)
        serving, draw = [pod.replica for pod in self._serving], self._rng.random
        size = len(serving)
        begins = at
        if not size:
            while at < count and arrived[at] < until:
                at += 1
            self._held.extend(range(begins, at))
        else:
            queues, entry = [item.incoming for item in serving], [item.entry_seconds for item in serving]
            while at < count and (when := arrived[at]) < until:
                chosen = int(draw() * size)
                if self._dealt:
                    chosen = self._place(self._dealt[at], chosen)
                queues[chosen].append((when + entry[chosen], at))
                at += 1
        self.arrived = at

    def _place(self, number: int, other: int) -> int:
        """Of that pod among those that serve; ``other``: it does not."""
        if number >= len(self._begun) or not self._begun[number].ready:
            return other
        return self._serving.index(self._begun[number])

    def create(self, now: float) -> Pod:
        timed = self._slow.get(self.made, self._normal)
        pod = Pod(self.made, now, timed, replica_of(self._law, timed, self._ledger, now))
        self.made += 1
        self.pods.append(pod)
        return pod

    def become_ready(self, pod: Pod, now: float) -> None:
        pod.ready, pod.ready_seconds = True, now
        pod.replica.now = now
        self._serving.append(pod)
        if pod not in self._begun:
            self._begun.append(pod)
        held, self._held = self._held, []
        for request in held:
            pod.replica.incoming.append((now + pod.replica.entry_seconds, request))

    def crash(self, pod: Pod, now: float) -> None:
        """What it has is lost; it may become ready again."""
        if not pod.hung:
            pod.replica.advance(now)
        self._forget(pod)
        pod.hung = False
        pod.replica = replica_of(self._law, pod.timed, self._ledger, now)

    def hang(self, pod: Pod, now: float) -> None:
        pod.replica.advance(now)
        pod.hung = True

    def go_on(self, pod: Pod, now: float) -> None:
        """From where it stood."""
        pod.replica.now = now
        pod.hung = False

    def remove(self, fewer: int, victims: Sequence[str], now: float) -> None:
        """So many pods go: they get no more requests and end what they have, as long as they may."""
        first = {uid: place for place, uid in enumerate(victims)}
        ranked = sorted(
            self.pods,
            key=lambda pod: (first.get(pod.uid, len(first)), pod.ready, -pod.created, -pod.number),
        )
        for pod in ranked[: max(0, fewer)]:
            self.pods.remove(pod)
            self.ended.append(pod)
            pod.gone = now
            if pod.ready:
                self._serving.remove(pod)
                pod.ready = False
                self._drain(pod, now)

    def look(self, now: float, *, blind: bool) -> tuple[PodView, ...]:
        """``blind``: no pod can be asked."""
        found = []
        for pod in self.pods:
            if pod.ready and not pod.hung:
                pod.replica.advance(now)
            known = pod.ready and not blind
            found.append(
                PodView(
                    uid=pod.uid,
                    ready=pod.ready,
                    created_seconds=pod.created,
                    ready_seconds=pod.ready_seconds,
                    begun=self._begun.index(pod) if pod in self._begun else len(self._begun),
                    metrics=pod.replica.metrics(now) if known else None,
                )
            )
        return tuple(found)

    def settle(self, until: float) -> None:
        """All that serve, brought to one time."""
        for pod in self._serving:
            if not pod.hung:
                pod.replica.advance(until)

    def _drain(self, pod: Pod, now: float) -> None:
        """Nothing is sent to it any more, so what it does is known at once."""
        replica, limit = pod.replica, now + GRACE_SECONDS
        if pod.hung:
            pod.gone = limit if replica.held else now
        else:
            replica.advance(now)
            ended = now

            def note(_: int, when: float) -> None:
                nonlocal ended
                ended = when

            replica.after = note
            replica.advance(limit)
            pod.gone = limit if replica.held else max(now, ended)
        self._ledger.lost += replica.held

    def _forget(self, pod: Pod) -> None:
        self._ledger.lost += pod.replica.held
        self._retired_preemptions += pod.replica.preemptions
        if pod.ready:
            self._serving.remove(pod)
            pod.ready = False
