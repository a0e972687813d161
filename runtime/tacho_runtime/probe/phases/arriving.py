"""What closed loops do not show: requests that arrive by themselves, and the front end's share."""

from __future__ import annotations

from dataclasses import replace

from tacho_runtime.probe import openloop
from tacho_runtime.probe.client import CLIENT_BOUND, behind
from tacho_runtime.probe.levels import LevelResult
from tacho_runtime.probe.openloop import OpenResult
from tacho_runtime.probe.phases.bench import SPREAD, Bench
from tacho_runtime.probe.ports import MachineSample, Trace
from tacho_runtime.probe.traffic import agreement

FRONT_END_RATE = 1500.0
"""Tokens per second from which one process that answers them all may be what limits."""
FRONT_END_GAIN = 1.15


async def front_end(bench: Bench) -> None:
    """Whether streaming, and not the engine, limits the highest level: the same without streaming."""
    best = max(bench.findings.rated.values(), key=_rate, default=None)
    if best is None or best.point.output_tokens_per_second < FRONT_END_RATE or bench.clock.left() < 4:
        return
    point = best.point
    bench.progress(f"measuring {point.concurrency} streams without streaming")
    rate = await bench.engine.unstreamed_rate(point.concurrency, bench.shape.workload, seconds=3.5)
    if rate is not None and rate > FRONT_END_GAIN * point.output_tokens_per_second:
        bench.findings.flags.add("FrontendBound")
        bench.findings.notes.append(
            f"at {point.concurrency} streams the engine makes {rate:.0f} tokens/s when it does not stream "
            f"and {point.output_tokens_per_second:.0f} when it does: its HTTP front end is the limit"
        )


def _rate(result: LevelResult) -> float:
    return result.point.output_tokens_per_second


async def arrivals(bench: Bench, concurrency: int) -> None:
    """Open loop at a share of what ``concurrency`` streams carried; once more with less where that was too
    much. What something disturbed is repeated at the same rate: it says nothing of that rate."""
    found = bench.findings.result(concurrency)
    if found is None:
        return
    rate = openloop.LOAD_SHARE * found.point.requests_per_second
    first = await _at_rate(bench, found, rate)
    if first is not None and first.flags:
        bench.progress("measuring requests as they arrive again: something disturbed them")
        again = await _at_rate(bench, found, rate)
        first = first if again is None or len(again.flags) > len(first.flags) else again
    if first is None:
        return
    lower = None
    if first.passed is False and not first.flags:
        lower = await _at_rate(bench, found, openloop.STEP_DOWN * rate)
    for result in filter(None, (first, lower)):
        bench.findings.opened.append(result)
        bench.findings.notes.extend(result.notes)


async def _at_rate(bench: Bench, carried: LevelResult, rate: float) -> OpenResult | None:
    """None where no time is left for enough of them, or nothing came of it."""
    one = bench.findings.result(1)
    last_look = 1.6 * one.point.end_to_end_milliseconds_p50 / 1000 if one else 0.0
    seconds = openloop.seconds_for(
        rate,
        request_seconds=carried.point.end_to_end_milliseconds_p50 / 1000,
        left_seconds=bench.clock.left() - last_look,
    )
    if not seconds:
        return None
    bench.progress(f"measuring {rate:.2g} requests a second as they arrive")
    before = bench.engine.machine(calibrate=True)
    trace = await bench.engine.open_loop(rate, bench.shape.workload, spread=SPREAD, seconds=seconds)
    bench.findings.saw(trace)
    result = openloop.evaluate_open(trace, bench.shape.workload, rate, bench.slo)
    disturbed = _disturbed(bench, before, trace, carried.point.tpot_milliseconds_p50)
    return None if result is None else replace(result, flags=disturbed)


def _disturbed(bench: Bench, before: MachineSample, trace: Trace, tpot: float) -> tuple[str, ...]:
    """Flags of what moved the latencies of an open loop; the words go to the findings."""
    checked, slow = agreement(trace), behind(trace.client, tpot)
    said = [*(checked.notes if checked.flags else ()), *([slow] if slow else ())]
    bench.findings.notes.extend(f"as they arrive, {note}" for note in said)
    around = bench.disturbed(before, "requests as they arrive")
    return tuple(sorted({*around.flags, *checked.flags, *([CLIENT_BOUND] if slow else ())}))
