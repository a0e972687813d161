"""Finds reported values that no engine can have: absurdly fast, or in contradiction to each other.

Source: Little's law (Operations Research 9/3): concurrent requests = requests per second x seconds per
request.
"""

from __future__ import annotations

from collections.abc import Iterator

from tacho_contract.measurement import CurvePoint, Measurement, OpenLoop, SingleStream

MOST_TOKENS_PER_STREAM = 100_000.0
"""Highest plausible output tokens per second of one stream: every decoding step of a GPU takes far longer
than 10 us.
"""
LEAST_TTFT_MILLISECONDS = 0.01
"""Lowest plausible time to first token in ms: a request over a local socket alone takes longer."""
MARGIN = 4.0
"""Factor by which a value may exceed Little's law. Medians differ from means, and windows cut requests: real
engines reached 2.3.
"""
FASTER_TOGETHER = 4.0
"""Highest plausible ratio of one stream's speed among others to its speed alone. Above 1, as the speed alone
may have been low by chance.
"""


def contradictions(measurement: Measurement) -> Iterator[str]:
    """One message clause for each contradiction among the figures; none for unknown figures."""
    single = measurement.single_stream
    parts: tuple[SingleStream | OpenLoop | CurvePoint | None, ...] = (
        single,
        measurement.open_loop,
        *measurement.curve,
    )
    for part in parts:
        ttft = part.ttft_milliseconds_p50 if part else None
        if ttft is not None and ttft < LEAST_TTFT_MILLISECONDS:
            yield f"no engine sends a first token within {ttft:.3g} ms"
    if single is not None:
        yield from _of_single_stream(single)
    for level in measurement.curve:
        yield from _of_level(level, single)
    yield from _beyond_levels(measurement)


def _of_single_stream(single: SingleStream) -> Iterator[str]:
    rate, gap = single.decode_tokens_per_second or 0.0, single.tpot_milliseconds_p50 or 0.0
    moving = 1 - (single.stalled_percent or 0.0) / 100
    if rate > MOST_TOKENS_PER_STREAM:
        yield f"no engine gives one stream {rate:.3g} tokens/s"
    elif rate * gap * moving > MARGIN * 1000:
        yield f"{rate:.3g} tokens/s of one stream contradict {gap:.3g} ms per token"


def _of_level(level: CurvePoint, single: SingleStream | None) -> Iterator[str]:
    streams, rate = level.concurrency, level.output_tokens_per_second or 0.0
    requests = level.requests_per_second or 0.0
    gap, whole = level.tpot_milliseconds_p50 or 0.0, level.end_to_end_milliseconds_p50 or 0.0
    alone = single.decode_tokens_per_second if single else None
    if rate > MOST_TOKENS_PER_STREAM * streams:
        yield f"no engine gives {streams} streams {rate:.3g} tokens/s"
    elif rate * gap > MARGIN * 1000 * streams:
        yield f"{rate:.3g} tokens/s at {streams} streams contradict {gap:.3g} ms per token"
    elif alone and rate > FASTER_TOGETHER * alone * streams:
        yield f"{rate:.3g} tokens/s at {streams} streams contradict {alone:.3g} tokens/s of one alone"
    if requests * whole > MARGIN * 1000 * streams:
        yield f"{requests:.3g} requests/s at {streams} streams contradict {whole:.3g} ms per request"


def _beyond_levels(measurement: Measurement) -> Iterator[str]:
    """Clauses for a capacity or a saturation at a concurrency or speed that no level of the measurement
    has.
    """
    levels = [item.concurrency for item in measurement.curve]
    fastest = max((item.output_tokens_per_second or 0.0 for item in measurement.curve), default=0.0)
    for name, part in (("capacity", measurement.capacity), ("saturation", measurement.saturation)):
        streams = part.concurrency if part else None
        rate = (part.output_tokens_per_second if part else None) or 0.0
        if levels and streams is not None and streams > max(levels):
            yield f"the {name} of {streams} streams is above every measured level"
        if rate > (MARGIN * fastest if fastest else MOST_TOKENS_PER_STREAM * max(1, streams or 1)):
            yield f"the {name} of {rate:.3g} tokens/s is above every measured level"
