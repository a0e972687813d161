"""What a replica carries at a service level, by its law: as a probe would find it, and as an oracle knows."""

from __future__ import annotations

import math
from collections.abc import Sequence
from random import Random
from statistics import fmean

from tacho_operator.core.scaling.law.types import Capacity
from tacho_operator.simulate.closed_loop import Level, closed_loop
from tacho_operator.simulate.engine_law import UNKNOWN_KV_TOKENS, EngineLaw
from tacho_operator.simulate.replica import Ledger, Timed, replica_of
from tacho_operator.simulate.replica.ledger import NEVER

KNEE = 0.9
"""Without a service level: the fewest streams with so much of the highest throughput."""
OPEN_REQUESTS = 1000
BISECTIONS = 7
ALONE = 0.01
"""So full a replica has nothing else to do."""


def capacity_at(
    law: EngineLaw,
    *,
    input_tokens: int,
    output_tokens: int,
    ttft_seconds: float | None,
    tpot_seconds: float | None,
    fingerprint: str = "law",
) -> Capacity:
    """At the most streams whose 95th percentiles keep the service level."""

    def level(concurrency: int) -> Level:
        return closed_loop(
            law, input_tokens=input_tokens, output_tokens=output_tokens, concurrency=concurrency
        )

    def kept(found: Level) -> bool:
        return (ttft_seconds is None or found.ttft_seconds.p95 <= ttft_seconds) and (
            tpot_seconds is None or found.tpot_seconds.p95 <= tpot_seconds
        )

    if ttft_seconds is None and tpot_seconds is None:
        levels = [level(concurrency) for concurrency in _doubling(law.max_num_seqs)]
        enough = KNEE * max(found.output_tokens_per_second for found in levels)
        best = next(found for found in levels if found.output_tokens_per_second >= enough)
    else:
        best = level(1)
        low, high = 1, law.max_num_seqs + 1
        while high - low > 1 and (high / low > 1.05 or high - low < 8):
            middle = max(low + 1, round(math.sqrt(low * high)))
            if middle >= high:
                middle = high - 1
            found = level(middle)
            if kept(found):
                low, best = middle, found
            else:
                high = middle
    return Capacity(
        fingerprint=fingerprint,
        requests_per_second=best.requests_per_second,
        prefill_tokens_per_second=law.prefill_tokens_per_second,
        output_tokens_per_second=best.output_tokens_per_second,
        concurrency=best.concurrency,
        kv_cache_tokens=law.kv_cache_tokens if law.kv_cache_tokens < UNKNOWN_KV_TOKENS else None,
        input_tokens=input_tokens,
        output_tokens=output_tokens,
    )


def _doubling(most: int) -> list[int]:
    found = [1]
    while found[-1] * 2 < most:
        found.append(found[-1] * 2)
    return [*found, most] if most > 1 else found


def open_rate(
    law: EngineLaw,
    lengths: Sequence[tuple[int, int]],
    *,
    ttft_seconds: float | None,
    tpot_seconds: float | None,
    share: float,
) -> float:
    """Requests a second that come by chance, with prompts and answers drawn from ``lengths``, of which one
    replica serves within the service level ``share`` of those that it serves so with nothing else to do."""
    known = capacity_at(
        law,
        input_tokens=round(fmean(prompt for prompt, _ in lengths)),
        output_tokens=max(1, round(fmean(answer for _, answer in lengths))),
        ttft_seconds=None,
        tpot_seconds=None,
    )
    most = 1.5 * (known.requests_per_second or 0.0)

    def kept(rate: float) -> float:
        return _kept_share(law, rate, lengths, ttft_seconds, tpot_seconds)

    low, high = ALONE * most, most
    wanted = share * kept(low)
    for _ in range(BISECTIONS):
        middle = (low + high) / 2
        if kept(middle) >= wanted:
            low = middle
        else:
            high = middle
    return low


def _kept_share(
    law: EngineLaw,
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
    ledger = Ledger(arrived, [prompt for prompt, _ in rows], [answer for _, answer in rows])
    replica = replica_of(law, Timed.of(law), ledger, 0.0)
    replica.incoming.extend((when + replica.entry_seconds, request) for request, when in enumerate(arrived))
    replica.advance(now + 3600)
    kept = 0
    for request, last in enumerate(ledger.last):
        if last == NEVER:
            continue
        first = ledger.first[request]
        gap = (last - first) / max(1, rows[request][1] - 1)
        late = ttft_seconds is not None and first - arrived[request] > ttft_seconds
        slow = tpot_seconds is not None and gap > tpot_seconds
        kept += not late and not slow
    return kept / len(arrived)
