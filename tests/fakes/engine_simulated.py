"""A closed loop against the mock engine's scheduler on a virtual clock: what an endless probe would see."""

from __future__ import annotations

from collections.abc import Sequence as Row
from dataclasses import dataclass, field
from random import Random

from tacho_contract.measurement import Workload
from tests.fakes.engine_law import Law
from tests.fakes.engine_scheduler import Sequence
from tests.fakes.engine_virtual import Virtual


@dataclass(frozen=True, slots=True, kw_only=True)
class Level:
    """One number of streams. Latencies are sorted, one a request."""

    concurrency: int
    output_tokens_per_second: float
    requests_per_second: float
    running: float
    """In the engine at a time, on average."""
    ttft_milliseconds: tuple[float, ...] = field(repr=False)
    tpot_milliseconds: tuple[float, ...] = field(repr=False)
    preemptions: int


def quantile(values: Row[float], share: float) -> float:
    """Of sorted values."""
    return values[min(len(values) - 1, int(share * len(values)))]


def simulated(
    law: Law, workload: Workload, concurrency: int, *, spread: float = 0.25, rounds: float = 12.0
) -> Level:
    """``rounds``: about how many requests each stream ends while it is measured, after two before."""
    rng = Random(law.seed + concurrency)
    engine = Virtual(law)
    low = round((1 - spread) * workload.output_tokens)
    high = 2 * workload.output_tokens - low
    ttfts: list[float] = []
    tpots: list[float] = []
    tokens = ended = 0
    begins = float("inf")

    def ask(length: int, arrived: float) -> None:
        first = 0.0

        def got(when: float, count: int, last: bool, _: Sequence) -> None:
            nonlocal first, tokens, ended
            first = first or when
            if when >= begins:
                tokens += count
            if last:
                if arrived >= begins:
                    ttfts.append(1000 * (first - arrived))
                    tpots.append(1000 * (when - first) / max(1, length - 1))
                ended += 1
                ask(max(2, rng.randint(low, high)), when)

        engine.submit(workload.input_tokens, length, sink=got, arrived=arrived)

    for _ in range(concurrency):
        ask(rng.randint(2, max(2, workload.output_tokens)), engine.now)
    while ended < 2 * concurrency:
        engine.step()
    begins, before, preemptions = engine.now, ended, engine.scheduler.totals.preemptions
    presence, last = 0.0, engine.now
    while ended - before < rounds * max(concurrency, 8):
        engine.step()
        presence += len(engine.scheduler.running) * (engine.now - last)
        last = engine.now
    seconds = engine.now - begins
    return Level(
        concurrency=concurrency,
        output_tokens_per_second=tokens / seconds,
        requests_per_second=(ended - before) / seconds,
        running=presence / seconds,
        ttft_milliseconds=tuple(sorted(ttfts)),
        tpot_milliseconds=tuple(sorted(tpots)),
        preemptions=engine.scheduler.totals.preemptions - preemptions,
    )
