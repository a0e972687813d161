"""Capacity of a simulated replica: as a probe measures it, and for random arrivals (for the greedy
reference)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from random import Random
from statistics import fmean

from tacho_operator.core.autoscaling.algorithm.types import ReplicaCapacity
from tacho_simulate.closed_loop import Level, closed_loop
from tacho_simulate.open_loop import answered
from tacho_simulate.performance_model import UNKNOWN_KV_TOKENS, PerformanceModel
from tacho_simulate.replica.base import NOT_YET

KNEE = 0.9
"""Without an SLO: the capacity is the smallest concurrency with this share of the maximum throughput."""
OPEN_REQUESTS = 1000
BISECTIONS = 7
ALONE = 0.01
"""Utilization at which a replica counts as idle (1 %)."""


def capacity_at(
    model: PerformanceModel,
    *,
    input_tokens: int,
    output_tokens: int,
    ttft_seconds: float | None,
    tpot_seconds: float | None,
    fingerprint: str = "model",
) -> ReplicaCapacity:
    """The capacity at the highest concurrency whose 95th percentiles meet the SLO."""

    def level(concurrency: int) -> Level:
        return closed_loop(
            model, input_tokens=input_tokens, output_tokens=output_tokens, concurrency=concurrency
        )

    def met(found: Level) -> bool:
        return (ttft_seconds is None or found.ttft_seconds.p95 <= ttft_seconds) and (
            tpot_seconds is None or found.tpot_seconds.p95 <= tpot_seconds
        )

    if ttft_seconds is None and tpot_seconds is None:
        levels = [level(concurrency) for concurrency in _doubling(model.max_num_seqs)]
        enough = KNEE * max(found.output_tokens_per_second for found in levels)
        best = next(found for found in levels if found.output_tokens_per_second >= enough)
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
        fingerprint=fingerprint,
        requests_per_second=best.requests_per_second,
        prefill_tokens_per_second=model.prefill_tokens_per_second,
        output_tokens_per_second=best.output_tokens_per_second,
        concurrency=best.concurrency,
        kv_cache_tokens=model.kv_cache_tokens if model.kv_cache_tokens < UNKNOWN_KV_TOKENS else None,
        input_tokens=input_tokens,
        output_tokens=output_tokens,
    )


def _doubling(most: int) -> list[int]:
    found = [1]
    while found[-1] * 2 < most:
        found.append(found[-1] * 2)
    return [*found, most] if most > 1 else found


def open_rate(
    model: PerformanceModel,
    lengths: Sequence[tuple[int, int]],
    *,
    ttft_seconds: float | None,
    tpot_seconds: float | None,
    share: float,
) -> float:
    """Requests per second at which one replica still meets the SLO nearly as well as when idle.

    Poisson arrivals with lengths drawn from ``lengths``; the SLO attainment is ``share`` of that of an idle
    replica.
    """
    known = capacity_at(
        model,
        input_tokens=round(fmean(prompt for prompt, _ in lengths)),
        output_tokens=max(1, round(fmean(answer for _, answer in lengths))),
        ttft_seconds=None,
        tpot_seconds=None,
    )
    max_rate = 1.5 * (known.requests_per_second or 0.0)

    def met(rate: float) -> float:
        return _met_share(model, rate, lengths, ttft_seconds, tpot_seconds)

    low, high = ALONE * max_rate, max_rate
    target = share * met(low)
    for _ in range(BISECTIONS):
        middle = (low + high) / 2
        if met(middle) >= target:
            low = middle
        else:
            high = middle
    return low


def _met_share(
    model: PerformanceModel,
    rate: float,
    lengths: Sequence[tuple[int, int]],
    ttft_seconds: float | None,
    tpot_seconds: float | None,
) -> float:
    rng = Random(0)  # noqa: S311  # a game, not a secret
    arrived: list[float] = []
    now = 0.0
    for _ in range(OPEN_REQUESTS):
        now += rng.expovariate(rate)
        arrived.append(now)
    rows = [rng.choice(lengths) for _ in arrived]
    ledger = answered(model, arrived, [prompt for prompt, _ in rows], [answer for _, answer in rows])
    met = 0
    for request, last in enumerate(ledger.last):
        if last == NOT_YET:
            continue
        first = ledger.first[request]
        gap = (last - first) / max(1, rows[request][1] - 1)
        late = ttft_seconds is not None and first - arrived[request] > ttft_seconds
        slow = tpot_seconds is not None and gap > tpot_seconds
        met += not late and not slow
    return met / len(arrived)
