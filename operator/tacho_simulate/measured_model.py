"""Fits a performance model to a measurement. Values that were not measured are fitted by simulation."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from functools import partial

from tacho_contract.measurement import CurvePoint, Fit, Workload
from tacho_operator.api.status.measurement import MeasurementEntry
from tacho_simulate.loops import FILLING, closed_loop, open_loop
from tacho_simulate.performance_model import (
    DEFAULT_MAX_NUM_SEQS,
    MIN_STEP_SECONDS,
    UNKNOWN_KV_TOKENS,
    PerformanceModel,
    PerformanceModelError,
)

HALVINGS = 7
"""Number of bisection steps to fit the additional TTFT of a level."""
CORRECTIONS, EXACT = 3, 0.005
"""Number of iterations, and relative tolerance, to fit the step time of a level."""
MAX_TOKENS, MAX_SEQS = 2**24, 2**16
"""Upper bounds of the tokens per request and of the concurrent requests, above those of any engine."""
MIN_OPEN_REQUESTS, NEAR = 20, 1.5
"""Fewest open-loop requests for a median, and the ratio of their concurrency to a level's within which that
level is used instead.
"""
OPEN_REQUESTS, FILLED, CROWDED = 400, 8, 4
"""Simulated open-loop requests: fewest in all, fewest per concurrent request, and the limit of concurrency as
a multiple of its mean.
"""
DRAWS = 20
"""Simulated draws of open arrivals. Chance explains what lies among them: near saturation, twice the TPOT."""
MIN_R2 = 0.95
"""R2 of the line of all levels from which a level is drawn to it."""
MIN_ROUNDS, REQUESTS = 2, 200
"""Fewest requests per stream, and in all streams, for a median."""


def from_measurement(entry: MeasurementEntry, *, max_num_seqs: int | None = None) -> PerformanceModel:
    """The performance model of an entry of status.measurements. Raises
    PerformanceModelError if data is missing.

    TPOT at each level of the curve includes prefill of other requests: with C streams, C - 1 prompts are
    computed per answer. This share is subtracted, as step times exclude prefill. The exact share and the
    additional TTFT are fitted by simulating the level. Open arrivals are a level of their mean concurrency,
    unless chance explains their TPOT. Of the TTFT alone, a step belongs to the engine: beside other requests
    it is theirs as well.
    A level's TPOT is as near to the straight line of all levels as its interval allows.
    ``max_num_seqs``: what the engine was planned for.
    """
    alone, shape = entry.single_stream, entry.workload
    prefill = alone.prefill_tokens_per_second if alone else None
    if shape is None or not shape.input_tokens or not shape.output_tokens or not prefill:
        raise PerformanceModelError("the measurement lacks its workload or the speed of prompts")
    if (tokens := shape.input_tokens + shape.output_tokens) > MAX_TOKENS:
        raise PerformanceModelError(
            f"requests of {tokens} tokens were measured; up to {MAX_TOKENS} can be simulated"
        )
    if (max_num_seqs or 0) > MAX_SEQS:
        raise PerformanceModelError(f"{max_num_seqs} requests at a time; up to {MAX_SEQS} can be simulated")
    # Of a level that was measured twice the last counts.
    levels = {
        point.concurrency: smoothed(point, entry.fit)
        for point in entry.curve
        if point.steady and point.tpot_milliseconds_p50 is not None
    }
    came = _open_arrivals(entry, levels)
    if came and (levels or (alone and alone.tpot_milliseconds_p50)):
        without = from_measurement(entry.model_copy(update={"latency": None}), max_num_seqs=max_num_seqs)
        if _by_chance(without, shape, *came.values()):
            return without
    levels |= came
    gaps = {}
    if alone and (gap := alone.tpot_milliseconds_p50):
        gaps[1] = gap / 1000
    for concurrency, point in levels.items():
        if (gap := point.tpot_milliseconds_p50) is not None:
            others = (concurrency - 1) * shape.input_tokens / (shape.output_tokens * prefill)
            gaps[concurrency] = max(MIN_STEP_SECONDS, gap / 1000 - others)
    if not gaps:
        raise PerformanceModelError("the measurement has no level with a time per token")
    kv_tokens = entry.kv_cache.capacity_tokens if entry.kv_cache else None
    idle = _idle_ttft(entry, shape.input_tokens / prefill)
    step = min(idle, gaps.get(1, 0.0))
    model = PerformanceModel(
        steps=tuple(sorted(gaps.items())),
        prefill_tokens_per_second=prefill,
        kv_cache_tokens=kv_tokens or UNKNOWN_KV_TOKENS,
        max_num_seqs=max(max_num_seqs or DEFAULT_MAX_NUM_SEQS, *map(_generating, levels.values()), 1),
        prompt_step_seconds=step,
        ttft_fixed_seconds=idle - step,
    )
    for concurrency in sorted(levels):
        point = levels[concurrency]
        simulate = partial(_simulate_open_loop if concurrency in came else _level, shape=shape, point=point)
        model = _fitted(model, simulate, point)
    return model


def smoothed(point: CurvePoint, line: Fit | None) -> CurvePoint:
    """The level with a TPOT nearer to the straight line of all levels, within its own 95 % interval.

    A window of seconds at few streams is less certain than all levels together: beside long loops on GPUs
    the median error of searches falls from 4.6 to 2.5 %.
    """
    gap, off = point.tpot_milliseconds_p50, point.ci_percent
    if point.concurrency < 2 or gap is None or off is None or line is None or (line.r2 or 0.0) < MIN_R2:
        return point
    if (alpha := line.alpha_milliseconds) is None or (beta := line.beta_microseconds) is None:
        return point
    farthest = gap * off / 100
    nearer = min(max(alpha + beta / 1000 * point.concurrency, gap - farthest), gap + farthest)
    return dataclasses.replace(point, tpot_milliseconds_p50=nearer)


def _open_arrivals(entry: MeasurementEntry, levels: Mapping[int, CurvePoint]) -> dict[int, CurvePoint]:
    """The probe's open arrivals by their mean concurrency (Little's law); empty where a level is near.

    A straight line between distant levels is too slow: small batches cost little more than one request.
    """
    found = entry.latency
    if found is None or not found.open_loop or (found.requests or 0) < MIN_OPEN_REQUESTS:
        return {}
    rate, whole = found.offered_requests_per_second, found.end_to_end_milliseconds_p50
    running = round((rate or 0.0) * (whole or 0.0) / 1000)
    if running < 2 or any(running / NEAR <= level <= NEAR * running for level in levels if level > 1):
        return {}
    point = CurvePoint(
        concurrency=running,
        requests=found.requests,
        requests_per_second=rate,
        ttft_milliseconds_p50=found.ttft_milliseconds_p50,
        tpot_milliseconds_p50=found.tpot_milliseconds_p50,
    )
    return {running: point}


def _by_chance(model: PerformanceModel, shape: Workload, point: CurvePoint) -> bool:
    """Whether as few arrivals may have had their TPOT at a replica of ``model``, which does not know them."""
    requests = round((point.requests or 0) * FILLING / (FILLING - 1))
    drawn = [
        _simulate_open_loop(model, shape=shape, point=point, requests=requests, seed=seed)[1]
        for seed in range(DRAWS)
    ]
    return min(drawn) <= (point.tpot_milliseconds_p50 or 0.0) / 1000 <= max(drawn)


def _generating(point: CurvePoint) -> int:
    """Number of requests that generated at the same time at that level, by Little's law; 0: unknown. It may
    exceed the planned number.
    """
    rate, gap = point.output_tokens_per_second, point.tpot_milliseconds_p50
    return min(point.concurrency, round(rate * gap / 1000)) if rate and gap else 0


def _idle_ttft(entry: MeasurementEntry, prompt_seconds: float) -> float:
    """TTFT of an idle replica without the time of the prompt's tokens, in seconds."""
    alone = entry.single_stream
    overhead = (alone.ttft_overhead_milliseconds if alone else None) or 0.0
    first = alone.ttft_milliseconds_p50 if alone else None
    return max(0.0, overhead / 1000 if first is None else first / 1000 - prompt_seconds)


Simulate = Callable[[PerformanceModel], tuple[float, float]]
"""Function that simulates a level with a model: (median TTFT, median TPOT) in seconds."""


def _fitted(model: PerformanceModel, simulate: Simulate, point: CurvePoint) -> PerformanceModel:
    """The model with the step time and the additional TTFT that reproduce the medians of a level."""
    first, gap, concurrency = point.ttft_milliseconds_p50, point.tpot_milliseconds_p50, point.concurrency
    if first is None or gap is None or not 1 < concurrency <= model.max_num_seqs:
        return model
    model = _with_added_ttft(model, simulate, concurrency, first / 1000)
    exact = _stepped(model, simulate, concurrency, gap / 1000)
    if exact == model:
        return model
    late = dataclasses.replace(exact, ttft_late=exact.ttft_late[:-1])
    return _with_added_ttft(late, simulate, concurrency, first / 1000)


def _stepped(
    model: PerformanceModel, simulate: Simulate, concurrency: int, gap_seconds: float
) -> PerformanceModel:
    """The model with the step time at ``concurrency`` that reproduces the measured median TPOT."""
    for _ in range(CORRECTIONS):
        off = gap_seconds - simulate(model)[1]
        if abs(off) <= EXACT * gap_seconds:
            break
        steps = dict(model.steps)
        steps[concurrency] = max(MIN_STEP_SECONDS, steps[concurrency] + off)
        model = dataclasses.replace(model, steps=tuple(sorted(steps.items())))
    return model


def _level(model: PerformanceModel, *, shape: Workload, point: CurvePoint) -> tuple[float, float]:
    concurrency = point.concurrency
    found = closed_loop(
        # Limits the table of step times to the level's concurrency.
        dataclasses.replace(model, max_num_seqs=concurrency),
        input_tokens=shape.input_tokens,
        output_tokens=shape.output_tokens,
        concurrency=concurrency,
        pause_seconds=model.step_seconds(concurrency),
        rounds=max(MIN_ROUNDS, REQUESTS // concurrency),
    )
    return found.ttft_seconds.p50, found.tpot_seconds.p50


def _simulate_open_loop(
    model: PerformanceModel, *, shape: Workload, point: CurvePoint, requests: int = 0, seed: int = 0
) -> tuple[float, float]:
    """``requests``: 0 for as many as a median needs."""
    found = open_loop(
        dataclasses.replace(model, max_num_seqs=min(model.max_num_seqs, CROWDED * point.concurrency)),
        point.requests_per_second or 0.0,
        input_tokens=shape.input_tokens,
        output_tokens=shape.output_tokens,
        requests=requests or max(OPEN_REQUESTS, FILLED * point.concurrency),
        seed=seed,
    )
    return found.ttft, found.tpot


def _with_added_ttft(
    model: PerformanceModel, simulate: Simulate, concurrency: int, first_seconds: float
) -> PerformanceModel:
    """The model with the additional TTFT at ``concurrency`` that reproduces the measured median TTFT;
    0 if the simulated TTFT is not lower."""

    def with_late(seconds: float) -> PerformanceModel:
        return dataclasses.replace(model, ttft_late=(*model.ttft_late, (concurrency - 1, seconds)))

    low, high = 0.0, first_seconds
    if simulate(with_late(low))[0] >= first_seconds:
        return with_late(low)
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        low, high = (middle, high) if simulate(with_late(middle))[0] < first_seconds else (low, middle)
    return with_late((low + high) / 2)
