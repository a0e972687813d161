"""Computes the decode rate of one stream and the throughput of a closed loop from the times of tokens. Pure.

The decode rate excludes stalls. Where prompts stop all streams for a while (on a CPU, or if they are long),
tokens come in bursts, and a window with one prompt more or less is wrong by a tenth. So throughput is
measured over cycles, from one request's first token to another's. The time of a cycle is ``prompts * a +
tokens * b``, fitted by least squares; a request of the workload's length takes ``a + length * b``.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from tacho_runtime.probe.load.streams import StreamResult
from tacho_runtime.probe.statistics import founded_percentile, lag_one, median, ratio_interval_percent, t_975

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
"""Seconds by which a stall must exceed the usual gap; shorter delays come from the scheduler of a busy
machine.
"""
BATCHES = 16
FLOOR_PERCENT = 0.3
"""Narrowest interval in percent. Errors of time stamps, scheduling and rounding do not show in repeated
measurements.
"""


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
            found.append(min(batched * _dependence(sums), _farthest_percent(sums)))
    requests = [_sums(gaps) for gaps in kept if gaps]
    # With three or four requests Student's t alone makes the interval several times too wide.
    if len(requests) >= 5 and (between := ratio_interval_percent(requests)) is not None:
        found.append(between)
    return max(FLOOR_PERCENT, *found) if found else None


def _sums(gaps: Sequence[tuple[float, float]]) -> tuple[float, float]:
    return math.fsum(count for _, count in gaps), math.fsum(seconds for seconds, _ in gaps)


def _farthest_percent(sums: Sequence[tuple[float, float]]) -> float:
    """Difference of the farthest batch from the rate of all, in percent. It bounds the interval from below
    where few batches depend on each other.
    """
    ratio = math.fsum(a for a, _ in sums) / math.fsum(b for _, b in sums)
    return 100 * max(abs(a / b / ratio - 1) for a, b in sums)


def _dependence(sums: Sequence[tuple[float, float]]) -> float:
    """Factor by which the correlation of successive batches widens the interval, from their lag-1
    autocorrelation."""
    ratio = math.fsum(a for a, _ in sums) / math.fsum(b for _, b in sums)
    off = [a - ratio * b for a, b in sums]
    lag = min(max(lag_one(off), 0.0), 0.9)
    fewer = max(2.0, len(sums) * (1 - lag) / (1 + lag))
    return math.sqrt(len(sums) / fewer) * t_975(fewer - 1) / t_975(len(sums) - 1)


MIN_CYCLES = 5
MAX_CYCLES = 40
"""Most cycles; more are joined. 40 are enough for Student's t, and each then spans many steps of the
engine.
"""
COLLINEAR = 1e-9
FARTHEST = 2.0
"""Highest ratio between the tokens of a cycle and of a request; longer cycles do not show the time of such a
request.
"""


@dataclass(frozen=True, slots=True)
class Cycle:
    """The time between the first tokens of two requests, in bins, with the prompts and tokens in it."""

    seconds: float
    tokens: float
    prompts: int


@dataclass(frozen=True, slots=True)
class CycleRate:
    tokens_per_second: float
    ci_percent: float
    """Half the 95 % interval, in percent of the rate."""


def find_cycles(bins: Sequence[float], started: Sequence[int], bin_seconds: float) -> list[Cycle]:
    """The cycles in a window. ``bins``: tokens in equal bins of time. ``started``: first tokens of requests
    in these bins."""
    begins = [place for place, count in enumerate(started) if count]
    each = max(1, math.ceil(sum(started[place] for place in begins[1:]) / MAX_CYCLES)) if begins else 1
    found: list[Cycle] = []
    opened, prompts = (begins[0], 0) if begins else (0, 0)
    for place in begins[1:]:
        prompts += started[place]
        if prompts < each:
            continue
        tokens = math.fsum(bins[opened + 1 : place + 1])
        found.append(Cycle((place - opened) * bin_seconds, tokens, prompts))
        opened, prompts = place, 0
    return found


def cycle_rate(
    found: Sequence[Cycle], output_tokens: float, *, step_seconds: float = 0.0
) -> CycleRate | None:
    """The rate of requests with ``output_tokens`` on average, from whole cycles.

    None below MIN_CYCLES cycles, or where they do not determine the time of such a request. A cycle weighs by
    its prompts, as one of several prompts varies more; slow neighbours count as fewer. The interval is at
    least one step of the engine as a share of all cycles, as the cycles' ends are known to a step only.
    """
    n = len(found)
    if n < MIN_CYCLES:
        return None
    prompts = math.fsum(one.prompts for one in found)
    tokens = math.fsum(one.tokens for one in found)
    seconds = math.fsum(one.seconds for one in found)
    if not output_tokens / FARTHEST <= tokens / prompts <= FARTHEST * output_tokens:
        return None
    squares = math.fsum(one.tokens**2 / one.prompts for one in found)
    crossed = math.fsum(one.seconds * one.tokens / one.prompts for one in found)
    determinant = prompts * squares - tokens**2
    if determinant <= COLLINEAR * prompts * squares:
        per_prompt, per_token = 0.0, seconds / tokens if tokens else math.inf
        spread = 1 / prompts
    else:
        per_prompt = (squares * seconds - tokens * crossed) / determinant
        per_token = (prompts * crossed - tokens * seconds) / determinant
        spread = (squares - 2 * output_tokens * tokens + output_tokens**2 * prompts) / determinant
    request_seconds = per_prompt + per_token * output_tokens
    if not 0 < request_seconds < math.inf:
        return None
    off = [
        (one.seconds - per_prompt * one.prompts - per_token * one.tokens) / math.sqrt(one.prompts)
        for one in found
    ]
    lag = min(max(lag_one(off), 0.0), 0.9)
    alike = (1 + lag) / (1 - lag)
    freedom = max(1.0, n / alike - 2)
    variance = math.fsum(one * one for one in off) / (n - 2) * spread * alike
    varied = t_975(freedom) * math.sqrt(variance) / request_seconds
    return CycleRate(output_tokens / request_seconds, 100 * max(varied, step_seconds / seconds))
