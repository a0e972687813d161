"""How fast one stream decodes, told apart from the pauses in which the engine did nothing for it. Pure."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

from tacho_runtime.probe.asking.streams import Stream
from tacho_runtime.probe.statistics import (
    founded_percentile,
    median,
    ratio_interval_percent,
    t_975,
)

NS = 1e9
MERGED_SHARE = 0.1
"""Chunks closer than this share of the mean gap came from one step, split on their way."""
STALL_TIMES = 4.0
"""A gap so many times the usual one is a stall: no step of an undisturbed engine takes that long."""
LONG_STALL_TIMES, LONG_STALL_SECONDS = 2.5, 0.05
"""The same of one that is longer than the usual one by so much: four times the usual gap of a slow engine is
longer than many a pause."""
STALL_DEVIATIONS = 10.0
"""And longer by so many standard deviations, by the median of absolute deviations: the steps of some engines
differ much among themselves."""
STALL_SECONDS = 0.004
"""And it is longer than the usual one by this much: below it lies the scheduler of a busy machine."""
BATCHES = 16
FLOOR_PERCENT = 0.3
"""No interval is narrower: stamps, scheduling and rounding are not seen by repetition."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Decode:
    tokens_per_second: float
    """Stalls left out."""
    ci_percent: float | None
    stalls: int
    stalled_percent: float
    itl_milliseconds_p50: float | None
    itl_milliseconds_p95: float | None


def gaps_of(stream: Stream) -> list[tuple[float, float]]:
    """(seconds since the chunk before, tokens of the chunk) after the first step of a stream."""
    if len(stream.tokens) < 2:
        return []
    whole = (stream.tokens[-1][0] - stream.tokens[0][0]) / NS / (len(stream.tokens) - 1)
    found: list[tuple[float, float]] = []
    before_ns = stream.tokens[0][0]
    for stamp_ns, count in stream.tokens[1:]:
        gap = (stamp_ns - before_ns) / NS
        before_ns = stamp_ns
        if gap >= MERGED_SHARE * whole:
            found.append((gap, count))
        elif found:
            last_gap, last_count = found[-1]
            found[-1] = (last_gap + gap, last_count + count)
        # Else it came with the first chunk, in no time of its own.
    return found


def decode_of(streams: Sequence[Stream]) -> Decode | None:
    """The decode rate of requests sent one after the other; None where none had two chunks.

    A stall takes its tokens with it, so that what is left is the rate of all other steps. The interval is the
    wider of two: of batches of consecutive gaps, and of the requests' own rates.
    """
    by_request = [gaps for stream in streams if (gaps := gaps_of(stream))]
    every = [gap for gaps in by_request for gap in gaps]
    if not every or math.fsum(seconds for seconds, _ in every) <= 0:
        return None
    usual = median([seconds for seconds, _ in every])
    deviation = 1.4826 * median([abs(seconds - usual) for seconds, _ in every])
    longer = min(STALL_TIMES * usual, max(LONG_STALL_TIMES * usual, usual + LONG_STALL_SECONDS))
    limit = max(longer, usual + STALL_SECONDS, usual + STALL_DEVIATIONS * deviation)
    kept = [[gap for gap in gaps if gap[0] <= limit] for gaps in by_request]
    running = [gap for gaps in kept for gap in gaps]
    seconds = math.fsum(gap for gap, _ in running)
    tokens = math.fsum(count for _, count in running)
    if seconds <= 0 or tokens <= 0:
        return None
    stalled = math.fsum(gap - usual for gap, _ in every if gap > limit)
    each = [1000 * gap / count for gap, count in running if count > 0]
    return Decode(
        tokens_per_second=tokens / seconds,
        ci_percent=_interval(running, kept),
        stalls=len(every) - len(running),
        stalled_percent=100 * stalled / math.fsum(gap for gap, _ in every),
        itl_milliseconds_p50=median(each) if each else None,
        itl_milliseconds_p95=founded_percentile(each, 95),
    )


def _interval(
    running: Sequence[tuple[float, float]], kept: Sequence[Sequence[tuple[float, float]]]
) -> float | None:
    size = len(running) // BATCHES
    found: list[float] = []
    if size:
        sums = [_sums(running[at : at + size]) for at in range(0, size * BATCHES, size)]
        if (batched := ratio_interval_percent(sums)) is not None:
            found.append(batched * _dependence(sums))
    requests = [_sums(gaps) for gaps in kept if gaps]
    # With three or four requests Student's t alone makes the interval several times too wide.
    if len(requests) >= 5 and (between := ratio_interval_percent(requests)) is not None:
        found.append(between)
    return max(FLOOR_PERCENT, *found) if found else None


def _sums(gaps: Sequence[tuple[float, float]]) -> tuple[float, float]:
    return math.fsum(count for _, count in gaps), math.fsum(seconds for seconds, _ in gaps)


def _dependence(sums: Sequence[tuple[float, float]]) -> float:
    """By how much batches that follow one another widen the interval, from their lag-1 autocorrelation."""
    ratio = math.fsum(a for a, _ in sums) / math.fsum(b for _, b in sums)
    off = [a - ratio * b for a, b in sums]
    squares = math.fsum(one * one for one in off)
    if squares <= 0:
        return 1.0
    lag = math.fsum(a * b for a, b in itertools.pairwise(off)) / squares
    lag = min(max(lag, 0.0), 0.9)
    fewer = max(2.0, len(sums) * (1 - lag) / (1 + lag))
    return math.sqrt(len(sums) / fewer) * t_975(fewer - 1) / t_975(len(sums) - 1)
