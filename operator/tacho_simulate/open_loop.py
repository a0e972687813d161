"""Simulates open-loop load on one replica: requests arrive at random times, whatever the replica has in
progress."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random
from statistics import median
from typing import NamedTuple

from tacho_simulate.closed_loop import SPREAD
from tacho_simulate.performance_model import PerformanceModel
from tacho_simulate.replica import Ledger, Timed, replica_of

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
    model: PerformanceModel, rate: float, *, input_tokens: int, output_tokens: int, requests: int
) -> OpenLatency:
    """Median latencies of ``requests`` Poisson arrivals, ``rate`` per second; answer lengths vary by
    SPREAD."""
    rng = Random(0)  # noqa: S311  # a game, not a secret
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
