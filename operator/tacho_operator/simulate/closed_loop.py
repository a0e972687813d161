"""Streams that send their next request when one has ended, at one replica: what a probe would see."""

from __future__ import annotations

import math
from bisect import insort
from dataclasses import dataclass
from random import Random

from tacho_operator.simulate.engine_law import EngineLaw
from tacho_operator.simulate.replica import Ledger, Timed, replica_of
from tacho_operator.simulate.replica.ledger import NEVER
from tacho_operator.simulate.result import Quantiles, quantiles

SPREAD = 0.25
"""So far to either side lengths of answers are drawn, so that streams do not keep step."""
WARM_ROUNDS, ROUNDS = 2, 12
"""Requests that each stream ends before it counts, and while it does where nobody says."""
LEAST_REQUESTS = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Level:
    """One number of streams."""

    concurrency: int
    requests_per_second: float
    output_tokens_per_second: float
    mean_ttft_seconds: float
    ttft_seconds: Quantiles
    tpot_seconds: Quantiles
    e2e_seconds: Quantiles
    preemptions: int


class Streams:
    def __init__(
        self,
        law: EngineLaw,
        input_tokens: int,
        output_tokens: int,
        concurrency: int,
        seed: int,
        pause_seconds: float,
    ) -> None:
        self._rng = Random(seed)  # noqa: S311  # a game, not a secret
        self._pause_seconds = pause_seconds
        self._input = input_tokens
        self._least = max(1, round((1 - SPREAD) * output_tokens))
        self._most = max(self._least, 2 * output_tokens - self._least)
        self.arrived: list[float] = []
        self.input_tokens: list[int] = []
        self.output_tokens: list[int] = []
        self.ledger = Ledger(self.arrived, self.input_tokens, self.output_tokens)
        self.replica = replica_of(law, Timed.of(law), self.ledger, 0.0)
        self.replica.after = lambda _, when: self._ask(
            self._later(when), self._rng.randint(self._least, self._most)
        )
        for _ in range(concurrency):  # as if each was in the middle of an answer
            self._ask(0.0, self._rng.randint(1, output_tokens))

    def until(self, ended: int) -> None:
        """Until so many requests have ended."""
        step = 1.0
        while self.ledger.ended < ended:
            self.replica.advance(self.replica.now + step)
            step *= 2

    def _later(self, when: float) -> float:
        return when + self._pause_seconds * self._rng.random() if self._pause_seconds else when

    def _ask(self, when: float, output_tokens: int) -> None:
        request = len(self.arrived)
        self.arrived.append(when)
        self.input_tokens.append(self._input)
        self.output_tokens.append(output_tokens)
        self.ledger.first.append(NEVER)
        self.ledger.last.append(NEVER)
        insort(self.replica.incoming, (when + self.replica.entry_seconds, request))


def closed_loop(
    law: EngineLaw,
    *,
    input_tokens: int,
    output_tokens: int,
    concurrency: int,
    seed: int = 0,
    pause_seconds: float = 0.0,
    rounds: int = ROUNDS,
) -> Level:
    """``pause_seconds``: the longest after which a stream sends its next request; drawn evenly."""
    streams = Streams(law, input_tokens, output_tokens, concurrency, seed, pause_seconds)
    ledger, replica = streams.ledger, streams.replica
    streams.until(WARM_ROUNDS * concurrency)
    begins, preempted = replica.now, replica.preemptions
    streams.until(ledger.ended + rounds * max(concurrency, LEAST_REQUESTS))
    seconds = replica.now - begins
    ended = [request for request, when in enumerate(ledger.last) if when >= begins]
    whole = [request for request in ended if ledger.arrived[request] >= begins]
    waited = [ledger.first[request] - ledger.arrived[request] for request in whole]
    ttft = quantiles(waited)
    tpot = quantiles(
        [
            (ledger.last[request] - ledger.first[request]) / max(1, ledger.output_tokens[request] - 1)
            for request in whole
        ]
    )
    e2e = quantiles([ledger.last[request] - ledger.arrived[request] for request in whole])
    if ttft is None or tpot is None or e2e is None:
        raise AssertionError("more rounds were made than there are streams")
    return Level(
        concurrency=concurrency,
        requests_per_second=len(ended) / seconds,
        output_tokens_per_second=sum(ledger.output_tokens[request] for request in ended) / seconds,
        mean_ttft_seconds=math.fsum(waited) / len(waited),
        ttft_seconds=ttft,
        tpot_seconds=tpot,
        e2e_seconds=e2e,
        preemptions=replica.preemptions - preempted,
    )
