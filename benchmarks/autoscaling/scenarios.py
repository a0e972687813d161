"""What policies are judged on: a replica of known model, its measurement, traces, faults, routing."""

from __future__ import annotations

import dataclasses
import functools
import itertools
import math
from dataclasses import dataclass
from random import Random
from statistics import correlation, linear_regression

from benchmarks.autoscaling.traces import MINUTE, SHAPES, USUAL, public
from tacho_contract.measurement import Capacity, CurvePoint, Fit, SingleStream, Workload
from tacho_operator.api.status.measurement import KvCache, MeasuredWorkload, MeasurementEntry
from tacho_operator.core.autoscaling.algorithm.capacity import capacity_of
from tacho_simulate.loops import SPREAD, Level, closed_loop
from tacho_simulate.performance_model import PerformanceModel
from tacho_simulate.policies import static
from tacho_simulate.policy import Routing, Setting
from tacho_simulate.run import NO_FAULTS, Faults, simulate
from tacho_simulate.trace import Trace
from tacho_simulate.tuning import ATTAINMENT

MODEL = PerformanceModel(
    steps=((1, 0.040), (16, 0.055), (32, 0.075), (64, 0.120)),
    prefill_tokens_per_second=4000.0,
    step_tokens=1024,
    max_num_seqs=64,
    kv_cache_tokens=80_000,
)
"""A large model: few long answers at once, so that a run takes thousands of requests, not millions."""
SLO, LONG_PROMPTS_SLO = (3.0, 0.1), (10.0, 1.0)
"""Seconds to the first token, and of each further one. A step with a chunk of a prompt takes 0.26 s."""
LEAST, MOST = 1, 16
INITIAL_UTILIZATION = 0.7
LEVELS = (1, 2, 4, 6, 8, 10, 12, 14, 16, 20, 24, 28, 32, 40, 48, 64)
"""Concurrencies that the probe measures."""
VERIFY_SHARE, VERIFY_SEED, VERIFY_REQUESTS, VERIFIED = 0.85, 3, 4000, 0.99
"""As the probe verifies a capacity: requests arrive by themselves at this share of its rate."""
START_SECONDS, SLOW_START_SECONDS, LONG_START_SECONDS = 90.0, 600.0, 120.0
CI_PERCENT = 3.0
"""Half the confidence interval of the measured rate, as a probe of good repeatability has it."""

Slo = tuple[float, float]


@functools.cache
def measured(input_tokens: int, output_tokens: int, slo: Slo = SLO, bias: float = 1.0) -> MeasurementEntry:
    """The entry of status.measurements that a probe with these lengths leaves.

    ``bias``: the measured rate as a share of the true one.
    """
    levels = [
        closed_loop(MODEL, input_tokens=input_tokens, output_tokens=output_tokens, concurrency=count)
        for count in LEVELS
    ]
    kept = itertools.takewhile(lambda level: _keeps(level, slo), levels)
    alone, best = levels[0], max(kept, key=lambda level: level.concurrency, default=levels[0])
    points = [(float(level.concurrency), 1000 / bias * level.tpot_seconds.p50) for level in levels]
    slope, intercept = linear_regression(*zip(*points, strict=True))
    return MeasurementEntry(
        fingerprint="measured",
        state="Complete",
        confidence="Clean",
        workload=MeasuredWorkload(
            input_tokens=input_tokens, output_tokens=output_tokens, output_spread_percent=100 * SPREAD
        ),
        single_stream=SingleStream(
            ttft_milliseconds_p50=1000 / bias * alone.ttft_seconds.p50,
            tpot_milliseconds_p50=1000 / bias * alone.tpot_seconds.p50,
            prefill_tokens_per_second=bias * MODEL.prefill_tokens_per_second,
        ),
        capacity=Capacity(
            concurrency=max(1, round(bias * best.concurrency)),
            requests_per_second=bias * best.requests_per_second,
            output_tokens_per_second=bias * best.output_tokens_per_second,
            ci_percent=CI_PERCENT,
            boundary="Edge",
            basis="SLO",
            verified=_verified(best.requests_per_second, input_tokens, output_tokens, slo),
        ),
        curve=[_point(level, bias, slo) for level in levels],
        fit=Fit(
            alpha_milliseconds=intercept,
            beta_microseconds=1000 * slope,
            r2=correlation(*zip(*points, strict=True)) ** 2,
        ),
        kv_cache=KvCache(capacity_tokens=MODEL.kv_cache_tokens),
    )


def _keeps(level: Level, slo: Slo) -> bool:
    return level.ttft_seconds.p99 <= slo[0] and level.tpot_seconds.p99 <= slo[1]


def _point(level: Level, bias: float, slo: Slo) -> CurvePoint:
    return CurvePoint(
        concurrency=level.concurrency,
        requests_per_second=bias * level.requests_per_second,
        output_tokens_per_second=bias * level.output_tokens_per_second,
        ci_percent=CI_PERCENT,
        ttft_milliseconds_p50=1000 / bias * level.ttft_seconds.p50,
        ttft_milliseconds_p95=1000 / bias * level.ttft_seconds.p95,
        tpot_milliseconds_p50=1000 / bias * level.tpot_seconds.p50,
        tpot_milliseconds_p95=1000 / bias * level.tpot_seconds.p95,
        end_to_end_milliseconds_p50=1000 / bias * level.e2e_seconds.p50,
        end_to_end_milliseconds_p95=1000 / bias * level.e2e_seconds.p95,
        slo_met=_keeps(level, slo),
    )


def _verified(requests_per_second: float, input_tokens: int, output_tokens: int, slo: Slo) -> bool:
    rng = Random(VERIFY_SEED)
    gaps = (rng.expovariate(VERIFY_SHARE * requests_per_second) for _ in range(VERIFY_REQUESTS))
    times = tuple(itertools.accumulate(gaps))
    least, most = round((1 - SPREAD) * output_tokens), round((1 + SPREAD) * output_tokens)
    trace = Trace(
        name="verify",
        time_seconds=times,
        input_tokens=(input_tokens,) * len(times),
        output_tokens=tuple(rng.randint(least, most) for _ in times),
    )
    setting = Setting(
        min_replicas=1,
        max_replicas=1,
        capacity=capacity_of([], None, Workload()),
        slo_ttft_seconds=slo[0],
        slo_tpot_seconds=slo[1],
        cold_start_seconds=START_SECONDS,
        model=MODEL,
    )
    return simulate(trace, setting, static, seed=VERIFY_SEED).slo_attainment >= VERIFIED


def rate_of(lengths: tuple[int, int], slo: Slo) -> float:
    """Requests/s that one replica carries of these lengths."""
    capacity = measured(*lengths, slo).capacity
    return (capacity.requests_per_second if capacity else None) or 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    name: str
    shape: str = "diurnal"
    """Name of the drawn trace, or "public"."""
    lengths: tuple[int, int] = USUAL.means
    """Mean tokens of a prompt and of an answer, by which replicas were measured."""
    bias: float = 1.0
    """The measured rate as a share of the true one."""
    start_seconds: float = START_SECONDS
    slo: Slo = SLO
    routing: Routing = "random"
    faults: Faults = NO_FAULTS

    def trace(self, seed: int) -> Trace:
        if self.shape == "public":
            return public()
        shape = SHAPES[self.shape]
        return shape.draw(seed, rate_of(shape.requests.means, self.slo))

    def setting(self, trace: Trace) -> Setting:
        traffic = self.lengths if self.shape == "public" else SHAPES[self.shape].requests.means
        first = sum(time < 5 * MINUTE for time in trace.time_seconds) / (5 * MINUTE)
        entry = measured(*self.lengths, self.slo, self.bias)
        initial = math.ceil(first / rate_of(traffic, self.slo) / INITIAL_UTILIZATION)
        return Setting(
            min_replicas=LEAST,
            max_replicas=MOST,
            capacity=capacity_of([entry], None, Workload()),
            slo_ttft_seconds=self.slo[0],
            slo_tpot_seconds=self.slo[1],
            cold_start_seconds=self.start_seconds,
            model=MODEL,
            initial_replicas=min(MOST, max(LEAST, initial)),
            routing=self.routing,
            slo_percentile=ATTAINMENT,
        )


LONG_PROMPTS = Scenario(
    name="long prompts",
    shape="long prompts",
    lengths=SHAPES["long prompts"].requests.means,
    slo=LONG_PROMPTS_SLO,
    start_seconds=LONG_START_SECONDS,
)
SHORT = SHAPES["short requests"].requests.means
OTHER_LENGTHS = (512, 128)
METRICS_OUTAGE = Faults(metrics_outages=((30 * MINUTE, 35 * MINUTE),))
TRAINING = Scenario(name="training", shape="training")
SCENARIOS = {
    scenario.name: scenario
    for scenario in (
        Scenario(name="diurnal"),
        Scenario(name="step x8", shape="step x8"),
        Scenario(name="ramp", shape="ramp"),
        Scenario(name="spikes", shape="spikes"),
        Scenario(name="on/off", shape="on/off"),
        Scenario(name="pulses of 1.5 min", shape="pulses of 1.5 min"),
        Scenario(name="pulses of 6 min", shape="pulses of 6 min"),
        Scenario(name="longer prompts", shape="longer prompts"),
        Scenario(name="longer answers", shape="longer answers"),
        Scenario(name="short requests", shape="short requests", lengths=OTHER_LENGTHS),
        Scenario(name="short bursts", shape="short bursts", lengths=SHORT),
        Scenario(name="measured at other lengths", lengths=OTHER_LENGTHS),
        Scenario(name="capacity +30 %", bias=1.3),
        Scenario(name="capacity -30 %", bias=0.7),
        Scenario(name="slow start", start_seconds=SLOW_START_SECONDS),
        Scenario(name="metrics lost", faults=METRICS_OUTAGE),
        Scenario(name="pod hangs", faults=Faults(hanging=((60 * MINUTE, None),))),
        Scenario(name="diurnal least-loaded", routing="least-loaded"),
        Scenario(name="spikes least-loaded", shape="spikes", routing="least-loaded"),
        dataclasses.replace(LONG_PROMPTS, name="long prompts at once", start_seconds=0.0),
        LONG_PROMPTS,
        Scenario(name="public", shape="public", lengths=(2048, 28)),
        Scenario(name="public least-loaded", shape="public", lengths=(2048, 28), routing="least-loaded"),
    )
}
