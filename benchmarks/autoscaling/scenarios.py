"""What policies are judged on: a replica of known model, what a probe says of it, traces, what goes wrong."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from dataclasses import dataclass
from random import Random

from benchmarks.autoscaling.traces import ANSWERS, MINUTE, PROMPTS, SHAPES, public
from tacho_operator.core.autoscaling.algorithm.capacity import OPEN_LOOP_STEP
from tacho_operator.core.autoscaling.algorithm.types import ReplicaCapacity
from tacho_simulate.closed_loop import Level, closed_loop
from tacho_simulate.performance_model import PerformanceModel
from tacho_simulate.policies import static
from tacho_simulate.policy import Setting
from tacho_simulate.run import Faults, simulate
from tacho_simulate.trace import Trace

MODEL = PerformanceModel(
    steps=((1, 0.040), (16, 0.055), (32, 0.075), (64, 0.120)),
    prefill_tokens_per_second=4000.0,
    step_tokens=1024,
    max_num_seqs=64,
    kv_cache_tokens=80_000,
)
"""A large model: few long answers at once, so that a run takes thousands of requests, not millions."""
TTFT_SECONDS, TPOT_SECONDS = 3.0, 0.1
LEAST, MOST = 1, 16
STREAMS = (1, 2, 4, 6, 8, 10, 12, 14, 16, 20, 24, 28, 32, 40, 48, 64)
WANTED = 0.99
"""The share of requests that is to keep the service level."""
VERIFY_SEED, VERIFY_REQUESTS = 3, 4000
START_SECONDS, SLOW_START_SECONDS = 90.0, 600.0
CONFIDENCE_PERCENT = 3.0
"""Half the interval of the measured rate, as a probe of good repeatability has it."""


@functools.cache
def streams(concurrency: int, input_tokens: int, output_tokens: int) -> Level:
    return closed_loop(MODEL, input_tokens=input_tokens, output_tokens=output_tokens, concurrency=concurrency)


def _keeps(level: Level) -> bool:
    return level.ttft_seconds.p99 <= TTFT_SECONDS and level.tpot_seconds.p99 <= TPOT_SECONDS


@functools.cache
def measured(input_tokens: int, output_tokens: int) -> ReplicaCapacity:
    """What a probe says of a replica: the most streams whose 99th percentiles keep the service level; then
    requests come by themselves at 0.85 of their rate, and where those break it less is trusted."""
    levels = [streams(count, input_tokens, output_tokens) for count in STREAMS]
    best = levels[0]
    for level in levels:
        if not _keeps(level):
            break
        best = level
    found = ReplicaCapacity(
        fingerprint="measured",
        requests_per_second=best.requests_per_second,
        prefill_tokens_per_second=MODEL.prefill_tokens_per_second,
        output_tokens_per_second=best.output_tokens_per_second,
        concurrency=best.concurrency,
        kv_cache_tokens=MODEL.kv_cache_tokens,
        input_tokens=input_tokens,
        output_tokens=output_tokens,
        trust=1 - CONFIDENCE_PERCENT / 100,
    )
    return found if _verified(found) else dataclasses.replace(found, trust=found.trust * OPEN_LOOP_STEP)


def _verified(capacity: ReplicaCapacity) -> bool:
    rate = OPEN_LOOP_STEP * (capacity.requests_per_second or 0.0)
    rng = Random(VERIFY_SEED)
    times: list[float] = []
    while len(times) < VERIFY_REQUESTS:
        times.append((times[-1] if times else 0.0) + rng.expovariate(rate))
    out = capacity.output_tokens
    trace = Trace(
        name="verify",
        time_seconds=tuple(times),
        input_tokens=(capacity.input_tokens,) * len(times),
        output_tokens=tuple(rng.randint(round(0.75 * out), round(1.25 * out)) for _ in times),
    )
    setting = Setting(
        min_replicas=1,
        max_replicas=1,
        capacity=capacity,
        slo_ttft_seconds=TTFT_SECONDS,
        slo_tpot_seconds=TPOT_SECONDS,
        cold_start_seconds=START_SECONDS,
        model=MODEL,
    )
    return simulate(trace, setting, static, seed=VERIFY_SEED).slo_attainment >= WANTED


def usual() -> ReplicaCapacity:
    """For the drawn lengths."""
    return measured(round(PROMPTS.mean), round(ANSWERS.mean))


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    name: str
    trace: Callable[[int], Trace]
    """By seed."""
    seeded: bool = True
    """Another seed draws another trace."""
    capacity: Callable[[], ReplicaCapacity] = usual
    told: float = 1.0
    """What the measurement says of the rate, as a share of the truth."""
    start_seconds: float = START_SECONDS
    faults: Faults = Faults()

    def setting(self, trace: Trace) -> Setting:
        true = self.capacity()
        first = sum(time < 5 * MINUTE for time in trace.time_seconds) / (5 * MINUTE)
        work = first / (true.requests_per_second or 1.0)
        return Setting(
            min_replicas=LEAST,
            max_replicas=MOST,
            capacity=_scaled(true, self.told),
            slo_ttft_seconds=TTFT_SECONDS,
            slo_tpot_seconds=TPOT_SECONDS,
            cold_start_seconds=self.start_seconds,
            model=MODEL,
            initial_replicas=max(LEAST, min(MOST, -int(-work // 0.7))),
        )


def _scaled(capacity: ReplicaCapacity, factor: float) -> ReplicaCapacity:
    """A measurement that took too much or too little to be what a replica carries."""
    rate, output = capacity.requests_per_second or 0.0, capacity.output_tokens_per_second or 0.0
    prefill, at_once = capacity.prefill_tokens_per_second or 0.0, capacity.concurrency or 1.0
    return dataclasses.replace(
        capacity,
        requests_per_second=rate * factor,
        output_tokens_per_second=output * factor,
        prefill_tokens_per_second=prefill * factor,
        concurrency=max(1.0, at_once * factor),
    )


def drawn(name: str) -> Callable[[int], Trace]:
    return lambda seed: SHAPES[name].draw(seed, usual().requests_per_second or 0.0)


DAY = drawn("diurnal")
SCENARIOS = (
    *(Scenario(name=name, trace=drawn(name)) for name in SHAPES),
    Scenario(name="slow start", trace=DAY, start_seconds=SLOW_START_SECONDS),
    Scenario(name="capacity +30 %", trace=DAY, told=1.3),
    Scenario(name="capacity -30 %", trace=DAY, told=0.7),
    Scenario(name="metrics lost", trace=DAY, faults=Faults(metrics_outages=((30 * MINUTE, 35 * MINUTE),))),
    Scenario(name="pod hangs", trace=DAY, faults=Faults(hanging=((60 * MINUTE, 0),))),
    Scenario(name="public", trace=lambda _: public(), seeded=False, capacity=lambda: measured(2048, 28)),
)
