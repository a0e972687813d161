"""What a probe should find of a law: the figures that follow from it, by mean values and few draws.

Where no formula is known (a cache that preempts, prompts or a front end that hold everybody up), the
scheduler itself is run on a virtual clock. Pure: equal arguments give equal answers.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from dataclasses import dataclass
from random import Random
from typing import Any

from tacho_contract.launch import ServiceLevel
from tacho_contract.measurement import Workload
from tools.mock.engine_law import Law
from tools.mock.engine_simulated import Level, quantile, simulated

SPREAD = 0.25
"""Output lengths of the closed loop are drawn evenly from so much around the workload's."""
MOST_STREAMS = 256
KNEE_SHARE = 0.9
LEFT_OVER = 0.7
"""Of one request: what a cache that reserves leaves empty on average."""
_DRAWS = 2000
_PASSING = ("foreign_streams", "cached_share", "cold_ms")
"""Settings that a probe should see through: the figures are those of the law without them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Capacity:
    concurrency: int
    output_tokens_per_second: float
    requests_per_second: float
    boundary: str
    """Edge | Floor | NeverMet | Plateau, as in the contract."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Truth:
    decode_tokens_per_second: float
    """Decode rate of one stream after its first token, without stalls, in tokens per second."""
    ttft_overhead_milliseconds: float
    prefill_tokens_per_second: float
    capacity: Capacity
    required: tuple[frozenset[str], ...]
    """Of each set one word has to be raised; ``Stalls`` is a single stream that tells some."""
    allowed: frozenset[str]
    """Further flags that may be raised and are not wrong."""


def truth(
    law: Law, workload: Workload, slo: ServiceLevel | None = None, *, most: int = MOST_STREAMS
) -> Truth:
    """``most``: what the probe may try. ``slo`` None, or without limits: the capacity is the knee's."""
    slo = slo or ServiceLevel()
    nothing: dict[str, Any] = dict.fromkeys(_PASSING, 0)
    quiet = dataclasses.replace(law, **nothing)
    if slo.has_target:
        capacity = _under(quiet, workload, slo, most)
    else:
        best = max(throughput(quiet, workload, streams) for streams in _ladder(most))
        knee = _fewest(quiet, workload, KNEE_SHARE * best, most)
        capacity = _capacity(quiet, workload, knee, "Plateau" if knee < most else "Floor")
    required, allowed = _flags(law, workload, most, capacity.concurrency if slo.has_target else most)
    return Truth(
        decode_tokens_per_second=single_stream(quiet, workload),
        ttft_overhead_milliseconds=law.ttft_base_ms,
        prefill_tokens_per_second=1000 / law.ttft_per_token_ms if law.ttft_per_token_ms else math.inf,
        capacity=capacity,
        required=required,
        allowed=allowed,
    )


def single_stream(law: Law, workload: Workload) -> float:
    """Tokens per second of one stream after its first, without stalls."""
    tokens = workload.output_tokens - 1
    return tokens / (steps(tokens, law.tokens_per_step) * law.itl_seconds(1))


@functools.cache
def steps(tokens: int, mean: float) -> float:
    """How many steps ``tokens`` take on average when each brings 1 and a binomial number of others: the last
    one may bring more than is wanted."""
    more = mean - 1
    if more <= 0:
        return float(tokens)
    tries = math.ceil(2 * more)
    share = more / tries
    chances = [math.comb(tries, got) * share**got * (1 - share) ** (tries - got) for got in range(tries + 1)]
    expected = [0.0]
    for left in range(1, tokens + 1):
        expected.append(
            1 + sum(chance * expected[max(0, left - 1 - got)] for got, chance in enumerate(chances))
        )
    return expected[tokens]


def level(law: Law, workload: Workload, concurrency: int) -> Level:
    """A closed loop of so many streams, stalls included."""
    if _needs_simulation(law, workload, concurrency):
        return _simulated(law, workload, concurrency)
    means = _means(law, workload, concurrency)
    ttfts, tpots = _drawn(law, workload, concurrency, means)
    return Level(
        concurrency=concurrency,
        output_tokens_per_second=means.requests_per_second * workload.output_tokens,
        requests_per_second=means.requests_per_second,
        running=means.running,
        ttft_milliseconds=tuple(ttfts),
        tpot_milliseconds=tuple(tpots),
        preemptions=0,
    )


def throughput(law: Law, workload: Workload, concurrency: int) -> float:
    """Output tokens per second of ``level``."""
    if law.frontend_us:
        later = steps(workload.output_tokens - 1, law.tokens_per_step)
        chunks = 1 + later / max(1.0, law.tokens_per_chunk / law.tokens_per_step)
        most = 1e6 / (law.frontend_us * chunks) * workload.output_tokens
        return min(most, throughput(dataclasses.replace(law, frontend_us=0.0), workload, concurrency))
    if _needs_simulation(law, workload, concurrency):
        return _simulated(law, workload, concurrency).output_tokens_per_second
    return _means(law, workload, concurrency).requests_per_second * workload.output_tokens


def _needs_simulation(law: Law, workload: Workload, concurrency: int) -> bool:
    demand = concurrency * (workload.input_tokens + workload.output_tokens)
    if law.frontend_us or law.prefill_blocks:
        return True
    return law.kv_policy == "preempt" and demand > 0.8 * law.kv_tokens


@functools.lru_cache(maxsize=4096)
def _simulated(law: Law, workload: Workload, concurrency: int) -> Level:
    return simulated(law, workload, concurrency, spread=SPREAD)


@dataclass(frozen=True, slots=True)
class _Means:
    running: float
    requests_per_second: float
    queued_seconds: float
    """Mean seconds that a request waits before the engine."""


def _means(law: Law, workload: Workload, concurrency: int) -> _Means:
    fitting = law.kv_tokens / (workload.input_tokens + workload.output_tokens)
    longest = (
        workload.input_tokens + 2 * workload.output_tokens - round((1 - SPREAD) * workload.output_tokens)
    )
    always = law.kv_tokens // longest
    # Lengths differ, and the next in line does not fit into what is left, unless the longest ones do.
    tight = concurrency > always and concurrency + LEFT_OVER > fitting
    room = max(float(always), fitting - LEFT_OVER) if tight else float(concurrency)
    running = max(1.0, min(concurrency, law.max_num_seqs, room))
    stall_share = law.stall_ms / law.stall_every_ms if law.stall_every_ms and law.stall_ms else 0.0
    later = steps(workload.output_tokens - 1, law.tokens_per_step)

    def service(engaged: float) -> float:
        """Seconds in the engine with so many, which need not be whole."""
        return (1 + stall_share) * (_ttft(law, workload, engaged) + later * _itl(law, engaged))

    rate = running / service(running)
    return _Means(running, rate, (concurrency - running) / rate)


def _itl(law: Law, running: float) -> float:
    low = math.floor(running)
    share = running - low
    return (1 - share) * law.itl_seconds(low) + share * law.itl_seconds(low + 1)


def _ttft(law: Law, workload: Workload, running: float, rng: Random | None = None) -> float:
    return law.ttft_seconds(workload.input_tokens, max(0.0, running - 1), rng)


def _drawn(law: Law, workload: Workload, concurrency: int, means: _Means) -> tuple[list[float], list[float]]:
    """TTFTs and TPOTs of single requests, sorted, milliseconds."""
    rng = Random(7)
    low = round((1 - SPREAD) * workload.output_tokens)
    high = 2 * workload.output_tokens - low
    itl = _itl(law, means.running)
    ahead = max(1.0, concurrency - means.running)
    queued = means.queued_seconds
    ttfts, tpots = [], []
    for _ in range(_DRAWS):
        tokens = max(2, rng.randint(low, high)) - 1
        mean = steps(tokens, law.tokens_per_step)
        accepted = law.tokens_per_step - 1
        tries = math.ceil(2 * accepted)
        deviation = math.sqrt(mean * accepted * (1 - accepted / tries)) if tries else 0.0
        taken = max(1.0, mean + rng.gauss(0, deviation) / law.tokens_per_step)
        busy = taken * itl * max(0.1, 1 + rng.gauss(0, law.jitter_cv / math.sqrt(taken)))
        ttft = _ttft(law, workload, means.running, rng)
        first = ttft * max(0.1, 1 + rng.gauss(0, law.jitter_cv / math.sqrt(max(1.0, ttft / itl))))
        wait = rng.gammavariate(ahead, queued / ahead) if queued else 0.0
        ttfts.append(1000 * (first + wait + _stalled(law, first, rng)))
        tpots.append(1000 * (busy + _stalled(law, busy, rng)) / tokens)
    return sorted(ttfts), sorted(tpots)


def _stalled(law: Law, seconds: float, rng: Random) -> float:
    """Seconds of stalls in a piece of law time that begins anywhere."""
    every = law.stall_every_ms / 1000
    if not every or not law.stall_ms:
        return 0.0
    # A gap that holds a moment is longer than others; what is left of it is an even part.
    while True:
        gap = rng.uniform(0.5, 1.5)
        if rng.random() * 1.5 < gap:
            break
    at, count = rng.random() * gap * every, 0
    while at < seconds:
        count += 1
        at += rng.uniform(0.5, 1.5) * every
    return count * law.stall_ms / 1000


def _ladder(most: int) -> list[int]:
    """Levels a few percent apart."""
    found, streams = [1], 1
    while streams < most:
        streams = min(most, max(streams + 1, round(1.08 * streams)))
        found.append(streams)
    return found


def _fewest(law: Law, workload: Workload, tokens_per_second: float, most: int) -> int:
    return next(n for n in range(1, most + 1) if throughput(law, workload, n) >= tokens_per_second)


def meets(found: Level, slo: ServiceLevel) -> bool:
    share = slo.percentile / 100
    return (
        not slo.ttft_milliseconds or quantile(found.ttft_milliseconds, share) <= slo.ttft_milliseconds
    ) and (not slo.tpot_milliseconds or quantile(found.tpot_milliseconds, share) <= slo.tpot_milliseconds)


def _under(law: Law, workload: Workload, slo: ServiceLevel, most: int) -> Capacity:
    if not meets(level(law, workload, 1), slo):
        return _capacity(law, workload, 1, "NeverMet")
    good, bad = 1, 2
    while bad <= most and meets(level(law, workload, bad), slo):
        good, bad = bad, 2 * bad
    bad = min(bad, most + 1)
    while bad - good > 1:
        middle = (good + bad) // 2
        if meets(level(law, workload, middle), slo):
            good = middle
        else:
            bad = middle
    return _capacity(law, workload, good, "Edge" if good < most else "Floor")


def _capacity(law: Law, workload: Workload, concurrency: int, boundary: str) -> Capacity:
    found = level(law, workload, concurrency)
    return Capacity(
        concurrency=concurrency,
        output_tokens_per_second=found.output_tokens_per_second,
        requests_per_second=found.requests_per_second,
        boundary=boundary,
    )


def _flags(
    law: Law, workload: Workload, most: int, edge: int
) -> tuple[tuple[frozenset[str], ...], frozenset[str]]:
    """``edge``: streams at which a service level breaks; a front end that costs nothing up to it need not be
    seen."""
    required: list[frozenset[str]] = []
    allowed = {"BudgetExhausted", "ShortOutput"}
    if law.foreign_streams and law.foreign_seconds:
        required.append(frozenset({"OtherTraffic"}))
        allowed |= {"NotSteady"}
    if law.stall_every_ms and law.stall_ms:
        required.append(frozenset({"NotSteady", "Stalls"}))
        allowed |= {"NotSteady"}
    if law.cached_share:
        required.append(frozenset({"CacheHit"}))
    if law.frontend_us:
        bare = dataclasses.replace(law, frontend_us=0.0)
        lost, lost_at_edge = (
            1 - throughput(law, workload, streams) / throughput(bare, workload, streams)
            for streams in (most, edge)
        )
        if lost_at_edge > 0.1:
            required.append(frozenset({"FrontendBound"}))
        if lost > 0:
            allowed |= {"FrontendBound"}
    return tuple(required), frozenset(allowed)
