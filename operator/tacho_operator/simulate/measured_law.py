"""The law that a measurement shows. What no figure tells by itself is found by simulating the measurement."""

from __future__ import annotations

import dataclasses
import math

from tacho_operator.api.types import Measurement
from tacho_operator.simulate.closed_loop import Level, closed_loop
from tacho_operator.simulate.engine_law import (
    LEAST_STEP_SECONDS,
    MOST_REQUESTS,
    UNKNOWN_KV_TOKENS,
    EngineLaw,
    LawError,
)

HALVINGS = 7
"""Of the range in which the lateness of first tokens is looked for."""
CORRECTIONS, EXACT = 3, 0.005
"""Of the step at a level, until its gap is that of the measurement."""
LONGEST_TOKENS, MOST_SEQS = 2**24, 2**16
"""Of a request with its answer, and requests at a time: no engine serves more, and nobody waits for it."""
LEAST_ROUNDS, REQUESTS = 2, 200
"""Of each stream, and about so many altogether: enough for a median."""


def from_measurement(entry: Measurement, *, max_num_seqs: int | None = None) -> EngineLaw:
    """The law that an entry of status.measurements shows. Raises LawError where it says too little.

    The gap between tokens at each level of the curve holds what the prompts of the others cost: with C
    streams, C - 1 prompts are computed while one is answered. That is taken out, as the steps of the law do
    not hold it; how much it is exactly, and how late first tokens are beside it, is found by simulating the
    level.
    """
    alone, shape = entry.single_stream, entry.workload
    prefill = _number(alone.prefill_tokens_per_second if alone else None)
    if shape is None or not shape.input_tokens or not shape.output_tokens or not prefill:
        raise LawError("the measurement lacks its workload or the speed of prompts")
    if (tokens := shape.input_tokens + shape.output_tokens) > LONGEST_TOKENS:
        raise LawError(f"requests of {tokens} tokens were measured; up to {LONGEST_TOKENS} can be simulated")
    if (max_num_seqs or 0) > MOST_SEQS:
        raise LawError(f"{max_num_seqs} requests at a time; up to {MOST_SEQS} can be simulated")
    # A level that is there twice was asked again.
    levels = {
        point.concurrency: point
        for point in entry.curve
        if point.steady is not False and _number(point.tpot_milliseconds_p50) is not None
    }
    gaps = {}
    if alone and (gap := _number(alone.tpot_milliseconds_p50)):
        gaps[1] = gap / 1000
    for concurrency, point in levels.items():
        if (gap := _number(point.tpot_milliseconds_p50)) is not None:
            others = (concurrency - 1) * shape.input_tokens / (shape.output_tokens * prefill)
            gaps[concurrency] = max(LEAST_STEP_SECONDS, gap / 1000 - others)
    if not gaps:
        raise LawError("the measurement has no level with a time per token")
    room = entry.kv_cache.capacity_tokens if entry.kv_cache else None
    law = EngineLaw(
        steps=tuple(sorted(gaps.items())),
        prefill_tokens_per_second=prefill,
        kv_cache_tokens=room or UNKNOWN_KV_TOKENS,
        max_num_seqs=max_num_seqs or MOST_REQUESTS,
        ttft_fixed_seconds=_fixed(entry, shape.input_tokens / prefill),
    )
    for concurrency in sorted(levels):
        first = _number(levels[concurrency].ttft_milliseconds_p50)
        gap = _number(levels[concurrency].tpot_milliseconds_p50)
        if first is None or gap is None or not 1 < concurrency <= law.max_num_seqs:
            continue
        law = _late(law, shape.input_tokens, shape.output_tokens, concurrency, first / 1000)
        exact = _stepped(law, shape.input_tokens, shape.output_tokens, concurrency, gap / 1000)
        if exact != law:
            late = dataclasses.replace(exact, ttft_late=exact.ttft_late[:-1])
            law = _late(late, shape.input_tokens, shape.output_tokens, concurrency, first / 1000)
    return law


def _fixed(entry: Measurement, prompt_seconds: float) -> float:
    """What a first token takes beside its prompt, alone."""
    alone = entry.single_stream
    overhead = _number(alone.ttft_overhead_milliseconds if alone else None) or 0.0
    first = _number(alone.ttft_milliseconds_p50 if alone else None)
    return max(0.0, overhead / 1000 if first is None else first / 1000 - prompt_seconds)


def _stepped(
    law: EngineLaw, input_tokens: int, output_tokens: int, concurrency: int, gap_seconds: float
) -> EngineLaw:
    """With the step at so many streams that gives the median gap that was measured there."""
    for _ in range(CORRECTIONS):
        found = _level(law, input_tokens, output_tokens, concurrency)
        off = gap_seconds - found.tpot_seconds.p50
        if abs(off) <= EXACT * gap_seconds:
            break
        steps = dict(law.steps)
        steps[concurrency] = max(LEAST_STEP_SECONDS, steps[concurrency] + off)
        law = dataclasses.replace(law, steps=tuple(sorted(steps.items())))
    return law


def _level(law: EngineLaw, input_tokens: int, output_tokens: int, concurrency: int) -> Level:
    """That level of the measurement, simulated."""
    return closed_loop(
        # There are no more at a time, and of each number the step is looked up beforehand.
        dataclasses.replace(law, max_num_seqs=concurrency),
        input_tokens=input_tokens,
        output_tokens=output_tokens,
        concurrency=concurrency,
        pause_seconds=law.step_seconds(concurrency),
        rounds=max(LEAST_ROUNDS, REQUESTS // concurrency),
    )


def _late(
    law: EngineLaw, input_tokens: int, output_tokens: int, concurrency: int, first_seconds: float
) -> EngineLaw:
    """With the lateness at so many streams that gives the median first token that was measured there; none
    where the law has it as late without."""

    def with_late(seconds: float) -> EngineLaw:
        return dataclasses.replace(law, ttft_late=(*law.ttft_late, (concurrency - 1, seconds)))

    def simulated(seconds: float) -> float:
        found = _level(with_late(seconds), input_tokens, output_tokens, concurrency)
        return found.ttft_seconds.p50

    low, high = 0.0, first_seconds
    if simulated(low) >= first_seconds:
        return with_late(low)
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        low, high = (middle, high) if simulated(middle) < first_seconds else (low, middle)
    return with_late((low + high) / 2)


def _number(text: str | None) -> float | None:
    value = None if text is None else float(text)
    return value if value is not None and math.isfinite(value) else None
