"""Reuses levels that an earlier probe measured before its time ran out, where they hold in this pod.

First one stream must agree with the known single stream. Then the single stream and the levels are reused,
and only the prompt time is measured again, as the loop begins.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, replace

from tacho_contract.measurement import CurvePoint, KnownLevels, SingleStream
from tacho_runtime.probe.levels import LevelResult, MeasuredLevel
from tacho_runtime.probe.phases import single_stream
from tacho_runtime.probe.rates import DecodeRate, decode_of
from tacho_runtime.probe.session import ProbeSession, gains_too_much
from tacho_runtime.probe.statistics import median

AGREEING_PERCENT, MOST_PERCENT = 3.0, 10.0
"""Difference of two pods' single streams that is always, and never, within their intervals."""
LENGTH_SHARE = 0.02
"""Difference of prompt lengths as counted, as a share: text in place of token ids varies by that."""


async def reuse_levels(bench: ProbeSession, known: KnownLevels, *, ttft: float, tpot: float) -> bool:
    """Adds the known levels to the findings where this pod's single stream agrees with them.

    Returns False where it does not, and the levels are dropped.
    """
    findings, former = bench.findings, bench.shape
    bench.shape = findings.shape = replace(
        former,
        workload=replace(former.workload, output_tokens=known.workload.output_tokens),
        time_was_short=former.time_was_short or known.workload.output_tokens < former.workload.output_tokens,
    )
    bench.progress("measuring whether the known levels hold here")
    await single_stream.one_stream(bench, ttft=ttft, tpot=tpot, most=1)
    results = [found for point in known.levels if (found := result_of(point)) is not None]
    why = disagreement(known, decode_of(findings.single.streams), _prompt_tokens(bench)) or impossible(
        results
    )
    if why or not results:
        findings.notes.append(
            f"the known levels of {known.observed_time} were dropped: {why or 'none is whole'}"
        )
        bench.shape = findings.shape = former
        return False
    findings.known = known
    findings.single.drift_percent = drift_percent(known.single_stream, decode_of(findings.single.streams))
    findings.results.update({one.point.concurrency: one for one in results})
    findings.known_streams = {one.point.concurrency for one in results if one.has_rate} - {1}
    return True


def _prompt_tokens(bench: ProbeSession) -> float:
    counts = [one.prompt_tokens for one in bench.findings.single.streams if one.prompt_tokens]
    return median([float(one) for one in counts]) if counts else float(bench.shape.workload.input_tokens)


def disagreement(known: KnownLevels, here: DecodeRate | None, prompt_tokens: float) -> str:
    """Why the known levels do not hold for a pod with this single stream, as a clause; "": they hold."""
    expected, rate = known.workload.input_tokens, known.single_stream.decode_tokens_per_second
    if abs(prompt_tokens - expected) > max(2.0, LENGTH_SHARE * expected):
        return f"prompts had {expected} tokens then and {prompt_tokens:.0f} now"
    if here is None or not rate:
        return "the rate of one stream is not known"
    allowed = min(MOST_PERCENT, max(AGREEING_PERCENT, _interval(known.single_stream, here)))
    if 100 * abs(here.tokens_per_second / rate - 1) <= allowed:
        return ""
    return f"one stream decoded {rate:.1f} tokens/s then and {here.tokens_per_second:.1f} now"


def impossible(results: Sequence[LevelResult]) -> str:
    """Why these levels are of no engine, as a clause; "": they may be of one."""
    one = next((result.point for result in results if result.point.concurrency == 1), None)
    for point in (result.point for result in results):
        if one is not None and point.concurrency > 1 and gains_too_much(one, point):
            return f"{point.concurrency} streams had more than {point.concurrency} times the rate of one"
    return ""


def drift_percent(known: SingleStream, here: DecodeRate | None) -> float:
    """Difference of this pod's single stream from the known one, in percent; 0 where their intervals explain
    it."""
    if here is None or not known.decode_tokens_per_second:
        return 0.0
    apart = 100 * abs(here.tokens_per_second / known.decode_tokens_per_second - 1)
    return apart if apart > _interval(known, here) else 0.0


def _interval(known: SingleStream, here: DecodeRate) -> float:
    """Half the 95 % interval of the difference between both rates, in percent."""
    return math.hypot(known.decode_ci_percent or 0.0, here.ci_percent or 0.0)


def result_of(point: CurvePoint) -> LevelResult | None:
    """A known level in the form that the search and the report use; None where a figure is missing, or of no
    level."""
    needed = ("window_seconds", "requests", "requests_per_second", "output_tokens_per_second")
    latencies = ("ttft_milliseconds_p50", "tpot_milliseconds_p50")
    if any(getattr(point, name) is None for name in (*needed, *latencies)):
        return None
    if point.concurrency < 1 or any(getattr(point, name) <= 0 for name in needed):
        return None
    return LevelResult(point=MeasuredLevel(**asdict(point)))
