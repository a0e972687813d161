"""The greedy reference of the benchmark: it knows what a replica carries of just these requests.

The simulator's greedy reference learns lengths as requests arrive. This one has them beforehand: they
are drawn again from the trace's own, for one replica alone, at the rate at which 99.5 % of those that one
can serve are within the service level.
"""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Sequence
from random import Random

from tacho_operator.core.autoscaling.algorithm.types import ReplicaCapacity
from tacho_simulate.performance_model import PerformanceModel
from tacho_simulate.policies import static
from tacho_simulate.policies.greedy import GreedyReference
from tacho_simulate.policy import Arrived, Factory, Setting, SimulatedPolicy
from tacho_simulate.run import simulate
from tacho_simulate.trace import Trace

SHARE = 0.995
REQUESTS, BISECTIONS, SEED = 3000, 7, 0
MOST_REQUESTS_PER_SECOND = 3.0
ALONE = 0.02
"""So full a replica has next to nothing else to do."""
PARTS = 3
"""Lengths may change on the way: so many parts of a trace are looked at on their own."""
Lengths = tuple[tuple[int, int], ...]


class Knowing(GreedyReference):
    """``rates``: (mean prompt, requests a second), by rising prompt."""

    def __init__(self, setting: Setting, rates: Sequence[tuple[float, float]]) -> None:
        super().__init__(setting)
        self._known_rates = sorted(rates)

    def _carried(self, arrived: Arrived | None) -> float:
        del arrived
        first, last = self._seen[0], self._seen[-1]
        count = last.arrivals - first.arrivals
        low, high = self._known_rates[0], self._known_rates[-1]
        if not count:
            return low[1]
        prompt = (last.input_tokens - first.input_tokens) / count
        if prompt <= low[0] or low[0] == high[0]:
            return low[1]
        for before, after in itertools.pairwise(self._known_rates):
            if prompt <= after[0]:
                share = (prompt - before[0]) / (after[0] - before[0])
                return before[1] + share * (after[1] - before[1])
        return high[1]


def greedy(trace: Trace) -> Factory:
    def make(setting: Setting) -> SimulatedPolicy:
        size = math.ceil(len(trace) / PARTS)
        pairs = tuple(zip(trace.input_tokens, trace.output_tokens, strict=True))
        parts = [pairs[at : at + size] for at in range(0, len(pairs), size)]
        means = [sum(prompt for prompt, _ in part) / len(part) for part in parts]
        if max(means) < 1.2 * min(means):
            parts, means = [pairs], [sum(prompt for prompt, _ in pairs) / len(pairs)]
        rates = [(mean, _rate(part, setting)) for mean, part in zip(means, parts, strict=True)]
        return Knowing(setting, rates)

    return make


def _rate(lengths: Lengths, setting: Setting) -> float:
    return rate_of(lengths, setting.model, setting.slo_ttft_seconds, setting.slo_tpot_seconds)


@functools.cache
def rate_of(
    lengths: Lengths, model: PerformanceModel, ttft_seconds: float | None, tpot_seconds: float | None
) -> float:
    """Requests a second of one replica."""
    one = Setting(
        min_replicas=1,
        max_replicas=1,
        capacity=ReplicaCapacity(),
        slo_ttft_seconds=ttft_seconds,
        slo_tpot_seconds=tpot_seconds,
        cold_start_seconds=1.0,
        model=model,
    )

    def kept(rate: float) -> float:
        rng = Random(SEED)
        times = list(itertools.accumulate(rng.expovariate(rate) for _ in range(REQUESTS)))
        drawn = rng.choices(lengths, k=REQUESTS)
        trace = Trace("alone", tuple(times), tuple(p for p, _ in drawn), tuple(a for _, a in drawn))
        return simulate(trace, one, static, seed=SEED).slo_attainment

    low, high = 0.0, MOST_REQUESTS_PER_SECOND
    wanted = SHARE * kept(ALONE * high)
    for _ in range(BISECTIONS):
        middle = (low + high) / 2
        if kept(middle) >= wanted:
            low = middle
        else:
            high = middle
    return low or ALONE * high
