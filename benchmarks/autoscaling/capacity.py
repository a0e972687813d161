"""Capacity of a simulated replica, as a probe measures it."""

from __future__ import annotations

import math

from tacho_operator.core.autoscaling.algorithm.types import ReplicaCapacity
from tacho_simulate.loops import Level, closed_loop
from tacho_simulate.performance_model import UNKNOWN_KV_TOKENS, PerformanceModel
from tacho_simulate.policies.greedy import knee


def capacity_at(
    model: PerformanceModel,
    *,
    input_tokens: int,
    output_tokens: int,
    ttft_seconds: float | None,
    tpot_seconds: float | None,
) -> ReplicaCapacity:
    """The capacity at the highest concurrency whose 95th percentiles meet the SLO, or at the knee without an
    SLO."""

    def met(found: Level) -> bool:
        return (ttft_seconds is None or found.ttft_seconds.p95 <= ttft_seconds) and (
            tpot_seconds is None or found.tpot_seconds.p95 <= tpot_seconds
        )

    def level(concurrency: int) -> Level:
        return closed_loop(
            model, input_tokens=input_tokens, output_tokens=output_tokens, concurrency=concurrency
        )

    if ttft_seconds is None and tpot_seconds is None:
        best = knee(model, input_tokens=input_tokens, output_tokens=output_tokens)
    else:
        best = level(1)
        low, high = 1, model.max_num_seqs + 1
        while high - low > 1 and (high / low > 1.05 or high - low < 8):
            middle = max(low + 1, round(math.sqrt(low * high)))
            if middle >= high:
                middle = high - 1
            found = level(middle)
            if met(found):
                low, best = middle, found
            else:
                high = middle
    return ReplicaCapacity(
        fingerprint="model",
        requests_per_second=best.requests_per_second,
        prefill_tokens_per_second=model.prefill_tokens_per_second,
        output_tokens_per_second=best.output_tokens_per_second,
        concurrency=best.concurrency,
        kv_cache_tokens=model.kv_cache_tokens if model.kv_cache_tokens < UNKNOWN_KV_TOKENS else None,
        input_tokens=input_tokens,
        output_tokens=output_tokens,
    )
