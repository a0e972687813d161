"""The open loop of a probe: requests at random times, at a share of the capacity that the closed loop
found."""

from __future__ import annotations

import math
from dataclasses import replace

from tacho_contract.measurement import Capacity
from tacho_runtime.machine.sampling import MachineSample
from tacho_runtime.probe import open_loop
from tacho_runtime.probe.cross_checks import CLIENT_BOUND, check_counters, client_lateness
from tacho_runtime.probe.engine_under_test import LoadTrace
from tacho_runtime.probe.open_loop import OpenLoopResult
from tacho_runtime.probe.session import SPREAD, ProbeSession

CLOSING_REQUESTS = 1.6
"""Time kept for the final check of one stream, as a multiple of one request's duration."""


async def arrivals(bench: ProbeSession, capacity: Capacity) -> None:
    """Runs an open loop at LOAD_SHARE of the capacity, and adds its result to the findings.

    A disturbed one is repeated once where time is left, and the one with fewer flags counts.
    """
    rate = open_loop.LOAD_SHARE * (capacity.requests_per_second or 0.0)
    first = await _at_rate(bench, capacity, rate)
    if first is not None and first.flags:
        bench.progress("measuring the open loop again: it was disturbed")
        again = await _at_rate(bench, capacity, rate)
        first = first if again is None or len(again.flags) > len(first.flags) else again
    if first is not None:
        bench.findings.opened = first
        bench.findings.notes.extend(first.notes)


def closing_seconds(bench: ProbeSession) -> float:
    """Seconds to reserve for the final check of one stream."""
    one = bench.findings.results.get(1)
    return CLOSING_REQUESTS * (one.point.end_to_end_milliseconds_p50 or 0.0) / 1000 if one else 0.0


def needed_seconds(bench: ProbeSession, streams: int, requests_per_second: float) -> float:
    """Seconds that the open loop and the final check take, where ``streams`` streams give
    ``requests_per_second``."""
    seconds = open_loop.seconds_for(
        open_loop.LOAD_SHARE * requests_per_second,
        request_seconds=streams / requests_per_second if requests_per_second else 0.0,
        left_seconds=math.inf,
        slo=bench.slo,
    )
    return seconds + closing_seconds(bench)


async def _at_rate(bench: ProbeSession, capacity: Capacity, rate: float) -> OpenLoopResult | None:
    """Result of an open loop at ``rate`` requests per second; None where no time is left for enough requests,
    or the loop gave no result."""
    carried = capacity.requests_per_second or 0.0
    seconds = open_loop.seconds_for(
        rate,
        request_seconds=(capacity.concurrency or 1) / carried if carried else 0.0,
        left_seconds=bench.clock.left() - closing_seconds(bench),
        slo=bench.slo,
    )
    if not seconds:
        return None
    bench.progress(f"measuring an open loop of {rate:.2g} requests/s")
    before = await bench.engine.machine(calibrate=True)
    trace = await bench.engine.open_loop(rate, bench.shape.workload, spread=SPREAD, seconds=seconds)
    bench.findings.add_trace(trace)
    result = open_loop.evaluate_open(trace, bench.shape.workload, rate, bench.slo)
    if result is None:
        return None
    tpot = result.figures.tpot_milliseconds_p50 if result.figures else None
    return replace(result, flags=await _disturbed(bench, before, trace, tpot or 0.0))


async def _disturbed(
    bench: ProbeSession, before: MachineSample, trace: LoadTrace, tpot: float
) -> tuple[str, ...]:
    """Flags of what changed the latencies of an open loop; the descriptions are added to the findings."""
    checked, slow = check_counters(trace), client_lateness(trace.client, tpot)
    notes = [*(checked.notes if checked.flags else ()), *([slow] if slow else ())]
    bench.findings.notes.extend(f"open loop: {note}" for note in notes)
    around = await bench.disturbed(before, "the open loop")
    return tuple(sorted({*around.flags, *checked.flags, *([CLIENT_BOUND] if slow else ())}))
