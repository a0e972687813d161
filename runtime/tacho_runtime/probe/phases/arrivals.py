"""What closed loops do not show: requests that arrive by themselves, and the front end's share."""

from __future__ import annotations

from dataclasses import replace

from tacho_runtime.machine.sampling import MachineSample
from tacho_runtime.probe import open_loop
from tacho_runtime.probe.cross_checks import CLIENT_BOUND, check_counters, client_lateness
from tacho_runtime.probe.engine_under_test import LoadTrace
from tacho_runtime.probe.levels import LevelResult
from tacho_runtime.probe.open_loop import OpenLoopResult
from tacho_runtime.probe.session import SPREAD, ProbeSession

FRONT_END_RATE = 1500.0
"""Tokens per second from which one process that answers them all may be what limits."""
FRONT_END_GAIN = 1.15


async def front_end(bench: ProbeSession) -> None:
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
            f"at {point.concurrency} streams the engine generates {rate:.0f} tokens/s without streaming "
            f"and {point.output_tokens_per_second:.0f} with it: its HTTP front end limits it"
        )


def _rate(result: LevelResult) -> float:
    return result.point.output_tokens_per_second


async def arrivals(bench: ProbeSession, concurrency: int) -> None:
    """Open loop at a share of what ``concurrency`` streams carried; once more with less where that was too
    much. What something disturbed is repeated at the same rate: it says nothing of that rate."""
    found = bench.findings.result(concurrency)
    if found is None:
        return
    rate = open_loop.LOAD_SHARE * found.point.requests_per_second
    first = await _at_rate(bench, found, rate)
    if first is not None and first.flags:
        bench.progress("measuring the open loop again: it was disturbed")
        again = await _at_rate(bench, found, rate)
        first = first if again is None or len(again.flags) > len(first.flags) else again
    if first is None:
        return
    lower = None
    if first.passed is False and not first.flags:
        lower = await _at_rate(bench, found, open_loop.STEP_DOWN * rate)
    for result in filter(None, (first, lower)):
        bench.findings.opened.append(result)
        bench.findings.notes.extend(result.notes)


async def _at_rate(bench: ProbeSession, carried: LevelResult, rate: float) -> OpenLoopResult | None:
    """Result of an open loop at ``rate`` requests per second; None where no time is left for enough requests,
    or the loop gave no result."""
    one = bench.findings.result(1)
    last_look = 1.6 * one.point.end_to_end_milliseconds_p50 / 1000 if one else 0.0
    seconds = open_loop.seconds_for(
        rate,
        request_seconds=carried.point.end_to_end_milliseconds_p50 / 1000,
        left_seconds=bench.clock.left() - last_look,
    )
    if not seconds:
        return None
    bench.progress(f"measuring an open loop of {rate:.2g} requests/s")
    before = bench.engine.machine(calibrate=True)
    trace = await bench.engine.open_loop(rate, bench.shape.workload, spread=SPREAD, seconds=seconds)
    bench.findings.add_trace(trace)
    result = open_loop.evaluate_open(trace, bench.shape.workload, rate, bench.slo)
    disturbed = _disturbed(bench, before, trace, carried.point.tpot_milliseconds_p50)
    return None if result is None else replace(result, flags=disturbed)


def _disturbed(bench: ProbeSession, before: MachineSample, trace: LoadTrace, tpot: float) -> tuple[str, ...]:
    """Flags of what moved the latencies of an open loop; the words go to the findings."""
    checked, slow = check_counters(trace), client_lateness(trace.client, tpot)
    said = [*(checked.notes if checked.flags else ()), *([slow] if slow else ())]
    bench.findings.notes.extend(f"open loop: {note}" for note in said)
    around = bench.disturbed(before, "the open loop")
    return tuple(sorted({*around.flags, *checked.flags, *([CLIENT_BOUND] if slow else ())}))
