"""Fits a performance model to a measurement. Values that were not measured are fitted by simulation."""

from __future__ import annotations

import dataclasses

from tacho_contract.measurement import CurvePoint, Workload
from tacho_operator.api.status.measurement import MeasurementEntry
from tacho_simulate.closed_loop import Level, closed_loop
from tacho_simulate.performance_model import (
    DEFAULT_MAX_NUM_SEQS,
    MIN_STEP_SECONDS,
    UNKNOWN_KV_TOKENS,
    PerformanceModel,
    PerformanceModelError,
)

HALVINGS = 7
"""Bisections of the additional TTFT per level."""
CORRECTIONS, EXACT = 3, 0.005
"""Iterations and relative tolerance to fit the step time of a level."""
MAX_TOKENS, MAX_SEQS = 2**24, 2**16
"""Bounds of tokens per request and of concurrent requests, above those of any engine."""
MIN_ROUNDS, REQUESTS = 2, 200
"""Requests per stream, and in all streams: enough for a median."""


def from_measurement(entry: MeasurementEntry, *, max_num_seqs: int | None = None) -> PerformanceModel:
    """The performance model of an entry of status.measurements. Raises
    PerformanceModelError if data is missing.

    TPOT at each level of the curve includes prefill of other requests: with C streams, C - 1 prompts are
    computed per answer. This share is subtracted, as step times exclude prefill. The exact share and the
    additional TTFT are fitted by simulating the level. ``max_num_seqs``: what the engine was planned for.
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
        point.concurrency: point
        for point in entry.curve
        if point.steady and point.tpot_milliseconds_p50 is not None
    }
    gaps = {}
    if alone and (gap := alone.tpot_milliseconds_p50):
        gaps[1] = gap / 1000
    for concurrency, point in levels.items():
        if (gap := point.tpot_milliseconds_p50) is not None:
            others = (concurrency - 1) * shape.input_tokens / (shape.output_tokens * prefill)
            gaps[concurrency] = max(MIN_STEP_SECONDS, gap / 1000 - others)
    if not gaps:
        raise PerformanceModelError("the measurement has no level with a time per token")
    room = entry.kv_cache.capacity_tokens if entry.kv_cache else None
    model = PerformanceModel(
        steps=tuple(sorted(gaps.items())),
        prefill_tokens_per_second=prefill,
        kv_cache_tokens=room or UNKNOWN_KV_TOKENS,
        max_num_seqs=max(max_num_seqs or DEFAULT_MAX_NUM_SEQS, *map(_generating, levels.values()), 1),
        ttft_fixed_seconds=_fixed(entry, shape.input_tokens / prefill),
    )
    for concurrency in sorted(levels):
        first = levels[concurrency].ttft_milliseconds_p50
        gap = levels[concurrency].tpot_milliseconds_p50
        if first is None or gap is None or not 1 < concurrency <= model.max_num_seqs:
            continue
        model = _late(model, shape, concurrency, first / 1000)
        exact = _stepped(model, shape, concurrency, gap / 1000)
        if exact != model:
            late = dataclasses.replace(exact, ttft_late=exact.ttft_late[:-1])
            model = _late(late, shape, concurrency, first / 1000)
    return model


def _generating(point: CurvePoint) -> int:
    """Requests that generated at a time at that level, by Little's law; 0: unknown. An engine may run more
    than it was planned for."""
    rate, gap = point.output_tokens_per_second, point.tpot_milliseconds_p50
    return min(point.concurrency, round(rate * gap / 1000)) if rate and gap else 0


def _fixed(entry: MeasurementEntry, prompt_seconds: float) -> float:
    """TTFT of an idle replica without the prompt, in seconds."""
    alone = entry.single_stream
    overhead = (alone.ttft_overhead_milliseconds if alone else None) or 0.0
    first = alone.ttft_milliseconds_p50 if alone else None
    return max(0.0, overhead / 1000 if first is None else first / 1000 - prompt_seconds)


def _stepped(
    model: PerformanceModel, shape: Workload, concurrency: int, gap_seconds: float
) -> PerformanceModel:
    """The model with the step time at ``concurrency`` that reproduces the measured median TPOT."""
    for _ in range(CORRECTIONS):
        found = _level(model, shape, concurrency)
        off = gap_seconds - found.tpot_seconds.p50
        if abs(off) <= EXACT * gap_seconds:
            break
        steps = dict(model.steps)
        steps[concurrency] = max(MIN_STEP_SECONDS, steps[concurrency] + off)
        model = dataclasses.replace(model, steps=tuple(sorted(steps.items())))
    return model


def _level(model: PerformanceModel, shape: Workload, concurrency: int) -> Level:
    """Simulates one level of the measurement."""
    return closed_loop(
        # Limits the table of step times to the level's concurrency.
        dataclasses.replace(model, max_num_seqs=concurrency),
        input_tokens=shape.input_tokens,
        output_tokens=shape.output_tokens,
        concurrency=concurrency,
        pause_seconds=model.step_seconds(concurrency),
        rounds=max(MIN_ROUNDS, REQUESTS // concurrency),
    )


def _late(
    model: PerformanceModel, shape: Workload, concurrency: int, first_seconds: float
) -> PerformanceModel:
    """The model with the additional TTFT at ``concurrency`` that reproduces the measured median TTFT;
    0 if the simulated TTFT is not lower."""

    def with_late(seconds: float) -> PerformanceModel:
        return dataclasses.replace(model, ttft_late=(*model.ttft_late, (concurrency - 1, seconds)))

    def simulated(seconds: float) -> float:
        return _level(with_late(seconds), shape, concurrency).ttft_seconds.p50

    low, high = 0.0, first_seconds
    if simulated(low) >= first_seconds:
        return with_late(low)
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        low, high = (middle, high) if simulated(middle) < first_seconds else (low, middle)
    return with_late((low + high) / 2)
