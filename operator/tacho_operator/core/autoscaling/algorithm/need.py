"""How many replicas the load needs: the largest of three needs, by work, concurrent requests and KV cache."""

from __future__ import annotations

import math
from collections.abc import Container
from dataclasses import dataclass

from tacho_operator.core.autoscaling.algorithm import demand, tuning
from tacho_operator.core.autoscaling.algorithm.demand import Reading
from tacho_operator.core.autoscaling.algorithm.request_cost import RequestCost
from tacho_operator.core.autoscaling.algorithm.types import Interval, ReplicaCapacity, ScalingInput


@dataclass(frozen=True, slots=True, kw_only=True)
class Sum:
    """The present load, and the calculation of the replicas that it needs. A field is None where it is
    unknown."""

    offered: float | None = None
    growth: float = 0.0
    """What the trend adds until a new replica could be ready."""
    requests: int | None = None
    """At the same time; counted where work is not known."""
    kv_cache: float | None = None
    """Tokens of all requests, in KV caches of one replica."""
    trust: float = 1.0
    concurrency: float | None = None
    cold_start_seconds: float = 0.0
    slow: int = 0
    """Pods that are much slower than the others: they carry next to nothing."""
    imbalance: float = 1.0
    """How unevenly requests reach the pods: 1 as by chance, 0 not at all."""
    chance: float = 0.0
    """By how much the offered load may deviate."""
    speed: float = 1.0
    """The corrected capacity, relative to the measured one."""

    @property
    def loads(self) -> dict[str, float]:
        """Replicas that the present load would fill completely, by term (Work, Concurrency, KVCache); only
        known terms."""
        found: dict[str, float] = {}
        if self.offered is not None:
            found["Work"] = self.offered / self.trust
        if self.requests is not None and self.concurrency and math.isfinite(self.concurrency):
            found["Concurrency"] = self.requests / self.concurrency
        if self.kv_cache is not None:
            found["KVCache"] = self.kv_cache
        return found

    @property
    def target(self) -> float:
        """Target utilization of a replica, 0 to 1, by square-root staffing.

        The number of concurrent requests deviates by its square root, and the headroom covers that. Where
        requests are spread evenly, the requests of all pods count, else those of one pod.
        """
        known = (
            self.concurrency
            if self.concurrency and math.isfinite(self.concurrency)
            else tuning.UNKNOWN_STREAMS
        )
        found = self.loads
        pods = max(1.0, found.get("Work", 0.0), found.get("Concurrency", 0.0))
        streams = known * self.speed * pods / (1 + self.imbalance * (pods - 1))
        return ((math.sqrt(tuning.HEADROOM**2 + 4 * streams) - tuning.HEADROOM) / 2) ** 2 / streams

    @property
    def terms(self) -> dict[str, float]:
        """Replicas that the load needs, by term (Work, Concurrency, KVCache), with headroom and trend; only
        known terms."""
        target = self.target
        found = {name: load / target for name, load in self.loads.items()}
        if "Work" in found:
            found["Work"] += self.growth / (target * self.trust)
        if self.kv_cache is not None:
            found["KVCache"] = self.kv_cache / tuning.TARGET_KV_CACHE
        return found

    @property
    def need(self) -> float:
        return max(self.terms.values(), default=0.0) + self.slow

    def filled(self, chance: float = 0.0) -> float:
        """Replicas that the load, plus a deviation of ``chance`` replicas, would fill; without headroom and
        trend."""
        if self.offered is None:
            return max(self.loads.values(), default=0.0) + self.slow
        return max(0.0, self.offered + chance) / self.speed + self.slow

    @property
    def cause(self) -> str:
        """The term (Work, Concurrency or KVCache) that needs the most replicas."""
        return max(self.terms, key=self.terms.__getitem__)


def sum_of(
    at: ScalingInput,
    reading: Reading,
    cost: RequestCost | None,
    offered: tuple[Interval, ...],
    cold_start_seconds: float,
    trusted: float,
    alone: str = "",
    imbalance: float = 1.0,
) -> Sum:
    """The load and the needed replicas at one sampling time.

    ``trusted``: share of the measured rate that one replica is expected to sustain. ``alone``: uid of the one
    pod that misses the SLO while the others meet it; "": none.
    """
    level, growth, chance = None, 0.0, 0.0
    if cost is not None and offered:
        level = demand.level(offered, cost.request_seconds)
        chance = demand.chance(level, cost)
        growth = min(level, demand.slope(offered) * min(cold_start_seconds, tuning.MAX_HORIZON_SECONDS))
    blind = level is None and reading.running is not None
    return Sum(
        offered=level,
        growth=growth,
        requests=(reading.running or 0) + reading.waiting if blind else None,
        kv_cache=_kv_cache(reading, at.capacity, cost, {*reading.slow, alone}),
        trust=trusted,
        concurrency=cost.concurrency if cost else at.capacity.concurrency,
        imbalance=imbalance,
        cold_start_seconds=cold_start_seconds,
        slow=len(reading.slow),
        chance=chance,
        speed=trusted / at.capacity.trust,
    )


def _kv_cache(
    reading: Reading, capacity: ReplicaCapacity, cost: RequestCost | None, sick: Container[str]
) -> float | None:
    if reading.kv_cache_usage is None or not capacity.kv_cache_tokens:
        return None
    size = cost.request_tokens if cost else capacity.input_tokens + capacity.output_tokens
    # Requests that wait for a sick pod would fit into the others.
    stuck = sum(item.sample.waiting or 0 for uid, item in reading.tracks.items() if uid in sick)
    return reading.kv_cache_usage + (reading.waiting - stuck) * size / capacity.kv_cache_tokens


def whole(amount: float) -> int:
    """A fractional need as whole replicas, rounded up, at least one; rounding errors add none."""
    return max(1, math.ceil(amount - 1e-9))
