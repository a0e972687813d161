"""Builds the reported measurement from a probe's findings. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict
from datetime import datetime

from tacho_contract.launch import LiveConfig, ServiceLevel
from tacho_contract.measurement import (
    INVALIDATING,
    NOT_STEADY,
    CurvePoint,
    Fit,
    KvUse,
    Measurement,
    MemoryActual,
    Saturation,
    SingleStream,
    Workload,
)
from tacho_contract.units import counted, format_time
from tacho_runtime.probe.capacity import capacity_level, capacity_of, saturation_level
from tacho_runtime.probe.level_search import bracket
from tacho_runtime.probe.levels import LevelResult
from tacho_runtime.probe.load.engine_counters import EngineCounters
from tacho_runtime.probe.load.streams import StreamResult
from tacho_runtime.probe.rates import decode_of
from tacho_runtime.probe.session import ProbeFindings, PromptTiming
from tacho_runtime.probe.statistics import least_squares, median, percentile_if_enough

OWN_TIMINGS_TOLERANCE = 0.15
"""Largest difference between the engine's timings and the probe's for the same requests, as a share. A larger
one shows a slow client.
"""
HELD_SHARE = 0.05
"""Share of the time to a first token by which it may be late because it came with later ones. More would
tilt the line of prompts' times, whose other answers have one token.
"""
FEWEST_FOR_FIT = 3
NO_FIGURE_PERCENT = 100.0
"""Half width of an interval, in percent, from which a rate counts as unknown."""
MOST_NOTES_CHARACTERS = 1500
OTHER_PROMPT_TOKENS, OTHER_PROMPT_SHARE = 16, 0.1
"""Differences between an engine's count of a prompt and what was sent, in tokens and as a share, that are
flagged only if both are exceeded. Start tokens and a calibration by words differ by less, never by half.
"""


def _cross_check(findings: ProbeFindings) -> tuple[str, bool]:
    """(message about the engine's own timings, which llama.cpp has, whether they contradict the probe's).
    Stalls are included in both."""
    streams = findings.single.streams
    owns = [tpot for stream in streams if (tpot := stream.engine_tpot_milliseconds)]
    tpots = [tpot for stream in streams if (tpot := stream.tpot_milliseconds)]
    if not owns or not tpots:
        return "", False
    own, ours = 1000 * len(owns) / sum(owns), 1000 * len(tpots) / sum(tpots)
    apart = abs(ours - own) > OWN_TIMINGS_TOLERANCE * own
    return f"by the engine's own timings one stream ran at {own:.1f} tokens per second", apart


def _held_back(streams: Sequence[StreamResult]) -> str:
    """A message that first tokens came with later ones, as from a proxy that buffers; "": they did not."""
    rows = [
        (stream.tokens[0][1] - 1, tpot, ttft)
        for stream in streams
        if (tpot := stream.tpot_milliseconds) and (ttft := stream.ttft_milliseconds)
    ]
    if not rows or median([more * tpot / ttft for more, tpot, ttft in rows]) <= HELD_SHARE:
        return ""
    more = median([more for more, _, _ in rows])
    return (
        f"a first token came together with {more:.0f} later ones, as from a proxy that buffers or where "
        "reasoning is hidden: how fast prompts are processed is not known"
    )


def single_stream(
    streams: Sequence[StreamResult], prompts: Sequence[PromptTiming], loss_percent: float = 0.0
) -> SingleStream | None:
    """The figures of one stream; None without a request of two chunks.

    ``loss_percent``: the share that other programs may have taken, which widens the interval.
    """
    decode = decode_of(streams)
    tpots = [tpot for stream in streams if (tpot := stream.tpot_milliseconds) is not None and tpot > 0]
    ttfts = [ttft for stream in streams if (ttft := stream.ttft_milliseconds) is not None]
    if decode is None or not tpots or not ttfts:
        return None
    events = sum(stream.events for stream in streams)
    line = least_squares(prompts)
    sound = line is not None and line.slope > 0 and not _held_back(streams)
    return SingleStream(
        requests=len(streams),
        decode_tokens_per_second=decode.tokens_per_second,
        decode_ci_percent=None if decode.ci_percent is None else decode.ci_percent + loss_percent,
        stalls=decode.stalls,
        stalled_percent=decode.stalled_percent,
        tpot_milliseconds_p50=median(tpots),
        tpot_milliseconds_p95=percentile_if_enough(tpots, 95),
        itl_milliseconds_p50=decode.itl_milliseconds_p50,
        itl_milliseconds_p95=decode.itl_milliseconds_p95,
        ttft_milliseconds_p50=median(ttfts),
        ttft_milliseconds_p95=percentile_if_enough(ttfts, 95),
        # A line below zero at no tokens says that the time is not a line, not that there is no overhead.
        ttft_overhead_milliseconds=line.intercept if line and sound and line.intercept >= 0 else None,
        prefill_tokens_per_second=1000 / line.slope if line and sound else None,
        textless_percent=100 * sum(stream.textless for stream in streams) / events if events else None,
    )


def _unknown(single: SingleStream | None) -> str:
    """A message that the rate of one stream is unknown; "": it is known."""
    interval = (single.decode_ci_percent if single else None) or 0.0
    if interval <= NO_FIGURE_PERCENT:
        return ""
    return f"one stream's steps differ so much that its rate is known only within {interval:.0f} %"


def _unrated(streams: Sequence[StreamResult]) -> str:
    """A clause on why no answer of one stream tells a rate; "": one does, or there are none."""
    if not streams or any(one.tpot_milliseconds and one.end_to_end_milliseconds for one in streams):
        return ""
    if not any(one.finish_reason for one in streams):
        return "no answer said that it had ended, neither by a finish_reason nor by [DONE]"
    if max(one.events for one in streams) <= 1:
        return "each answer came in one event, as where it is not streamed or its reasoning is hidden"
    if max(one.output_tokens for one in streams) <= 1:
        return "the engine counted no tokens"
    return "all tokens of an answer came at once, as from a proxy that buffers"


def fit_of(results: Iterable[LevelResult]) -> Fit | None:
    """The line fitted to the curve's times per token; None below three levels, as any two give a line."""
    points = [(float(one.point.concurrency), one.point.tpot_milliseconds_p50) for one in results]
    line = least_squares(points)
    if line is None or len(points) < FEWEST_FOR_FIT or line.intercept < 0 or line.slope < 0:
        return None
    return Fit(alpha_milliseconds=line.intercept, beta_microseconds=1000 * line.slope, r2=line.r2)


def _preemptions(before: EngineCounters, after: EngineCounters) -> int | None:
    if before.preemptions is None or after.preemptions is None or after.preemptions < before.preemptions:
        return None
    return round(after.preemptions - before.preemptions)


def _cache_was_hit(findings: ProbeFindings) -> bool:
    """Whether the engine answered prompts from a prefix cache, by its counts for single answers or for all. A
    few tokens per prompt are normal.
    """
    before, after = findings.before, findings.after
    hits = (after.cached_prompt_tokens or 0.0) - (before.cached_prompt_tokens or 0.0)
    first = (after.ttft_seconds_count or 0.0) - (before.ttft_seconds_count or 0.0)
    known = findings.answers.known_tokens * max(findings.answers.requests, first)
    return findings.answers.cached_tokens > 0 or (before.cached_prompt_tokens is not None and hits > known)


def _short(findings: ProbeFindings) -> bool:
    desired = findings.shape.workload.output_tokens if findings.shape else 0
    return findings.answers.short or any(
        stream.output_tokens < 0.98 * desired for stream in findings.single.streams
    )


def flags_of(findings: ProbeFindings, slo: ServiceLevel) -> tuple[str, ...]:
    """The flags of a measurement in alphabetical order; each names something that affects its values.

    They come from the whole probe, the single stream and the deciding levels: the capacity's, the fastest,
    and the one that missed the SLO.
    """
    flags = {*findings.flags, *(findings.single.flags or ())}
    flags.update(findings.opened.flags if findings.opened else ())
    if findings.out_of_time or (findings.shape is not None and findings.shape.time_was_short):
        flags.add("BudgetExhausted")
    if _cache_was_hit(findings):
        flags.add("CacheHit")
    if _short(findings):
        flags.add("ShortOutput")
    if findings.answers.longer:
        flags.add("LongOutput")
    if _other_prompts(findings):
        flags.add("OtherInput")
    capacity, _ = capacity_level(findings, slo)
    _, high = bracket(findings.tried())
    first_broken = findings.results.get(high.concurrency) if high else None
    deciding = findings.results.get(1), capacity, saturation_level(findings.rated.values()), first_broken
    for level in deciding:
        flags.update(level.point.flags if level else ())
    for level in _bounding(findings, slo, capacity):
        of_load = set() if level.point.steady else {NOT_STEADY}  # what halted a steady one is not its load
        flags.update(INVALIDATING.intersection(level.point.flags) - of_load)
    return tuple(sorted(flags))


def _bounding(
    findings: ProbeFindings, slo: ServiceLevel, capacity: LevelResult | None
) -> Iterator[LevelResult]:
    """The levels above the capacity that limit it. If such a level was slowed down from outside, the capacity
    may really be higher.

    A level beyond the engine's limit may be unsteady without an effect on the capacity.
    """
    if capacity is None:
        return
    for level, result in sorted(findings.results.items()):
        if level > capacity.point.concurrency:
            yield result
            if slo.has_target and result.broken:
                return


def _state(findings: ProbeFindings, *, single: bool, carries: bool) -> str:
    if not single and not findings.results:
        return "Failed"
    cut = findings.failure or findings.out_of_time or findings.levels_missing or not carries
    return "Partial" if cut or not single else "Complete"


def _reasons(findings: ProbeFindings, unknown: str, own: str) -> str:
    """The message: why values are missing, withdrawn, or measured with another request than specified."""
    why = (
        findings.failure,
        *(findings.shape.notes if findings.shape else ()),
        findings.search_ended,
        _other_prompts(findings),
        _waits_outside(findings),
        _unrated(findings.single.streams),
        findings.single.stall_note,
        f"{counted(findings.answers.longer, 'answer')} had more tokens than were asked for"
        if findings.answers.longer
        else "",
        unknown,
        _held_back(findings.single.streams),
        *findings.notes,
        *findings.disturbances(),
        own,
    )
    return in_clauses(why)[:MOST_NOTES_CHARACTERS]


def _counted_prompt(findings: ProbeFindings) -> int | None:
    """Tokens of a prompt of the workload as the engine counts them; None where it does not."""
    counts = [stream.prompt_tokens for stream in findings.single.streams if stream.prompt_tokens]
    return round(median(counts)) if counts else None


def _other_prompts(findings: ProbeFindings) -> str:
    """That the engine counts other prompts than were sent: it cuts them, adds to them, or counts wrong."""
    counted_tokens = _counted_prompt(findings)
    if counted_tokens is None or findings.shape is None:
        return ""
    sent = findings.shape.workload.input_tokens
    near = max(OTHER_PROMPT_TOKENS, OTHER_PROMPT_SHARE * sent)
    if counted_tokens > sent / 2 and abs(counted_tokens - sent) <= near:
        return ""
    return f"prompts of {counted(sent, 'token')} were sent, which the engine counts as {counted_tokens}"


def _waits_outside(findings: ProbeFindings) -> str:
    """Where TTFT sets the capacity: what of it passed outside the engine, which no GPU would shorten."""
    _, high = bracket(findings.tried())
    if high is None or (high.ttft_ratio or 0.0) <= 1 or (high.tpot_ratio or 0.0) > 1:
        return ""
    return findings.results[high.concurrency].waits_outside


def assemble(
    findings: ProbeFindings,
    live: LiveConfig,
    *,
    plan_key: str,
    ended: datetime,
    probe_seconds: float,
    kind: str = "Full",
    spread: float = 0.0,
) -> Measurement:
    """The measurement, from the findings of a probe.

    ``workload`` is the shape of the requests that were sent; where it differs from the requested one, the
    message explains it.
    """
    workload = findings.shape.workload if findings.shape else live.workload
    if (counted_tokens := _counted_prompt(findings)) is not None:
        workload = Workload(input_tokens=counted_tokens, output_tokens=workload.output_tokens)
    streams, lost = findings.single, findings.single.loss_percent + findings.single.drift_percent
    single = single_stream(streams.streams, streams.prompts, lost)
    capacity, rated = capacity_of(findings, workload, live.slo), findings.rated
    own, apart = _cross_check(findings)
    unknown = _unknown(single)
    more = {"ClientBound": apart, NOT_STEADY: bool(unknown)}
    flags = {*flags_of(findings, live.slo), *(flag for flag, raised in more.items() if raised)}
    level, _ = capacity_level(findings, live.slo)
    opened, fastest = findings.opened, saturation_level(rated.values())
    return Measurement(
        plan_key=plan_key,
        measure_key=live.measure_key,
        observed_time=format_time(ended),
        kind=kind,
        state=_state(findings, single=single is not None, carries=capacity is not None),
        message=_reasons(findings, unknown, own),
        probe_seconds=probe_seconds,
        workload=workload,
        output_spread_percent=100 * spread if len(findings.results) > 1 else 0.0,
        cold_first_request_milliseconds=findings.cold_first_request_milliseconds,
        single_stream=single,
        capacity=capacity,
        open_loop=opened.figures if opened else None,
        goodput=(opened.goodput if opened else None) or (level.goodput if level else None),
        saturation=Saturation(
            concurrency=fastest.point.concurrency,
            output_tokens_per_second=fastest.point.output_tokens_per_second,
        )
        if fastest
        else None,
        curve=tuple(_wider(rated[key].point, findings.single.drift_percent) for key in sorted(rated)),
        fit=fit_of(rated.values()),
        memory=MemoryActual(kv_cache_tokens=findings.before.kv_cache_tokens),
        kv_use=KvUse(
            max_usage_percent=None if findings.highest_kv_usage is None else 100 * findings.highest_kv_usage,
            preemptions=_preemptions(findings.before, findings.after),
        ),
        quality=findings.quality,
        flags=tuple(sorted(flags)),
    )


def _wider(point: CurvePoint, percent: float) -> CurvePoint:
    """The point with its confidence interval widened by ``percent``."""
    interval = None if point.ci_percent is None else point.ci_percent + percent
    return CurvePoint(**{**asdict(point), "ci_percent": interval})


def in_clauses(notes: Iterable[str]) -> str:
    """The notes joined by ``"; "``; the same characters inside a note are replaced, as an engine's text may
    contain them."""
    clauses = (note.replace("; ", ", ") for note in notes if note)
    return "; ".join(dict.fromkeys(clauses))
