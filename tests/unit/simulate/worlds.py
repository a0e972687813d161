"""Small traces, laws and settings."""

from __future__ import annotations

from random import Random
from typing import Any

from tacho_operator.core.autoscaling.algorithm.types import ReplicaCapacity
from tacho_simulate.performance_model import PerformanceModel
from tacho_simulate.policy import Setting
from tacho_simulate.trace import Trace

MODEL = PerformanceModel(
    steps=((1, 0.010), (64, 0.025)),
    prefill_tokens_per_second=20_000,
    kv_cache_tokens=200_000,
    max_num_seqs=64,
)
CAPACITY = ReplicaCapacity(
    fingerprint="f",
    requests_per_second=4.0,
    prefill_tokens_per_second=20_000,
    output_tokens_per_second=800,
    concurrency=16,
    kv_cache_tokens=200_000,
    input_tokens=500,
    output_tokens=200,
)


def setting_of(**changes: Any) -> Setting:
    values: dict[str, Any] = {
        "min_replicas": 1,
        "max_replicas": 8,
        "capacity": CAPACITY,
        "slo_ttft_seconds": 0.5,
        "slo_tpot_seconds": 0.05,
        "cold_start_seconds": 60.0,
        "model": MODEL,
    }
    return Setting(**(values | changes))


def poisson(rate: float, seconds: float, *, seed: int = 0, prompt: int = 500, answer: int = 200) -> Trace:
    """Requests of lengths around these, at a constant mean rate."""
    rng = Random(seed)
    times: list[float] = []
    now = rng.expovariate(rate)
    while now < seconds:
        times.append(now)
        now += rng.expovariate(rate)
    return Trace(
        name=f"poisson-{rate}",
        time_seconds=tuple(times),
        input_tokens=tuple(rng.randint(1, 2 * prompt - 1) for _ in times),
        output_tokens=tuple(rng.randint(1, 2 * answer - 1) for _ in times),
    )
