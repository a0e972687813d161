"""Turns the trace of one level of concurrency into a point of the throughput curve. Pure."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from tacho_contract.launch import ServiceLevel
from tacho_contract.measurement import INVALIDATING, CurvePoint, Goodput, Workload, samples_for
from tacho_runtime.probe.consistency import filling_cache, inconsistency
from tacho_runtime.probe.cross_checks import (
    FRONTEND_BOUND,
    check_counters,
    engine_ttft_milliseconds,
    front_end_limit,
    waits_outside,
)
from tacho_runtime.probe.engine_under_test import LoadTrace
from tacho_runtime.probe.latencies import (
    FEW_REQUESTS,
    SHORTEST_SHARE,
    Latencies,
    goodput_of,
    latencies,
    slo_ratios,
)
from tacho_runtime.probe.load.streams import StreamResult
from tacho_runtime.probe.rates import NARROWEST_PERCENT, decode_of, find_segments, loop_rate
from tacho_runtime.probe.statistics import (
    batch_means_percent,
    batches,
    drifts,
    median,
    percentile_if_enough,
    ratio_interval_percent,
    t_975,
)

NS = 1e9
NOT_STEADY = "NotSteady"
BIN_SECONDS = 0.25
BATCHES = 10
LEVEL_NARROWEST_PERCENT = 1.0
"""Narrowest interval of a throughput in percent. Errors of bins, and of where in a step the window opens, do
not show in repeated measurements.
"""
WIDEST_PERCENT = 30.0
"""Widest interval in percent with which a level of several streams has a known rate."""
FITTED_SHARE = 0.5
"""Rate and confidence interval are those with prompts set apart where that interval is below this share of
the one from the bins, or the bins give none."""
NEAR_ERRORS = 2.0
"""Number of standard errors within which a level counts as close to the SLO's limit."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MeasuredLevel(CurvePoint):
    """A point of the curve with all its values, some of which only the probe uses."""

    window_seconds: float
    requests: int
    requests_per_second: float
    output_tokens_per_second: float
    ttft_milliseconds_p50: float
    tpot_milliseconds_p50: float


@dataclass(frozen=True, slots=True, kw_only=True)
class LevelResult:
    point: MeasuredLevel
    tpot_error: float = 0.0
    """Standard error of the point's ``tpot_slo_ratio``, as a share of that ratio."""
    few_first_tokens: bool = False
    """Whether its times to the first token are too few to show that the SLO's percentile is met."""
    unseen_percent: float = 0.0
    """Percent of the time that prompts may take of which the window held none; part of the interval."""
    goodput: Goodput | None = None
    notes: tuple[str, ...] = ()
    waits_outside: str = ""
    """A message about first tokens that are late outside the engine, or ""."""

    @property
    def has_rate(self) -> bool:
        """Whether the level's throughput is known. Without it, the level may still certainly miss the SLO.
        One stream's rate is the mean of whole requests, and is reported with its interval, however wide."""
        known = self.point.ci_percent is not None and self.point.ci_percent <= WIDEST_PERCENT
        return known or self.point.concurrency == 1

    @property
    def uncertain_rate(self) -> str:
        """What a level without a known rate had, for a message: it shows whether more time could help."""
        if self.point.ci_percent is None:
            return ""
        return f": it had {self.point.output_tokens_per_second:.0f} tokens/s ± {self.point.ci_percent:.0f} %"

    @property
    def broken(self) -> bool:
        """Whether the level misses the SLO."""
        return max(self.point.ttft_slo_ratio or 0.0, self.point.tpot_slo_ratio or 0.0) > 1

    @property
    def near_limit(self) -> bool:
        """Whether TPOT decides about the SLO, and is uncertain by more than its distance from the limit."""
        apart = abs((self.point.tpot_slo_ratio or 0.0) - 1)
        return (self.point.ttft_slo_ratio or 0.0) <= 1 and apart < NEAR_ERRORS * self.tpot_error

    @property
    def clean(self) -> bool:
        return not INVALIDATING.intersection(self.point.flags)


def evaluate(
    trace: LoadTrace, workload: Workload, slo: ServiceLevel, *, near: bool = True
) -> LevelResult | None:
    """The point of the curve; None where too few tokens came. Its rate counts as known only where it is
    consistent.

    ``near``: the engine is on this machine, so that no network can look like a slow front end. Requests per
    second are tokens per second over the mean output length: counting whole requests in a window of a few
    would round them.
    """
    seconds = len(trace.bins) * trace.bin_nanoseconds / NS
    found = latencies(trace, workload)
    if seconds <= 0 or not found.ttft or not found.tpot:
        return None
    kept = _coarse(trace)
    output_tokens = _per_request(trace, workload)
    received, interval = _received(kept, trace, output_tokens)
    unseen = _unseen_percent(trace, received / max(1.0, output_tokens))
    halted = _halted_share(trace)
    received *= 1 - halted
    interval = None if interval is None else interval + unseen + 100 * halted
    front_end = front_end_limit(trace, median(found.tpot), near=near)
    checked = check_counters(trace, behind=bool(front_end))
    rate = received * checked.factor
    if not (math.isfinite(rate) and rate > 0):
        rate, interval = 0.0, None
    contradiction = inconsistency(trace, received, interval) or filling_cache(trace, workload)
    steady = trace.started and not trace.failures and not drifts(kept) and not contradiction
    raised = {NOT_STEADY: not steady, FRONTEND_BOUND: near and bool(front_end)}
    result = _result(
        found,
        slo,
        notes=tuple(note for note in (found.note, contradiction, front_end, *checked.notes) if note),
        concurrency=trace.concurrency,
        window_seconds=len(kept) * _width(trace),
        requests=trace.requests_ended,
        requests_per_second=rate / max(1.0, output_tokens),
        output_tokens_per_second=rate,
        ci_percent=None if interval is None else interval + 100 * checked.excess,
        counted_by=checked.counted_by,
        engine_ttft_milliseconds=engine_ttft_milliseconds(trace.readings),
        steady=steady,
        flags=tuple(sorted({*checked.flags, *(flag for flag, is_so in raised.items() if is_so)})),
    )
    outside = "" if front_end else waits_outside(trace, median(found.tpot), near=near)
    return replace(result, unseen_percent=unseen, waits_outside=outside)


def _result(
    found: Latencies, slo: ServiceLevel, *, notes: tuple[str, ...] = (), **figures: Any
) -> LevelResult:
    """The result of a level from its latencies ``found`` and the point's ``figures``."""
    ratios = ttft_ratio, tpot_ratio = slo_ratios(found, slo)
    limited = [one for one in ratios if one is not None]
    met = max(limited) <= 1 if limited else None
    few = bool(slo.ttft_milliseconds) and len(found.ttft) < samples_for(slo.percentile)
    point = MeasuredLevel(
        ttft_milliseconds_p50=median(found.ttft),
        ttft_milliseconds_p95=percentile_if_enough(found.ttft, 95),
        tpot_milliseconds_p50=median(found.tpot),
        tpot_milliseconds_p95=percentile_if_enough(found.tpot, 95),
        end_to_end_milliseconds_p50=median(found.end_to_end) if found.end_to_end else None,
        end_to_end_milliseconds_p95=percentile_if_enough(found.end_to_end, 95),
        slo_met=None if met and few and figures["concurrency"] > 1 else met,
        ttft_slo_ratio=ttft_ratio,
        tpot_slo_ratio=tpot_ratio,
        **figures,
    )
    return LevelResult(
        point=point,
        tpot_error=found.tpot_error,
        few_first_tokens=few,
        goodput=goodput_of(found, slo, point.requests_per_second),
        notes=notes,
    )


def _received(kept: Sequence[float], trace: LoadTrace, output_tokens: float) -> tuple[float, float | None]:
    """(tokens per second that came here, half the 95 % interval in percent), by whichever knows better: with
    prompts set apart, or all of the window in ``kept``'s coarse bins."""
    interval = _interval(kept, trace)
    found = find_segments(trace.bins, trace.started_bins, trace.bin_nanoseconds / NS, _width(trace))
    fitted = loop_rate(found, output_tokens, step_seconds=_step_seconds(trace))
    if fitted is not None and (interval is None or fitted.ci_percent < FITTED_SHARE * interval):
        return fitted.tokens_per_second, max(LEVEL_NARROWEST_PERCENT, fitted.ci_percent)
    return rate_between_steps(trace.bins, trace), interval


def _unseen_percent(trace: LoadTrace, requests_per_second: float) -> float:
    """Percent of the time that prompts may take, where the window holds no first token; 0 where it holds one.

    In the long run each request brings a prompt. Those of a CPU stop all streams: a rate without any was a
    third too high, and said to be known within 3 %.
    """
    first = next((place for place, count in enumerate(trace.bins) if count), 0)
    prompts = [ttft / 1000 for stream in trace.streams if (ttft := stream.ttft_milliseconds) is not None]
    if not trace.started_bins or any(trace.started_bins[first + 1 :]) or not prompts:
        return 0.0  # those of the first step opened the window, and their time is not in it
    busy = requests_per_second * min(prompts)
    return 100 * busy / (1 + busy)


def _halted_share(trace: LoadTrace) -> float:
    """Share of the window without a token at its ends, beyond the longest pause inside it.

    A rate from the first step to the last one knows nothing of a halt that lasts to the window's end.
    """
    busy = [place for place, count in enumerate(trace.bins) if count]
    if len(busy) < 2:
        return 0.0
    longest = max(after - before for before, after in itertools.pairwise(busy))
    ends = busy[0], len(trace.bins) - 1 - busy[-1]
    return sum(max(0, end - longest) for end in ends) / len(trace.bins)


def rate_between_steps(bins: Sequence[float], trace: LoadTrace) -> float:
    """Tokens per second from the first step in ``bins`` to the last one, the first not counted.

    Streams of a batch get their tokens at the same time. A window that begins just after a step and ends
    anywhere has on average half a step too little: a percent or two where a step takes a tenth of a second.
    """
    busy = [place for place, count in enumerate(bins) if count]
    if len(busy) < 2:
        return 0.0
    first, last = busy[0], busy[-1]
    return math.fsum(bins[first + 1 : last + 1]) / ((last - first) * trace.bin_nanoseconds / NS)


def _width(trace: LoadTrace) -> float:
    """Width of a coarse bin in seconds."""
    return _merged(trace) * trace.bin_nanoseconds / NS


def _merged(trace: LoadTrace) -> int:
    """Fine bins in a coarse one: a quarter of a second, or less if the window has fewer than twenty."""
    desired = round(BIN_SECONDS * NS / trace.bin_nanoseconds)
    return max(1, min(desired, len(trace.bins) // 20))


def _coarse(trace: LoadTrace) -> list[float]:
    merged = _merged(trace)
    whole = len(trace.bins) // merged
    return batches(trace.bins[: whole * merged], whole) if whole else []


def _interval(kept: Sequence[float], trace: LoadTrace) -> float | None:
    """Interval of the throughput: the wider of batch means and of whole requests' own rates."""
    parts = [batch_means_percent(batches(kept, BATCHES))] if len(kept) >= BATCHES else []
    whole = [
        (stream.output_tokens, took)
        for stream in trace.later
        if (took := stream.end_to_end_milliseconds) is not None
    ]
    if len(whole) >= FEW_REQUESTS:
        # Each of them lasts as long as the level's streams need for it: their rates are what varies.
        parts.append(ratio_interval_percent(whole))
    known = [part for part in parts if part is not None]
    # Where in a step the window opens and closes, no repetition within it shows.
    step = 100 * _step_seconds(trace) / (len(kept) * _width(trace)) if kept else 0.0
    return max(LEVEL_NARROWEST_PERCENT, step, *known) if known else None


def _step_seconds(trace: LoadTrace) -> float:
    """Duration of an engine's step in seconds: one event of each stream; 0 where no stream has two."""
    steps = [
        (stream.tokens[-1][0] - stream.tokens[0][0]) / NS / (max(stream.events, len(stream.tokens)) - 1)
        for stream in trace.streams
        if len(stream.tokens) > 1
    ]
    return median(steps) if steps else 0.0


def _per_request(trace: LoadTrace, workload: Workload) -> float:
    """Mean output tokens of a request: the workload's, unless the engine ends answers of its own accord."""
    whole = [stream for stream in trace.later if stream.finish_reason]
    # Of all that ended: those that stopped early are the short ones.
    if not any(_short(stream, workload) for stream in whole):
        return float(workload.output_tokens)
    return math.fsum(stream.output_tokens for stream in whole) / len(whole)


def _short(stream: StreamResult, workload: Workload) -> bool:
    """Whether an answer ended early: by the engine's reason ``stop``, or well below the requested length."""
    return (
        stream.finish_reason == "stop" or stream.output_tokens < SHORTEST_SHARE * workload.output_tokens - 1
    )


def single_result(
    streams: Sequence[StreamResult],
    slo: ServiceLevel,
    *,
    flags: Sequence[str] = (),
    loss_percent: float = 0.0,
) -> LevelResult | None:
    """The curve's first point, from requests sent one after the other; None where none is usable.

    ``loss_percent``: the share that other programs may have taken, which widens the interval.
    """
    found = Latencies()
    rows: list[tuple[float, float]] = []
    for stream in streams:
        ttft, tpot, took = (
            stream.ttft_milliseconds,
            stream.tpot_milliseconds,
            stream.end_to_end_milliseconds,
        )
        if took:
            rows.append((stream.output_tokens, took / 1000))
        if took and ttft is not None and tpot is not None:
            found.ttft.append(ttft)
            found.tpot.append(tpot)
            found.both.append((ttft, tpot))
            found.end_to_end.append(took)
    if not found.both:
        return None
    took_seconds = math.fsum(seconds for _, seconds in rows)
    steady = len(rows) < 4 or not drifts([tokens / seconds for tokens, seconds in rows])
    interval = ratio_interval_percent(rows) if len(rows) >= FEW_REQUESTS else _of_few(streams, found)
    return _result(
        found,
        slo,
        concurrency=1,
        window_seconds=took_seconds,
        requests=len(rows),
        requests_per_second=len(rows) / took_seconds,
        output_tokens_per_second=math.fsum(tokens for tokens, _ in rows) / took_seconds,
        ci_percent=None if interval is None else max(NARROWEST_PERCENT, interval) + loss_percent,
        steady=steady,
        flags=tuple(sorted({*flags, *(() if steady else (NOT_STEADY,))})),
    )


def _of_few(streams: Sequence[StreamResult], found: Latencies) -> float | None:
    """Half the 95 % interval, in percent, of the throughput of requests that are too few to compare.

    It combines the intervals of all token gaps and of the first tokens, each by its share of the time, with
    all stalls.
    """
    decode, n = decode_of(streams), len(found.ttft)
    if decode is None or decode.ci_percent is None or n < 2:
        return None
    first = math.fsum(found.ttft) / n
    share = min(1.0, first / (math.fsum(found.end_to_end) / n))
    deviation = math.sqrt(math.fsum((one - first) ** 2 for one in found.ttft) / (n - 1))
    of_first = 100 * t_975(n - 1) * deviation / math.sqrt(n) / first if first else 0.0
    return math.hypot(share * of_first, (1 - share) * decode.ci_percent) + decode.stalled_percent
