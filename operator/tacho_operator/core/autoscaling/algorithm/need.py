"""How many replicas the load needs: the largest of three needs, by work, concurrent requests and KV cache."""

from __future__ import annotations

import math
from dataclasses import dataclass

from tacho_operator.core.autoscaling.algorithm import demand, tuning
from tacho_operator.core.autoscaling.algorithm.demand import Reading
from tacho_operator.core.autoscaling.algorithm.request_cost import RequestCost
from tacho_operator.core.autoscaling.algorithm.types import Policy, ScalingInput, State


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplicaNeed:
    """The present load, and the number of replicas that it needs. A field is None where it is unknown."""

    offered: float | None = None
    growth: float = 0.0
    """Replicas that the trend adds to the load until a new replica could be ready."""
    chance: float = 0.0
    """Replicas by which the offered load may deviate by chance."""
    requests: int | None = None
    """Number of concurrent requests; used where the offered load is unknown."""
    kv_cache: float | None = None
    """Tokens of all requests, as a multiple of one replica's KV cache."""
    trust: float = 1.0
    """Share of the measured rate that is relied on."""
    speed: float = 1.0
    """Present speed of a replica, as a multiple of the measured speed."""
    concurrency: float | None = None
    queue: float = math.inf
    """Utilization up to which prompts that wait for each other meet the TTFT of the SLO at its percentile."""
    slow: int = 0
    """Number of pods that are much slower than the others and serve almost nothing."""
    cold_start_seconds: float = 0.0

    @property
    def loads(self) -> dict[str, float]:
        """Replicas that the present load would fill completely, by term (Work, Concurrency, KVCache); only
        known terms."""
        work = None if self.offered is None else self.offered / self.trust
        held = self.requests / self.concurrency if self.requests is not None and self.concurrency else None
        found = {"Work": work, "Concurrency": held, "KVCache": self.kv_cache}
        return {name: load for name, load in found.items() if load is not None}

    @property
    def target(self) -> float:
        """Target utilization of a replica, 0 to 1, by square-root staffing.

        The number of concurrent requests deviates by its square root, and the headroom covers that. So R of
        S streams are counted on, where R + HEADROOM x sqrt(R) = S. This quadratic equation in sqrt(R) gives
        sqrt(R) = (sqrt(HEADROOM^2 + 4 S) - HEADROOM) / 2, and R / S is the target.

        Prompts that wait for each other may lower the target, by MIN_CORRECTION at most.
        """
        streams = (self.concurrency or tuning.UNKNOWN_STREAMS) * self.speed
        found = ((math.sqrt(tuning.HEADROOM**2 + 4 * streams) - tuning.HEADROOM) / 2) ** 2 / streams
        return max(tuning.MIN_CORRECTION * found, min(found, self.queue))

    @property
    def terms(self) -> dict[str, float]:
        """Replicas that the load needs, by term (Work, Concurrency, KVCache), with headroom and trend; only
        known terms."""
        found = {name: load / self.target for name, load in self.loads.items()}
        if "Work" in found:
            found["Work"] += self.growth / (self.target * self.trust)
        if self.kv_cache is not None:
            found["KVCache"] = self.kv_cache / tuning.TARGET_KV_CACHE
        return found

    @property
    def need(self) -> float:
        return max(self.terms.values(), default=0.0) + self.slow

    @property
    def cause(self) -> str:
        """The term (Work, Concurrency or KVCache) that needs the most replicas."""
        return max(self.terms, key=self.terms.__getitem__)

    def filled(self, chance: float = 0.0) -> float:
        """Replicas that the load, plus a deviation of ``chance`` replicas, would fill; without headroom and
        trend."""
        if self.offered is None:
            return max(self.loads.values(), default=0.0) + self.slow
        return max(0.0, self.offered + chance) / self.speed + self.slow


def _queue(policy: Policy, cost: RequestCost | None) -> float:
    """Utilization up to which prompts meet the TTFT of the SLO at its percentile.

    A replica processes prompts one after the other. The probability that more prompts wait than fit into the
    TTFT is the utilization by prompts, to the power of their number (M/M/1).
    """
    if cost is None or not policy.ttft_seconds or not 0 < cost.prompt_seconds < policy.ttft_seconds:
        return math.inf
    others = policy.ttft_seconds / cost.prompt_seconds - 1
    limit = math.pow(1 - policy.percentile, 1 / others)
    return limit * cost.request_seconds / cost.prompt_seconds


def replica_need(at: ScalingInput, state: State, reading: Reading, cost: RequestCost | None) -> ReplicaNeed:
    """The load and the needed replicas at one sampling time."""
    capacity, level, growth, chance = at.capacity, None, 0.0, 0.0
    speed = state.correction.factor * (state.speed if capacity.gap_r2 >= tuning.MIN_R2 else 1.0)
    if cost is not None and state.offered:
        level = demand.level(state.offered, cost.request_seconds)
        chance = demand.chance(level, cost)
        growth = min(level, demand.slope(state.offered) * state.cold_start_seconds)
    known, held, usage = cost.concurrency if cost else capacity.concurrency, reading.running, None
    if reading.kv_cache_usage is not None and capacity.kv_cache_tokens:
        size = cost.request_tokens if cost else capacity.input_tokens + capacity.output_tokens
        # Requests that wait for a slow pod would fit into the others.
        stuck = sum(reading.tracks[uid].sample.waiting or 0 for uid in reading.slow)
        usage = reading.kv_cache_usage + (reading.waiting - stuck) * size / capacity.kv_cache_tokens
    return ReplicaNeed(
        offered=level,
        growth=growth,
        chance=chance,
        requests=held + reading.waiting if level is None and held is not None else None,
        kv_cache=usage,
        trust=capacity.trust * speed,
        speed=speed,
        concurrency=known if known and math.isfinite(known) else None,
        queue=_queue(at.policy, cost),
        slow=len(reading.slow),
        cold_start_seconds=state.cold_start_seconds,
    )
