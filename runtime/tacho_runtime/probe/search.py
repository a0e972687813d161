"""What to measure with the time there is. Pure: every choice comes with its reason in words."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass

from tacho_contract.measurement import Workload

MARGIN_TOKENS = 8
"""Kept free below the longest context: engines differ by a token or two in what they count."""
SINGLE_STREAM_SHARE = 0.35
"""Of the time left, for requests one at a time."""
LEVEL_SHARE_OF_ONE_REQUEST = 0.2
"""One request alone may take this share of the time left, or its output is shortened."""
MINIMUM_OUTPUT_TOKENS = 16
"""Fewer tell nothing about the time per token."""
WINDOW_SECONDS = 5.0
"""Long enough at a level: about twenty bins of 250 ms."""
MOST_LEVELS = 4
"""Above one stream."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """The request that is measured; ``note`` says why it is not the workload's own, or is ""."""

    workload: Workload
    note: str = ""
    time_was_short: bool = False


def fitting_shape(workload: Workload, max_model_len: int) -> Shape:
    """The workload, scaled down in proportion where it does not fit the context."""
    room = max_model_len - MARGIN_TOKENS
    wanted = workload.input_tokens + workload.output_tokens
    if max_model_len <= 0 or wanted <= room:
        return Shape(workload=workload)
    output_tokens = max(2, workload.output_tokens * room // wanted)
    fitted = Workload(input_tokens=max(1, room - output_tokens), output_tokens=output_tokens)
    note = (
        f"the workload of {workload.input_tokens}+{workload.output_tokens} tokens is longer than the context "
        f"of {max_model_len}: measured with {fitted.input_tokens}+{fitted.output_tokens}; "
        "raise context.maxModelLen or lower workload"
    )
    return Shape(workload=fitted, note=note)


def affordable_shape(shape: Shape, *, ttft_seconds: float, tpot_seconds: float, left_seconds: float) -> Shape:
    """``shape`` with as many output tokens as one request can bring in its share of the time left."""
    wanted = shape.workload.output_tokens
    room_seconds = LEVEL_SHARE_OF_ONE_REQUEST * left_seconds - ttft_seconds
    affordable = int(room_seconds / tpot_seconds) if tpot_seconds > 0 else wanted
    output_tokens = min(wanted, max(affordable, MINIMUM_OUTPUT_TOKENS))
    if output_tokens == wanted:
        return shape
    note = (
        f"measured with {output_tokens} output tokens instead of {wanted}: at {tpot_seconds * 1000:.0f} ms a "
        f"token a whole request is too long for the {left_seconds:.0f} s left; raise probe.budgetSeconds"
    )
    workload = Workload(input_tokens=shape.workload.input_tokens, output_tokens=output_tokens)
    notes = "; ".join(part for part in (shape.note, note) if part)
    return Shape(workload=workload, note=notes, time_was_short=True)


def single_stream_requests(*, request_seconds: float, left_seconds: float) -> int:
    """How many requests to send one after the other: 2 to 10, about six seconds' worth."""
    seconds = min(6.0, SINGLE_STREAM_SHARE * left_seconds)
    return min(10, max(2, int(seconds / max(request_seconds, 1e-3))))


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


@dataclass(frozen=True, slots=True, kw_only=True)
class Levels:
    """Concurrency levels above one, in the order to measure them, and the time for each."""

    levels: tuple[int, ...]
    seconds_each: float
    reason: str


def geometric_levels(top: int, count: int) -> tuple[int, ...]:
    """``top`` first, then the middles of the widest gaps by ratio between 1 and ``top``, ``count`` in all."""
    if top <= 1 or count <= 0:
        return ()
    known, order = [1, top], [top]
    while len(order) < count:
        gaps = [(high / low, low, high) for low, high in itertools.pairwise(known) if high - low > 1]
        if not gaps:
            break
        _, low, high = max(gaps)
        middle = min(high - 1, max(low + 1, round(math.sqrt(low * high))))
        order.append(middle)
        known = sorted([*known, middle])
    return tuple(order)


def levels_for(
    concurrency: int, *, left_seconds: float, ttft_seconds: float, request_seconds: float
) -> Levels:
    """Which levels above one fit ``left_seconds``.

    A level starts with all its prompts at once, taken here as processed one after the other, and then wants
    a window of one request's time or WINDOW_SECONDS. The top comes first, because capacity is most often
    there; when its prompts alone would take half the time, a lower top is used.
    """
    if concurrency <= 1:
        return Levels(levels=(), seconds_each=0.0, reason="the plan serves one request at a time")
    top = concurrency
    while top > 1 and top * ttft_seconds > left_seconds / 2:
        top = top * 2 // 3
    if top <= 1 or left_seconds < 1.0:
        reason = f"no level above one fits the {max(0.0, left_seconds):.0f} s left"
        return Levels(levels=(), seconds_each=0.0, reason=reason)
    need = top * ttft_seconds + max(
        min(2 * request_seconds, left_seconds / 2), min(WINDOW_SECONDS, left_seconds / 4)
    )
    count = min(MOST_LEVELS, max(1, int(left_seconds / need)))
    levels = geometric_levels(top, count)
    cut = "" if top == concurrency else f"; {concurrency} would spend the time on its first prompts alone"
    reason = f"{len(levels)} levels of {left_seconds / len(levels):.1f} s{cut}"
    return Levels(levels=levels, seconds_each=left_seconds / len(levels), reason=reason)


def window_target_seconds(service_seconds: float | None, *, most_seconds: float) -> float:
    """How long to count at a level: whole request times, so that as many prompts as tokens are in it.

    ``service_seconds``: a full request's time at this level, None while none has ended.
    """
    if service_seconds is None or service_seconds <= 0 or service_seconds > most_seconds:
        return most_seconds
    wanted = math.ceil(min(WINDOW_SECONDS, most_seconds) / service_seconds) * service_seconds
    return wanted if wanted <= most_seconds else math.floor(most_seconds / service_seconds) * service_seconds


def first_output_tokens(index: int, concurrency: int, output_tokens: int, uniform: float) -> int:
    """What stream ``index`` asks for first: a residual life, so that the level is steady from its start.

    Stratified: one draw (``uniform`` in [0, 1)) in each of ``concurrency`` equal parts of [1, output_tokens].
    """
    return 1 + min(output_tokens - 1, int((index + uniform) / concurrency * output_tokens))
