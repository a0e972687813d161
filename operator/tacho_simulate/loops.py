"""Simulates load on one replica: in a closed loop, as in a probe, or in an open loop.

In a closed loop each stream sends its next request after an answer. In an open loop requests arrive at random
times, whatever the replica has in progress.
"""

from __future__ import annotations

from bisect import insort
from collections.abc import Sequence
from dataclasses import dataclass
from random import Random
from statistics import median
from typing import NamedTuple

from tacho_simulate.performance_model import PerformanceModel
from tacho_simulate.replica import NOT_YET, Ledger, Timed, replica_of
from tacho_simulate.result import Quantiles, quantiles

SPREAD = 0.25
"""Spread of answer lengths as a share of their mean, so that streams do not run in step."""
WARM_ROUNDS, ROUNDS = 2, 12
"""Requests per stream before and during the measurement."""
MIN_CONCURRENCY = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Level:
    """Latencies and throughput of a simulated closed loop at one concurrency."""

    concurrency: int
    requests_per_second: float
    output_tokens_per_second: float
    ttft_seconds: Quantiles
    tpot_seconds: Quantiles
    e2e_seconds: Quantiles
    preemptions: int


class Streams:
    def __init__(
        self,
        model: PerformanceModel,
        input_tokens: int,
        output_tokens: int,
        concurrency: int,
        seed: int,
        pause_seconds: float,
    ) -> None:
        self._rng = Random(seed)  # noqa: S311  # a game, not a secret
        self._pause_seconds = pause_seconds
        self._input = input_tokens
        self._min_tokens = max(1, round((1 - SPREAD) * output_tokens))
        self._max_tokens = max(self._min_tokens, 2 * output_tokens - self._min_tokens)
        self.arrived: list[float] = []
        self.input_tokens: list[int] = []
        self.output_tokens: list[int] = []
        self.ledger = Ledger(self.arrived, self.input_tokens, self.output_tokens)
        self.replica = replica_of(Timed.of(model), self.ledger, 0.0)
        self.replica.after = lambda _, when: self._send_request(
            self._later(when), self._rng.randint(self._min_tokens, self._max_tokens)
        )
        for _ in range(concurrency):  # each stream begins in the middle of an answer
            self._send_request(0.0, self._rng.randint(1, output_tokens))

    def until(self, ended: int) -> None:
        """Simulates until ``ended`` requests have completed."""
        step = 1.0
        while self.ledger.ended < ended:
            self.replica.advance(self.replica.now + step)
            step *= 2

    def _later(self, when: float) -> float:
        return when + self._pause_seconds * self._rng.random() if self._pause_seconds else when

    def _send_request(self, when: float, output_tokens: int) -> None:
        request = len(self.arrived)
        self.arrived.append(when)
        self.input_tokens.append(self._input)
        self.output_tokens.append(output_tokens)
        self.ledger.first.append(NOT_YET)
        self.ledger.last.append(NOT_YET)
        insort(self.replica.incoming, (when + self.replica.entry_seconds, request))


def closed_loop(
    model: PerformanceModel,
    *,
    input_tokens: int,
    output_tokens: int,
    concurrency: int,
    seed: int = 0,
    pause_seconds: float = 0.0,
    rounds: int = ROUNDS,
) -> Level:
    """The result of a closed loop of ``concurrency`` streams on one replica.

    ``pause_seconds``: maximum pause between two requests of a stream, uniformly distributed.
    """
    streams = Streams(model, input_tokens, output_tokens, concurrency, seed, pause_seconds)
    ledger, replica = streams.ledger, streams.replica
    streams.until(WARM_ROUNDS * concurrency)
    begins, preempted = replica.now, replica.preemptions
    streams.until(ledger.ended + rounds * max(concurrency, MIN_CONCURRENCY))
    seconds = replica.now - begins
    ended = [request for request, when in enumerate(ledger.last) if when >= begins]
    whole = [request for request in ended if ledger.arrived[request] >= begins]
    ttft = quantiles([ledger.first[request] - ledger.arrived[request] for request in whole])
    tpot = quantiles(
        [
            (ledger.last[request] - ledger.first[request]) / max(1, ledger.output_tokens[request] - 1)
            for request in whole
        ]
    )
    e2e = quantiles([ledger.last[request] - ledger.arrived[request] for request in whole])
    if ttft is None or tpot is None or e2e is None:
        raise AssertionError("no request both began and ended within the measurement")
    return Level(
        concurrency=concurrency,
        requests_per_second=len(ended) / seconds,
        output_tokens_per_second=sum(ledger.output_tokens[request] for request in ended) / seconds,
        ttft_seconds=ttft,
        tpot_seconds=tpot,
        e2e_seconds=e2e,
        preemptions=replica.preemptions - preempted,
    )


DRAIN_SECONDS = 3600.0
FILLING = 4
"""One of so many requests (a quarter) arrives while the replica fills, and is not counted."""


class OpenLatency(NamedTuple):
    """Median TTFT, TPOT and end-to-end latency of an open loop, in seconds."""

    ttft: float
    tpot: float
    end_to_end: float


def answered(
    model: PerformanceModel,
    arrived: Sequence[float],
    input_tokens: Sequence[int],
    output_tokens: Sequence[int],
) -> Ledger:
    """Simulates requests that arrive at the times ``arrived`` (ascending seconds), until DRAIN_SECONDS after
    the last."""
    ledger = Ledger(arrived, input_tokens, output_tokens)
    replica = replica_of(Timed.of(model), ledger, 0.0)
    replica.incoming.extend((when + replica.entry_seconds, request) for request, when in enumerate(arrived))
    replica.advance((arrived[-1] if arrived else 0.0) + DRAIN_SECONDS)
    return ledger


def open_loop(
    model: PerformanceModel,
    rate: float,
    *,
    input_tokens: int,
    output_tokens: int,
    requests: int,
    seed: int = 0,
) -> OpenLatency:
    """Median latencies of ``requests`` Poisson arrivals, ``rate`` per second; answer lengths vary by
    SPREAD."""
    rng = Random(seed)  # noqa: S311  # a game, not a secret
    arrived = [rng.expovariate(rate)]
    while len(arrived) < requests:
        arrived.append(arrived[-1] + rng.expovariate(rate))
    least = max(1, round((1 - SPREAD) * output_tokens))
    answers = [rng.randint(least, max(least, 2 * output_tokens - least)) for _ in arrived]
    found = answered(model, arrived, [input_tokens] * requests, answers)
    rows = list(zip(arrived, found.first, found.last, answers, strict=True))[requests // FILLING :]
    return OpenLatency(
        median(first - came for came, first, _, _ in rows),
        median((last - first) / max(1, tokens - 1) for _, first, last, tokens in rows),
        median(last - came for came, _, last, _ in rows),
    )
