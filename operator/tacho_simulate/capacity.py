"""Capacity of a simulated replica: in a closed loop, and for random arrivals (for the greedy reference)."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random
from statistics import fmean

from tacho_simulate.loops import Level, answered, closed_loop
from tacho_simulate.performance_model import PerformanceModel
from tacho_simulate.replica import NOT_YET

KNEE = 0.9
"""Share of the maximum throughput from which a level has nearly all of it."""
OPEN_REQUESTS = 1000
BISECTIONS = 7
ALONE = 0.01
"""Utilization at which a replica counts as idle (1 %)."""


def knee(model: PerformanceModel, *, input_tokens: int, output_tokens: int) -> Level:
    """The lowest level of a closed loop with nearly the highest throughput."""
    concurrencies = [1]
    while concurrencies[-1] < model.max_num_seqs:
        concurrencies.append(min(2 * concurrencies[-1], model.max_num_seqs))
    levels = [
        closed_loop(model, input_tokens=input_tokens, output_tokens=output_tokens, concurrency=concurrency)
        for concurrency in concurrencies
    ]
    enough = KNEE * max(found.output_tokens_per_second for found in levels)
    return next(found for found in levels if found.output_tokens_per_second >= enough)


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
    highest = knee(
        model,
        input_tokens=round(fmean(prompt for prompt, _ in lengths)),
        output_tokens=max(1, round(fmean(answer for _, answer in lengths))),
    )
    max_rate = 1.5 * highest.requests_per_second

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
