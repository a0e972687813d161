"""Plans the duration of each phase of a probe within the time left. Pure: every decision comes with its
reason as a message.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from tacho_contract.measurement import Workload
from tacho_runtime.probe.engine_under_test import LevelTerms
from tacho_runtime.probe.target import IN_SPEC, Advice

MARGIN_TOKENS = 8
"""Tokens kept free below the longest context, because engines count a token or two differently."""
SINGLE_STREAM_SHARE = 0.35
"""Share of the time left that is used for requests one at a time."""
SINGLE_STREAM_SECONDS = 7.0
LEVEL_SHARE_OF_ONE_REQUEST = 0.2
"""Largest share of the time left for one request alone; if it takes more, its output is shortened."""
MINIMUM_OUTPUT_TOKENS = 16
"""Fewest output tokens per request; with fewer the time per token is unknown."""
SHORTEST_WINDOW_SECONDS = 0.5
"""Shortest window of a level in seconds; a shorter one is not measured."""
RATE_SECONDS = 1.5
"""Shortest window of a level in seconds before a clear SLO verdict ends it: the rate needs this time."""
WINDOW_SECONDS = 4.5
"""Usual window of a level in seconds; about eighteen bins of 250 ms suffice for a rate."""
DESIRED_PERCENT = 5.0
"""Desired half width of the interval of the capacity's rate, in percent."""
LONGER = 1.5
"""Factor on the former window below which a longer window would add little."""
LONGEST_WINDOW_SECONDS = 20.0
"""Longest window in seconds: its rate is twice as certain as of WINDOW_SECONDS, and a longer one delays pods
for little.
"""
MAX_LEVELS = 16
"""Maximum number of levels with more than one stream."""
RAMP_REQUESTS = 1.5
"""Duration of the ramp as a multiple of one request's time: until every stream has its first token and
surplus ones have ended.
"""
RAMP_SHARE = 0.6
"""Largest share of the time left for the ramp."""
SETTLE_TIMES = 3.0
"""Duration of the settling after more streams, as a multiple of their time in a queue: its backlog is served
within it where fewer streams take two thirds of the rate.
"""
FOLLOW_REQUESTS = 1.5
COHORT_MARGIN = 1.2
"""Factor on the time in which a cohort is expected to be sent."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestShape:
    """Input and output tokens of the requests that a probe sends."""

    workload: Workload
    notes: tuple[str, ...] = ()
    """Why the request differs from the workload; empty: it does not."""
    time_was_short: bool = False


def fitting_shape(workload: Workload, max_model_len: int, advice: Advice = IN_SPEC) -> RequestShape:
    """The workload's request, scaled down in proportion where it does not fit the context length."""
    limit = max_model_len - MARGIN_TOKENS
    desired = workload.input_tokens + workload.output_tokens
    if max_model_len <= 0 or desired <= limit:
        return RequestShape(workload=workload)
    output_tokens = max(2, workload.output_tokens * limit // desired)
    fitted = Workload(input_tokens=max(1, limit - output_tokens), output_tokens=output_tokens)
    note = (
        f"the workload of {workload.input_tokens}+{workload.output_tokens} tokens is longer than the context "
        f"of {max_model_len}: measured with {fitted.input_tokens}+{fitted.output_tokens} ({advice.fit})"
    )
    return RequestShape(workload=fitted, notes=(note,))


def quartered(shape: RequestShape, timeout_seconds: float, advice: Advice = IN_SPEC) -> RequestShape:
    """``shape`` with a quarter of its prompt, after the whole prompt got no answer in time."""
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
    available_seconds = LEVEL_SHARE_OF_ONE_REQUEST * left_seconds - ttft_seconds
    affordable = int(available_seconds / tpot_seconds) if tpot_seconds > 0 else desired
    output_tokens = min(desired, max(affordable, MINIMUM_OUTPUT_TOKENS))
    if output_tokens == desired:
        return shape
    note = (
        f"measured with {output_tokens} output tokens instead of {desired}: at "
        f"{tpot_seconds * 1000:.0f} ms a token a whole request is too long for the "
        f"{max(0.0, left_seconds):.0f} s left ({advice.more_time})"
    )
    workload = Workload(input_tokens=shape.workload.input_tokens, output_tokens=output_tokens)
    return RequestShape(workload=workload, notes=(*shape.notes, note), time_was_short=True)


def single_stream_requests(*, request_seconds: float, left_seconds: float) -> int:
    """Number of requests to send one after the other: 2 to 40, for about seven seconds."""
    seconds = min(SINGLE_STREAM_SECONDS, SINGLE_STREAM_SHARE * left_seconds)
    return min(40, max(2, int(seconds / max(request_seconds, 1e-3))))


def input_sizes(
    input_tokens: int, max_model_len: int, *, ttft_seconds: float, left_seconds: float
) -> tuple[tuple[int, ...], int]:
    """(prompt lengths for the line TTFT = a + b x length, repetitions); the lengths span at most a factor of
    eight.

    TTFT is taken as proportional to length, which overestimates the short ones.
    """
    limit = max_model_len - MARGIN_TOKENS if max_model_len > 0 else 4 * input_tokens
    per_token_seconds = ttft_seconds / max(1, input_tokens)
    seconds = 0.15 * left_seconds
    for factor in (4, 2, 1):
        top = min(factor * input_tokens, limit)
        low = max(16, min(input_tokens, top) // 4)
        if low >= top:
            break
        sizes = tuple(sorted({low, round(math.sqrt(low * top)), top}))
        repetitions = min(6, int(seconds / max(1e-6, per_token_seconds * sum(sizes))))
        if repetitions >= 2 or factor == 1:
            return sizes, max(1, repetitions)
    return (), 0


@dataclass(frozen=True, slots=True, kw_only=True)
class FormerLevel:
    """What runs when a level begins."""

    streams: int = 0
    request_seconds: float = 0.0
    """Time until surplus streams have ended."""
    queue_seconds: float = 0.0
    """What a request waits in a queue, whose backlog would delay those of a level of fewer streams."""


def level_terms(
    *,
    streams: int,
    former: FormerLevel,
    prompt_seconds: float,
    request_seconds: float,
    cohort: int,
    left_seconds: float,
) -> LevelTerms | None:
    """How a level is measured after the ``former`` one: the window for a cohort, and the time to await it.

    Shorter where little time is left; None where too little is left for a result.
    """
    added = max(0, streams - former.streams)
    fewer = former.streams > streams
    ending = former.request_seconds if fewer else 0.0
    settle = min(SETTLE_TIMES * former.queue_seconds, request_seconds) if fewer else 0.0
    ramp = added * prompt_seconds + RAMP_REQUESTS * max(request_seconds, ending) + settle
    follow = FOLLOW_REQUESTS * request_seconds
    window = max(WINDOW_SECONDS, COHORT_MARGIN * cohort * request_seconds / streams)
    ramp = min(ramp, RAMP_SHARE * left_seconds)
    available_seconds = left_seconds - ramp
    if available_seconds < SHORTEST_WINDOW_SECONDS:
        return None
    window = min(window, max(SHORTEST_WINDOW_SECONDS, available_seconds - follow))
    return LevelTerms(
        streams=streams,
        gap_seconds=prompt_seconds,
        ramp_seconds=ramp,
        settle_seconds=settle,
        cohort=cohort,
        window_seconds=window,
        least_seconds=min(available_seconds, max(RATE_SECONDS, follow / 4)),
        follow_seconds=max(0.0, min(follow, available_seconds - window)),
    )


def longer_window(
    *, window_seconds: float, interval_percent: float | None, spare_seconds: float
) -> float | None:
    """Length in seconds of a window for a rate with a DESIRED_PERCENT interval, limited by the spare time.

    At most LONGEST_WINDOW_SECONDS: the interval shrinks only with the square root of the window. None: the
    rate is already known, or the time adds little.
    """
    if interval_percent is None or interval_percent <= DESIRED_PERCENT:
        return None
    desired_seconds = window_seconds * (interval_percent / DESIRED_PERCENT) ** 2
    found = min(desired_seconds, spare_seconds, LONGEST_WINDOW_SECONDS)
    return found if found >= LONGER * window_seconds else None
