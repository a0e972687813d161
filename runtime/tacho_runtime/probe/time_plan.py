"""Plans the measurements for the time left. Pure: every decision comes with its reason as a message."""

from __future__ import annotations

import math
from dataclasses import dataclass

from tacho_contract.measurement import Workload
from tacho_runtime.probe.target import IN_SPEC, Advice

MARGIN_TOKENS = 8
"""Tokens kept free below the longest context, because engines count a token or two differently."""
SINGLE_STREAM_SHARE = 0.35
"""Share of the time left that is used for requests one at a time."""
SINGLE_STREAM_SECONDS = 7.0
LEVEL_SHARE_OF_ONE_REQUEST = 0.2
"""One request alone may take this share of the time left, or its output is shortened."""
MINIMUM_OUTPUT_TOKENS = 16
"""Fewer tell nothing about the time per token."""
SHORTEST_WINDOW_SECONDS = 1.5
WINDOW_SECONDS = 4.5
"""Long enough at a level: about eighteen bins of 250 ms."""
MAX_LEVELS = 12
"""Maximum number of levels with more than one stream."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestShape:
    """The request that is measured."""

    workload: Workload
    notes: tuple[str, ...] = ()
    """Why it is not the workload's own."""
    time_was_short: bool = False


def fitting_shape(workload: Workload, max_model_len: int, advice: Advice = IN_SPEC) -> RequestShape:
    """The workload, scaled down in proportion where it does not fit the context."""
    room = max_model_len - MARGIN_TOKENS
    desired = workload.input_tokens + workload.output_tokens
    if max_model_len <= 0 or desired <= room:
        return RequestShape(workload=workload)
    output_tokens = max(2, workload.output_tokens * room // desired)
    fitted = Workload(input_tokens=max(1, room - output_tokens), output_tokens=output_tokens)
    note = (
        f"the workload of {workload.input_tokens}+{workload.output_tokens} tokens is longer than the context "
        f"of {max_model_len}: measured with {fitted.input_tokens}+{fitted.output_tokens} ({advice.fit})"
    )
    return RequestShape(workload=fitted, notes=(note,))


def quartered(shape: RequestShape, timeout_seconds: float, advice: Advice = IN_SPEC) -> RequestShape:
    """``shape`` with a quarter of its prompt, which got no answer in time."""
    desired = shape.workload.input_tokens
    note = (
        f"measured with {desired // 4} input tokens instead of {desired}: that prompt got no answer within "
        f"{timeout_seconds:.0f} s ({advice.more_time})"
    )
    workload = Workload(input_tokens=desired // 4, output_tokens=shape.workload.output_tokens)
    return RequestShape(workload=workload, notes=(*shape.notes, note), time_was_short=True)


def affordable_shape(
    shape: RequestShape,
    *,
    ttft_seconds: float,
    tpot_seconds: float,
    left_seconds: float,
    advice: Advice = IN_SPEC,
) -> RequestShape:
    """``shape`` with the number of output tokens that one request can generate in its share of the time
    left."""
    desired = shape.workload.output_tokens
    room_seconds = LEVEL_SHARE_OF_ONE_REQUEST * left_seconds - ttft_seconds
    affordable = int(room_seconds / tpot_seconds) if tpot_seconds > 0 else desired
    output_tokens = min(desired, max(affordable, MINIMUM_OUTPUT_TOKENS))
    if output_tokens == desired:
        return shape
    note = (
        f"measured with {output_tokens} output tokens instead of {desired}: at "
        f"{tpot_seconds * 1000:.0f} ms a token a whole request is too long for the {left_seconds:.0f} s "
        f"left ({advice.more_time})"
    )
    workload = Workload(input_tokens=shape.workload.input_tokens, output_tokens=output_tokens)
    return RequestShape(workload=workload, notes=(*shape.notes, note), time_was_short=True)


def single_stream_requests(*, request_seconds: float, left_seconds: float) -> int:
    """How many requests to send one after the other: 2 to 40, about seven seconds' worth."""
    seconds = min(SINGLE_STREAM_SECONDS, SINGLE_STREAM_SHARE * left_seconds)
    return min(40, max(2, int(seconds / max(request_seconds, 1e-3))))


def input_sizes(
    input_tokens: int, max_model_len: int, *, ttft_seconds: float, left_seconds: float
) -> tuple[tuple[int, ...], int]:
    """(prompt lengths for the line TTFT = a + b x length, repetitions), largest three octaves apart.

    Time to first token is taken as proportional to length, which overestimates the short ones.
    """
    room = max_model_len - MARGIN_TOKENS if max_model_len > 0 else 4 * input_tokens
    per_token_seconds = ttft_seconds / max(1, input_tokens)
    seconds = 0.15 * left_seconds
    for factor in (4, 2, 1):
        top = min(factor * input_tokens, room)
        low = max(16, min(input_tokens, top) // 4)
        if low >= top:
            break
        sizes = tuple(sorted({low, round(math.sqrt(low * top)), top}))
        repetitions = min(6, int(seconds / max(1e-6, per_token_seconds * sum(sizes))))
        if repetitions >= 2 or factor == 1:
            return sizes, max(1, repetitions)
    return (), 0


def affordable_top(top: int, *, left_seconds: float, ttft_seconds: float) -> int:
    """The highest level whose first prompts, as if processed one after the other, leave half of the time."""
    while top > 1 and top * ttft_seconds > left_seconds / 2:
        top = top * 2 // 3
    return top if left_seconds >= 1.0 else 1


def level_seconds(
    *,
    concurrency: int,
    left_seconds: float,
    ttft_seconds: float,
    request_seconds: float,
    shortest_seconds: float = SHORTEST_WINDOW_SECONDS,
) -> tuple[float, float]:
    """(how long a level may take, how long its window should be): its prompts, taken as processed one after
    the other but for no more than a quarter of the time left, then more than a request's time or
    WINDOW_SECONDS. Zeros: the window would be shorter than ``shortest_seconds`` and tell nothing."""
    prompts = min(concurrency * ttft_seconds, left_seconds / 4)
    window = max(WINDOW_SECONDS, min(1.5 * request_seconds, left_seconds / 3))
    room = left_seconds - prompts
    window = min(window, room)
    return (prompts + window, window) if room >= shortest_seconds else (0.0, 0.0)
