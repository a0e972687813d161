"""The pods of one simulated run: readiness, request routing, creation and deletion."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from random import Random

from tacho_operator.api.defaults import GRACE_SECONDS
from tacho_simulate.performance_model import PerformanceModel
from tacho_simulate.policy import Routing, SimulatedPodView
from tacho_simulate.replica import Ledger, Replica, Timed, replica_of


@dataclass(slots=True, eq=False)
class SimulatedPod:
    """One pod and the replica in it."""

    number: int
    created: float
    timed: Timed
    replica: Replica
    ready: bool = False
    ready_seconds: float | None = None
    deleted_seconds: float = math.inf
    """When the pod is deleted and releases its GPU, in simulated seconds; infinity: not yet."""

    @property
    def uid(self) -> str:
        return f"pod-{self.number}"


class Fleet:
    """The pods of a simulated deployment.

    ``assigned_pods``: the pod for each request that a recorded trace names, counted by first readiness; it
    gets the request if it is ready.
    """

    def __init__(
        self,
        model: PerformanceModel,
        stragglers: Sequence[tuple[int, float]],
        ledger: Ledger,
        rng: Random,
        assigned_pods: Sequence[int] = (),
        routing: Routing = "random",
    ) -> None:
        self._ledger, self._rng, self._assigned_pods = ledger, rng, assigned_pods
        self._routing = routing
        self._normal = Timed.of(model)
        self._slow = {number: Timed.of(model, factor) for number, factor in stragglers}
        self._serving: list[SimulatedPod] = []
        self._begun: list[SimulatedPod] = []
        """Pods in the order in which they first became ready."""
        self._held: list[int] = []
        """Indexes of requests that wait because no pod is ready."""
        self._retired_preemptions = 0
        self.pods: list[SimulatedPod] = []
        """Pods that are not being deleted, oldest first."""
        self.ended: list[SimulatedPod] = []
        self.made = 0
        self.arrived = 0
        """Requests that have arrived."""

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
        """Routes the requests that arrive before ``until`` to pods."""
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
                if self._assigned_pods:
                    chosen = self._place(self._assigned_pods[at], chosen)
                elif self._routing == "least-loaded":
                    chosen = self._least_loaded(when, chosen)
                queues[chosen].append((when + entry[chosen], at))
                at += 1
        self.arrived = at

    def _place(self, number: int, other: int) -> int:
        """Index of the pod ``number`` among the ready pods; ``other`` if that pod is not ready."""
        if number >= len(self._begun) or not self._begun[number].ready:
            return other
        return self._serving.index(self._begun[number])

    def _least_loaded(self, now: float, first: int) -> int:
        """Index of the ready pod with the fewest requests; of equals, the next from ``first`` on."""
        size, held = len(self._serving), []
        for pod in self._serving:
            pod.replica.advance(now)
            held.append(pod.replica.held)
        return min(range(size), key=lambda at: (held[at], (at - first) % size))

    def create(self, now: float) -> SimulatedPod:
        timed = self._slow.get(self.made, self._normal)
        pod = SimulatedPod(self.made, now, timed, replica_of(timed, self._ledger, now))
        self.made += 1
        self.pods.append(pod)
        return pod

    def become_ready(self, pod: SimulatedPod, now: float) -> None:
        pod.ready, pod.ready_seconds = True, now
        pod.replica.now = now
        self._serving.append(pod)
        if pod not in self._begun:
            self._begun.append(pod)
        held, self._held = self._held, []
        for request in held:
            pod.replica.incoming.append((now + pod.replica.entry_seconds, request))

    def crash(self, pod: SimulatedPod, now: float) -> None:
        """Crashes a pod: its requests fail. The pod may become ready again."""
        pod.replica.advance(now)
        self._forget(pod)
        pod.replica = replica_of(pod.timed, self._ledger, now)

    def remove(self, fewer: int, victims: Sequence[str], now: float) -> None:
        """Deletes ``fewer`` pods: the pods drain their requests within the grace period."""
        first = {uid: place for place, uid in enumerate(victims)}
        ranked = sorted(
            self.pods,
            key=lambda pod: (first.get(pod.uid, len(first)), pod.ready, -pod.created, -pod.number),
        )
        for pod in ranked[: max(0, fewer)]:
            self.pods.remove(pod)
            self.ended.append(pod)
            pod.deleted_seconds = now
            if pod.ready:
                self._serving.remove(pod)
                pod.ready = False
                self._drain(pod, now)

    def observe(self, now: float, *, blind: bool) -> tuple[SimulatedPodView, ...]:
        """The state of all pods as a policy sees them; ``blind``: without metrics."""
        found = []
        for pod in self.pods:
            if pod.ready:
                pod.replica.advance(now)
            known = pod.ready and not blind
            found.append(
                SimulatedPodView(
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
        """Advances all ready pods to one time."""
        for pod in self._serving:
            pod.replica.advance(until)

    def _drain(self, pod: SimulatedPod, now: float) -> None:
        """Simulates a draining pod to its end at once, as it receives no more requests."""
        replica, limit = pod.replica, now + GRACE_SECONDS
        if replica.hung:
            pod.deleted_seconds = limit if replica.held else now
        else:
            replica.advance(now)
            ended = now

            def note(_: int, when: float) -> None:
                nonlocal ended
                ended = when

            replica.after = note
            replica.advance(limit)
            pod.deleted_seconds = limit if replica.held else max(now, ended)
        self._ledger.failed += replica.held

    def _forget(self, pod: SimulatedPod) -> None:
        self._ledger.failed += pod.replica.held
        self._retired_preemptions += pod.replica.preemptions
        if pod.ready:
            self._serving.remove(pod)
            pod.ready = False
