"""Computes the decode rate of one stream and the throughput of a closed loop from the times of tokens. Pure.

The decode rate excludes stalls. Long prompts, and any prompt on a CPU, stop all streams for a while. Tokens
then come in bursts, and one prompt more or less in a window changes its rate by a tenth. So the tokens of a
segment are fitted as ``seconds * running - prompts * lost``, by least squares. In the long run there is one
prompt for each request, whatever the window happened to hold.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

from tacho_runtime.probe.load.streams import StreamResult
from tacho_runtime.probe.statistics import (
    dependence,
    median,
    percentile,
    percentile_if_enough,
    ratio_interval_percent,
    t_975,
)

NS = 1e9
MERGED_SHARE = 0.1
"""Share of the mean gap below which two chunks count as one step that was split on its way."""
STALL_TIMES = 4.0
"""Ratio of a gap between tokens to the usual gap from which it may be a stall."""
LONG_STALL_TIMES, LONG_STALL_SECONDS = 2.5, 0.05
"""The same for gaps that are longer than the usual one by 0.05 s. Four times the usual gap of a slow engine
would be longer than many a stall.
"""
STALL_DEVIATIONS = 10.0
"""Standard deviations (from the median absolute deviation) by which a stall must exceed the usual gap, as
some engines' steps vary much.
"""
STALL_SECONDS = 0.004
"""Seconds by which a stall must exceed the usual gap; shorter delays come from a busy machine's scheduler."""
EARLY_PERCENT = 25
BATCHES = 16
NARROWEST_PERCENT = 0.3
"""Narrowest interval in percent. Repetition does not show errors of time stamps, scheduling and rounding."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DecodeRate:
    tokens_per_second: float
    """Decoding rate of one stream, without the time of stalls."""
    ci_percent: float | None
    stalls: int
    stalled_percent: float
    itl_milliseconds_p50: float | None
    itl_milliseconds_p95: float | None


def gaps_of(stream: StreamResult) -> list[tuple[float, float]]:
    """(seconds since the previous chunk, tokens of the chunk) for each chunk of a stream after the first."""
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


def decode_of(streams: Sequence[StreamResult]) -> DecodeRate | None:
    """The decode rate of requests sent one after the other; None where none had two chunks.

    A stall is left out together with its tokens: the rest is the rate of all other steps. The interval is the
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
    # A client sees stalls too: a percentile without them would hide what it is for.
    each = [1000 * gap / count for gap, count in every if count > 0]
    return DecodeRate(
        tokens_per_second=tokens / seconds,
        ci_percent=_interval(running, kept),
        stalls=len(every) - len(running),
        stalled_percent=100 * stalled / math.fsum(gap for gap, _ in every),
        itl_milliseconds_p50=median(each) if each else None,
        itl_milliseconds_p95=percentile_if_enough(each, 95),
    )


FEWEST_GAPS = 8
"""Fewest gaps of a request from which its usual gap is known."""


def times_apart(streams: Sequence[StreamResult]) -> float:
    """How many times longer the slowest of ``streams`` took than the fastest, for an event and for a token.

    Requests sent alone to one engine take the same. A speculating engine brings more tokens with some events,
    and a late client sees two at once: only one of both differs then.
    """
    paces = [
        (usual, tpot)
        for one in streams
        if len(gaps := gaps_of(one)) >= FEWEST_GAPS and (tpot := one.tpot_milliseconds)
        if (usual := median([seconds for seconds, _ in gaps])) > 0
    ]
    return min((max(each) / min(each) for each in zip(*paces, strict=True)), default=1.0)


MORE_SHARE = 0.02
"""Tokens beyond one an event, as a share of the events, from which the first event may hold several."""


def may_hide_first(streams: Sequence[StreamResult]) -> bool:
    """Whether the first events may hold more tokens than the one that they count for.

    Where a total is divided among events, those hidden before the first would count for the later ones.
    """
    events = sum(one.events for one in streams)
    more = math.fsum(one.output_tokens for one in streams) - events
    return more > MORE_SHARE * events and all(one.shared_out for one in streams)


def hidden_percent(streams: Sequence[StreamResult], alone: Sequence[StreamResult]) -> tuple[float, float]:
    """(milliseconds that a first token came later than in ``alone``, answers of one token; percent by which
    that makes the rate of ``streams`` too high).

    Tokens that came together with the first one are counted with it, so their time is no delay.
    """
    first = [
        (one.ttft_milliseconds or 0.0) - (one.tokens[0][1] - 1) * (one.tpot_milliseconds or 0.0)
        for one in streams
    ]
    took = median([(one.tokens[-1][0] - one.tokens[0][0]) / 1e6 for one in streams])
    # What disturbs a prompt only makes it later, so the early ones show the engine.
    late = max(
        0.0, median(first) - percentile([one.ttft_milliseconds or 0.0 for one in alone], EARLY_PERCENT)
    )
    return late, 100 * late / took if took else 0.0


def _interval(
    running: Sequence[tuple[float, float]], kept: Sequence[Sequence[tuple[float, float]]]
) -> float | None:
    size = len(running) // BATCHES
    found: list[float] = []
    if size:
        sums = [_sums(running[at : at + size]) for at in range(0, size * BATCHES, size)]
        if (batched := ratio_interval_percent(sums)) is not None:
            ratio = math.fsum(a for a, _ in sums) / math.fsum(b for _, b in sums)
            found.append(batched * dependence([a - ratio * b for a, b in sums]))
    requests = [_sums(gaps) for gaps in kept if gaps]
    # With three or four requests Student's t alone makes the interval several times too wide.
    if len(requests) >= 5 and (between := ratio_interval_percent(requests)) is not None:
        found.append(between)
    return max(NARROWEST_PERCENT, *found) if found else None


def _sums(gaps: Sequence[tuple[float, float]]) -> tuple[float, float]:
    return math.fsum(count for _, count in gaps), math.fsum(seconds for seconds, _ in gaps)


MIN_SEGMENTS, MAX_SEGMENTS = 8, 40
"""Fewer show too little of how they vary; more would be as long as a few steps, and end within one."""
COLLINEAR = 1e-9


@dataclass(frozen=True, slots=True)
class Segment:
    """The time between two steps of the engine, with the prompts that ended in it and the tokens of all
    streams."""

    seconds: float
    tokens: float
    prompts: int


@dataclass(frozen=True, slots=True)
class LoopRate:
    tokens_per_second: float
    ci_percent: float
    """Half the 95 % interval, in percent of the rate."""


def find_segments(
    bins: Sequence[float], started: Sequence[int], bin_seconds: float, least_seconds: float
) -> list[Segment]:
    """The segments of a window, each of at least ``least_seconds``.

    An engine's step brings the tokens of all streams at once, so a segment ends only where a step does.
    ``bins``: tokens in equal bins of time. ``started``: first tokens of requests in these bins. They may come
    just after the other tokens of their step: no segment ends in between.
    """
    busy = [place for place, count in enumerate(bins) if count]
    if not busy or not started:
        return []
    apart = [place for place, following in itertools.pairwise(busy) if not started[following]]
    least = max(least_seconds / bin_seconds, len(bins) / MAX_SEGMENTS)
    edges = _spaced(apart, least)
    if len(edges) <= MIN_SEGMENTS:
        edges = _spaced(busy, least)
    return [
        Segment((b - a) * bin_seconds, math.fsum(bins[a + 1 : b + 1]), sum(started[a + 1 : b + 1]))
        for a, b in itertools.pairwise(edges)
    ]


def _spaced(places: Sequence[int], least: float) -> list[int]:
    """The first of ``places``, and each further one that is at least ``least`` after the previous one."""
    found = list(places[:1])
    for place in places[1:]:
        if place - found[-1] >= least:
            found.append(place)
    return found


def loop_rate(
    found: Sequence[Segment], output_tokens: float, *, step_seconds: float = 0.0
) -> LoopRate | None:
    """The rate of a closed loop of requests with ``output_tokens`` on average.

    None below MIN_SEGMENTS, or where they do not determine it. Slow neighbours count as fewer. The interval
    is at least one step of the engine as a share of the window, whose ends are known to a step only.
    """
    n = len(found)
    if n < MIN_SEGMENTS:
        return None
    seconds = math.fsum(one.seconds for one in found)
    tokens = math.fsum(one.tokens for one in found)
    prompts = math.fsum(one.prompts for one in found)
    # Weighted by 1 / seconds, so that both sides have the same sum of tokens.
    squares = math.fsum(one.prompts**2 / one.seconds for one in found)
    crossed = math.fsum(one.prompts * one.tokens / one.seconds for one in found)
    spread = squares - prompts**2 / seconds
    known = spread > COLLINEAR * squares
    lost = (prompts * tokens / seconds - crossed) / spread if known else 0.0
    running = (tokens + lost * prompts) / seconds
    per_request = output_tokens + lost
    if not (running > 0 and per_request > 0):
        return None
    rate = running * output_tokens / per_request
    off = [
        (one.tokens - running * one.seconds + lost * one.prompts) / math.sqrt(one.seconds) for one in found
    ]
    # Of the tokens a second at as many prompts as the rate has.
    more = rate / output_tokens - prompts / seconds
    error = (
        math.fsum(one * one for one in off) / (n - 2) * (1 / seconds + (more**2 / spread if known else 0.0))
    )
    varied = t_975(n - 2) * dependence(off) * math.sqrt(error) / running
    return LoopRate(rate, 100 * max(varied, step_seconds / seconds))
