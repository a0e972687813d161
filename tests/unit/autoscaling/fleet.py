"""Replicas of a known law under a known demand, looked at by the scaling law as an operator would."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence

from tacho_operator.core.autoscaling.algorithm.step import step
from tacho_operator.core.autoscaling.algorithm.types import (
    Bounds,
    Decision,
    PodLoad,
    Policy,
    ReplicaCapacity,
    Sample,
    ScalingInput,
    State,
)

RATE, OUTPUT_TOKENS, SLOTS = 2.0, 100, 10
CONCURRENCY, TARGET = 20, 0.8
"""Measured, with room for 16 requests and their root, 4."""
CAPACITY = ReplicaCapacity(
    fingerprint="f",
    requests_per_second=RATE,
    output_tokens_per_second=RATE * OUTPUT_TOKENS,
    concurrency=CONCURRENCY,
    input_tokens=0,
    output_tokens=OUTPUT_TOKENS,
)
POLICY = Policy(bounds=Bounds(least=1, most=50))
PERIOD_SECONDS = 10.0
START_SECONDS = 60.0


def dealt(total: int, among: int) -> list[int]:
    """Requests, as evenly as they can be: none is lost or made by rounding."""
    return [(total + number) // among for number in range(among)]


@dataclasses.dataclass
class Replica:
    uid: str
    ready_at: float
    generated: float = 0.0
    running: int = 0
    waiting: int = 0
    silent: bool = False


class Fleet:
    """Requests come, replicas serve them up to their rate, the rest waits; a new one takes its time."""

    def __init__(
        self,
        policy: Policy = POLICY,
        capacity: ReplicaCapacity = CAPACITY,
        replicas: int = 1,
        start_seconds: float = START_SECONDS,
        *,
        tells_running: bool = True,
    ) -> None:
        self.policy, self.capacity, self.start_seconds = policy, capacity, start_seconds
        self.tells_running = tells_running
        self.now, self.wanted, self.queue = 0.0, replicas, 0.0
        self.replicas = [Replica(f"pod-{number}", -1.0) for number in range(replicas)]
        self.state = State(cold_start_seconds=start_seconds)
        self.decisions: list[Decision] = []
        self.sizes: list[int] = []
        self._born = replicas

    @property
    def ready(self) -> list[Replica]:
        return [item for item in self.replicas if item.ready_at <= self.now]

    def serve(self, requests_per_second: float, seconds: float = PERIOD_SECONDS) -> None:
        """Time passes."""
        self.now += seconds
        ready = self.ready
        come = requests_per_second * seconds + self.queue
        done = min(come, RATE * seconds * len(ready))
        self.queue = come - done
        running = dealt(round(done / seconds / RATE * SLOTS), len(ready))
        waiting = dealt(round(self.queue), len(ready))
        for item, runs, waits in zip(ready, running, waiting, strict=True):
            item.generated += done / len(ready) * OUTPUT_TOKENS
            item.running, item.waiting = min(SLOTS, runs), waits

    def loads(self) -> tuple[PodLoad, ...]:
        return tuple(self.load_of(item) for item in self.ready)

    def load_of(self, item: Replica) -> PodLoad:
        sample = Sample(
            time_seconds=self.now,
            running=item.running if self.tells_running else None,
            waiting=item.waiting,
            generated_tokens=item.generated,
        )
        return PodLoad(
            uid=item.uid,
            sample=None if item.silent else sample,
            start_seconds=self.start_seconds if item.ready_at > 0 else None,
        )

    def look(self, pods: Sequence[PodLoad] | None = None) -> Decision:
        """The law looks once, and its decision is carried out."""
        at = ScalingInput(
            replicas=self.wanted,
            pods=self.loads() if pods is None else tuple(pods),
            capacity=self.capacity,
            policy=self.policy,
        )
        done = step(at, self.state, self.now)
        self.state = done.state
        self._resize(done.decision.replicas)
        self.decisions.append(done.decision)
        self.sizes.append(self.wanted)
        return done.decision

    def _resize(self, replicas: int) -> None:
        self.wanted = replicas
        while len(self.replicas) < replicas:
            self.replicas.append(Replica(f"pod-{self._born}", self.now + self.start_seconds))
            self._born += 1
        del self.replicas[replicas:]

    def run(self, demand: Callable[[float], float], seconds: float) -> list[int]:
        """Sizes after each look."""
        begun = len(self.sizes)
        end = self.now + seconds
        while self.now < end:
            self.serve(demand(self.now))
            self.look()
        return self.sizes[begun:]
