"""A closed loop against the mock engine's scheduler on a virtual clock: what an endless probe would see."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence as Row
from dataclasses import dataclass, field
from random import Random
from typing import Any

from tacho_contract.measurement import Workload
from tools.mock.engine_foreign import Foreign
from tools.mock.engine_law import Law
from tools.mock.engine_scheduler import Scheduler, Sequence


class SteppedEngine:
    """The mock engine's scheduler on a clock that callers advance: hours in a second, no sockets. Prompts are
    all different unless a key is given."""

    def __init__(self, law: Law) -> None:
        self.now = 0.0
        self.scheduler = Scheduler(law, lambda: self.now)
        self.foreign = Foreign(self.scheduler)
        self._keys = itertools.count()

    def submit(self, prompt_tokens: int, output_tokens: int, **more: Any) -> Sequence:
        """A request that arrives now."""
        values: dict[str, Any] = {
            "prompt_key": next(self._keys), "arrived": self.now, "sink": lambda *_: None,
        }  # fmt: skip
        return self.scheduler.submit(prompt_tokens=prompt_tokens, max_tokens=output_tokens, **(values | more))

    def step(self, until: float = math.inf) -> bool:
        """To the next thing that is due and no further than ``until``. False: nothing was due before it."""
        due = self.scheduler.next_due()
        reached = due <= until and due < math.inf
        if reached or until < math.inf:
            self.now = max(self.now, due if reached else until)
            self.scheduler.advance(self.now)
        return reached

    def run(self, seconds: float) -> None:
        """Advances the clock by ``seconds`` and processes every event at its time."""
        end = self.now + seconds
        while self.step(end):
            pass

    def drain(self) -> None:
        """Until nothing is under way."""
        while self.step():
            pass


@dataclass(frozen=True, slots=True, kw_only=True)
class Level:
    """One number of streams. Latencies are sorted, one a request."""

    concurrency: int
    output_tokens_per_second: float
    requests_per_second: float
    running: float
    """Mean number of requests in the engine at a time."""
    ttft_milliseconds: tuple[float, ...] = field(repr=False)
    tpot_milliseconds: tuple[float, ...] = field(repr=False)
    preemptions: int


def quantile(values: Row[float], share: float) -> float:
    """The value at ``share`` of sorted ``values``."""
    return values[min(len(values) - 1, int(share * len(values)))]


def simulated(
    law: Law, workload: Workload, concurrency: int, *, spread: float = 0.25, rounds: float = 12.0
) -> Level:
    """``rounds``: about how many requests each stream ends while it is measured, after two before."""
    rng = Random(law.seed + concurrency)
    engine = SteppedEngine(law)
    low = round((1 - spread) * workload.output_tokens)
    high = 2 * workload.output_tokens - low
    ttfts: list[float] = []
    tpots: list[float] = []
    tokens = ended = 0
    begins = float("inf")

    def submit(length: int, arrived: float) -> None:
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
                submit(max(2, rng.randint(low, high)), when)

        engine.submit(workload.input_tokens, length, sink=got, arrived=arrived)

    for _ in range(concurrency):
        submit(rng.randint(2, max(2, workload.output_tokens)), engine.now)
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
