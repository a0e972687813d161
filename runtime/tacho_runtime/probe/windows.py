"""From the streams of one concurrency level to a point of the curve. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from random import Random

from tacho_contract.measurement import CurvePoint
from tacho_runtime.probe.asking.streams import Stream
from tacho_runtime.probe.statistics import bootstrap_ratio_percent, drifts, median, percentile

NS = 1e9
BIN_SECONDS = 0.25
FEWEST_REQUESTS_TO_DRIFT = 4
PARTIAL_TOKENS = 8
"""A cut stream's time per token counts from this many tokens on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Level:
    """What the closed loop brought at one level: all streams, cut ones too, and the window to count in."""

    concurrency: int
    start_ns: int
    end_ns: int
    output_tokens: int
    streams: tuple[Stream, ...]
    """In the order they were sent."""
    residual: int
    """How many of the first streams asked for fewer tokens (residual life)."""
    started: bool = True
    """Whether every stream had its first token before the window opened, and none was lost later."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LevelResult:
    point: CurvePoint
    ci_percent: float | None
    notes: tuple[str, ...] = ()


def tokens_between(streams: Sequence[Stream], start_ns: int, end_ns: int) -> float:
    """Tokens whose chunk came in (start, end], whether or not their request ended."""
    return sum(count for stream in streams for stamp, count in stream.tokens if start_ns < stamp <= end_ns)


def binned(streams: Sequence[Stream], start_ns: int, end_ns: int, bins: int) -> list[float]:
    counts = [0.0] * bins
    width = (end_ns - start_ns) / bins
    for stream in streams:
        for stamp, count in stream.tokens:
            if start_ns < stamp <= end_ns:
                counts[min(bins - 1, int((stamp - start_ns) / width))] += count
    return counts


def _rates(level: Level, full: Sequence[tuple[float, float]]) -> list[float]:
    """What must not drift: tokens in bins of time; for one stream, whose prompts leave bins empty, the rates
    of its requests."""
    if level.concurrency == 1:
        return [tokens / took for tokens, took in full] if len(full) >= FEWEST_REQUESTS_TO_DRIFT else []
    bins = max(8, int((level.end_ns - level.start_ns) / NS / BIN_SECONDS))
    return binned(level.streams, level.start_ns, level.end_ns, bins)


def _first_tokens(level: Level) -> tuple[list[float], str]:
    """TTFTs of requests whose first token came in the window; the burst at the start is the way out."""
    inside: list[float] = []
    outside: list[float] = []
    for stream in level.streams:
        ttft = stream.ttft_milliseconds
        if ttft is not None:
            came_ns = stream.tokens[0][0]
            (inside if level.start_ns < came_ns <= level.end_ns else outside).append(ttft)
    if inside:
        return inside, ""
    return outside, (
        f"at {level.concurrency} streams no request began inside the window, "
        "so TTFT is that of all starting at once"
    )


def _per_token(level: Level) -> list[float]:
    """TPOTs of requests with tokens in the window: whole ones where there are any, else cut ones."""
    seen = [
        stream
        for stream in level.streams
        if stream.tokens and stream.tokens[-1][0] > level.start_ns and stream.output_tokens >= PARTIAL_TOKENS
    ]
    whole = [stream for stream in seen if stream.finish_reason]
    values = [stream.tpot_milliseconds for stream in (whole or seen)]
    return [value for value in values if value is not None]


def evaluate(level: Level, rng: Random) -> LevelResult | None:
    """The curve's point; None when too little came to say anything.

    Requests per second are tokens per second over the fixed output length: counting whole requests in a
    window of a few would round them. End to end is TTFT + (n - 1) x TPOT while no full request has ended.
    """
    seconds = (level.end_ns - level.start_ns) / NS
    ttfts, note = _first_tokens(level)
    tpots = _per_token(level)
    if seconds <= 0 or not ttfts or not tpots:
        return None
    rate = tokens_between(level.streams, level.start_ns, level.end_ns) / seconds
    if rate <= 0:
        return None
    full = [
        (stream.output_tokens, stream.end_to_end_milliseconds)
        for stream in level.streams[level.residual :]
        if stream.end_to_end_milliseconds is not None
    ]
    ended = sum(
        1
        for stream in level.streams
        if stream.finish_reason and level.start_ns < stream.tokens[-1][0] <= level.end_ns
    )
    per_request = sum(tokens for tokens, _ in full) / len(full) if full else level.output_tokens
    tpot = median(tpots)
    steady = level.started and not drifts(_rates(level, full))
    point = CurvePoint(
        concurrency=level.concurrency,
        window_seconds=seconds,
        requests=ended,
        requests_per_second=rate / max(1.0, per_request),
        output_tokens_per_second=rate,
        ttft_milliseconds_p50=median(ttfts),
        ttft_milliseconds_p95=percentile(ttfts, 95),
        tpot_milliseconds_p50=tpot,
        tpot_milliseconds_p95=percentile(tpots, 95),
        end_to_end_milliseconds_p50=(
            median([took for _, took in full]) if full else median(ttfts) + (level.output_tokens - 1) * tpot
        ),
        steady=steady,
    )
    return LevelResult(
        point=point, ci_percent=bootstrap_ratio_percent(full, rng), notes=(note,) if note else ()
    )
