"""From what was found to the measurement that is reported. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime

from tacho_contract.launch import LiveConfig
from tacho_contract.measurement import Capacity, Measurement, MemoryActual, SingleStream, Workload
from tacho_contract.times import format_time
from tacho_runtime.probe.asking.counters import Counters, others_tokens
from tacho_runtime.probe.asking.streams import Stream
from tacho_runtime.probe.search import Shape
from tacho_runtime.probe.statistics import least_squares, median, percentile
from tacho_runtime.probe.windows import LevelResult

LAG_MILLISECONDS = 5.0
PLATEAU_GAIN = 1.05
OWN_TIMINGS_TOLERANCE = 0.15
"""The engine's timings and ours for the same requests: further apart, ours show the client."""
MOST_NOTES_CHARACTERS = 1500


@dataclass(slots=True)
class Findings:
    """Filled in as the probe goes, so that a probe that is cut still has what it found."""

    shape: Shape | None = None
    cold_first_request_milliseconds: float | None = None
    single: tuple[Stream, ...] = ()
    prompt_times: list[tuple[float, float]] = field(default_factory=list)
    """(prompt tokens, milliseconds to the first token) of requests sent alone."""
    results: list[LevelResult] = field(default_factory=list)
    levels_missing: bool = False
    """A planned level is not among the results, or the plan's own concurrency could not be planned."""
    notes: list[str] = field(default_factory=list)
    failure: str = ""
    out_of_time: bool = False
    lags_milliseconds: list[float] = field(default_factory=list)
    before: Counters = field(default_factory=Counters)
    after: Counters = field(default_factory=Counters)
    received_tokens: float = 0.0
    seen: Sequence[Stream] = ()


def engines_own_rate(streams: Sequence[Stream]) -> float | None:
    """Tokens per second of the same requests by the engine's own timings (llama.cpp has them), else None."""
    tpots = [stream.engine_tpot_milliseconds for stream in streams if stream.engine_tpot_milliseconds]
    return 1000 * len(tpots) / sum(tpots) if tpots else None


def _cross_check(findings: Findings, single: SingleStream | None) -> tuple[str, bool]:
    """(what to say of the engine's own timings, whether they contradict ours)."""
    own = engines_own_rate(findings.single)
    if own is None or single is None:
        return "", False
    apart = abs(single.decode_tokens_per_second - own) > OWN_TIMINGS_TOLERANCE * own
    return f"by the engine's own timings the single stream ran at {own:.1f} tokens per second", apart


def single_stream(
    streams: Sequence[Stream], prompt_times: Sequence[tuple[float, float]]
) -> SingleStream | None:
    """None without a request of two chunks."""
    tpots = [tpot for stream in streams if (tpot := stream.tpot_milliseconds) is not None and tpot > 0]
    ttfts = [ttft for stream in streams if (ttft := stream.ttft_milliseconds) is not None]
    if not tpots or not ttfts:
        return None
    line = least_squares(prompt_times)
    sound = line is not None and line.slope > 0
    return SingleStream(
        decode_tokens_per_second=1000 * len(tpots) / sum(tpots),
        tpot_milliseconds_p50=median(tpots),
        tpot_milliseconds_p95=percentile(tpots, 95),
        ttft_milliseconds_p50=median(ttfts),
        # A line below zero at no tokens says that the time is not a line, not that there is no overhead.
        ttft_overhead_milliseconds=line.intercept if line and sound and line.intercept >= 0 else None,
        prefill_tokens_per_second=1000 / line.slope if line and sound else None,
    )


def capacity_of(results: Sequence[LevelResult], workload: Workload) -> Capacity | None:
    """The level with the most output tokens per second; of equals, the one with fewer streams.

    Boundary: Plateau when more streams, or the last step up, brought less than 5 %; else Floor, because
    nothing above was tried. (Edge and NeverMet are for capacities under a service level.)
    """
    if not results:
        return None
    points = sorted(results, key=lambda result: result.point.concurrency)
    best = max(points, key=lambda result: result.point.output_tokens_per_second)
    below = points[: points.index(best)]
    if best is not points[-1]:
        boundary = "Plateau"
    elif below:
        rate = max(result.point.output_tokens_per_second for result in below)
        boundary = "Plateau" if best.point.output_tokens_per_second < PLATEAU_GAIN * rate else "Floor"
    else:
        boundary = "Floor"
    point = best.point
    return Capacity(
        concurrency=point.concurrency,
        requests_per_second=point.requests_per_second,
        output_tokens_per_second=point.output_tokens_per_second,
        total_tokens_per_second=point.output_tokens_per_second
        + point.requests_per_second * workload.input_tokens,
        ci_percent=best.ci_percent,
        boundary=boundary,
    )


def _short(findings: Findings) -> bool:
    wanted = findings.shape.workload.output_tokens if findings.shape else 0
    stopped = any(stream.finish_reason not in ("", "length") for stream in findings.seen)
    return stopped or any(stream.output_tokens < 0.98 * wanted for stream in findings.single)


def _cache_was_hit(findings: Findings) -> bool:
    before, after = findings.before.cached_prompt_tokens, findings.after.cached_prompt_tokens
    counted = before is not None and after is not None and after > before
    return counted or any(stream.cached_tokens > 0 for stream in findings.seen)


def flags_of(findings: Findings, capacity: Capacity | None, concurrency: int) -> tuple[str, ...]:
    """What a reader must know before trusting the figures, in alphabetical order."""
    flags: set[str] = set()
    if findings.out_of_time or (findings.shape is not None and findings.shape.time_was_short):
        flags.add("BudgetExhausted")
    if findings.lags_milliseconds:
        tpots = [tpot for stream in findings.single if (tpot := stream.tpot_milliseconds) is not None]
        # A late stamp of half a step moves no figure that is a mean over many steps.
        limit = max(LAG_MILLISECONDS, median(tpots) / 2 if tpots else 0.0)
        if percentile(findings.lags_milliseconds, 99) > limit:
            flags.add("ClientBound")
    others = others_tokens(findings.before, findings.after, received=findings.received_tokens)
    if others is not None and others > 0.05 * findings.received_tokens + 16 * concurrency:
        flags.add("OtherTraffic")
    if _cache_was_hit(findings):
        flags.add("CacheHit")
    if _short(findings):
        flags.add("ShortOutput")
    for result in findings.results:
        if capacity and result.point.concurrency == capacity.concurrency and not result.point.steady:
            flags.add("NotSteady")
    return tuple(sorted(flags))


def assemble(
    findings: Findings,
    live: LiveConfig,
    *,
    plan_key: str,
    concurrency: int,
    ended: datetime,
    probe_seconds: float,
) -> Measurement:
    """The measurement. ``workload`` is what was really sent, which the message explains when it is not what
    was asked for."""
    workload = findings.shape.workload if findings.shape else live.workload
    counted = [stream.prompt_tokens for stream in findings.single if stream.prompt_tokens]
    if counted:
        workload = Workload(input_tokens=round(median(counted)), output_tokens=workload.output_tokens)
    single = single_stream(findings.single, findings.prompt_times)
    capacity = capacity_of(findings.results, workload)
    if single is None and capacity is None:
        state = "Failed"
    elif findings.failure or findings.out_of_time or findings.levels_missing or single is None:
        state = "Partial"
    else:
        state = "Complete"
    own, apart = _cross_check(findings, single)
    flags = flags_of(findings, capacity, concurrency)
    why = (findings.failure, findings.shape.note if findings.shape else "", *findings.notes, own)
    return Measurement(
        plan_key=plan_key,
        measure_key=live.measure_key,
        observed_time=format_time(ended),
        state=state,
        message="; ".join(note for note in why if note)[:MOST_NOTES_CHARACTERS],
        probe_seconds=probe_seconds,
        workload=workload,
        cold_first_request_milliseconds=findings.cold_first_request_milliseconds,
        single_stream=single,
        capacity=capacity,
        curve=tuple(sorted((result.point for result in findings.results), key=lambda p: p.concurrency)),
        memory=MemoryActual(kv_cache_tokens=findings.before.kv_cache_tokens),
        flags=tuple(sorted({*flags, "ClientBound"})) if apart else flags,
    )


def skipped(live: LiveConfig, *, plan_key: str, ended: datetime, message: str) -> Measurement:
    """No request was sent."""
    return Measurement(
        plan_key=plan_key,
        measure_key=live.measure_key,
        observed_time=format_time(ended),
        state="Skipped",
        message=message,
        probe_seconds=0.0,
        workload=live.workload,
    )
