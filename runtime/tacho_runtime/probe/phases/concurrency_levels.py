"""Levels of several streams at a time, until the edge or the knee is known."""

from __future__ import annotations

from dataclasses import replace

from tacho_contract.measurement import INVALIDATING
from tacho_contract.units import counted
from tacho_runtime.probe import level_search, time_plan
from tacho_runtime.probe.cross_checks import CLIENT_BOUND, client_lateness
from tacho_runtime.probe.engine_under_test import LoadTrace
from tacho_runtime.probe.levels import LevelResult, evaluate
from tacho_runtime.probe.phases import stability
from tacho_runtime.probe.session import SPREAD, ProbeSession

FEWEST_STREAMS = 4
ARRIVALS_SHARE = 0.35
"""Maximum share of the time left, when the levels begin, that is kept for the open loop."""
LEVELS_FIRST_SECONDS = 8.0
"""Seconds of the time left that the levels get before any time is kept for the open loop, which only confirms
a level."""
MOVED = INVALIDATING - {"NotSteady"}
"""What kept a level from being told at all, where it was not the engine's own unevenness."""
LONGER = 3.0
"""Times the window that told nothing."""
LONGER_SHARE = 0.6
"""Of the time left, for that: one rate that is known is worth more than several levels that are not."""
AGAIN_TIMES = 3.0
"""Of a level's time has to be left for it to be measured a second time."""
AFTER_FAILURES_SECONDS = 1.0
"""Of rest for a server whose connections broke, before that."""
ARRIVALS_SECONDS = 6.0
"""Besides the time of one request more."""


async def measure_levels(bench: ProbeSession, top: int, *, desired: int) -> None:
    """Levels above one stream until enough is known of the edge or the knee, or the time is over.

    ``desired``: what the plan counts with; the time was short where not even that could be tried. Time for
    requests as they arrive is kept.
    """
    findings, clock = bench.findings, bench.clock
    one = findings.result(1)
    ttft = one.point.ttft_milliseconds_p50 / 1000 if one else 0.0
    alone = one.point.end_to_end_milliseconds_p50 / 1000 if one else 0.0
    affordable = time_plan.affordable_top(top, left_seconds=clock.left(), ttft_seconds=ttft)
    if affordable < min(top, desired):
        _out_of_time(bench, f"{min(top, desired)} streams would spend the time on their first prompts alone")
    most_kept = ARRIVALS_SHARE * max(0.0, clock.left() - LEVELS_FIRST_SECONDS)
    for _ in range(time_plan.MAX_LEVELS):
        step = level_search.next_level(findings.tried(), top=affordable)
        findings.boundary = step.boundary
        if step.concurrency is None:
            findings.search_ended = step.reason
            return
        # Above what gave no figure nothing is tried a second time.
        concurrency = min(step.concurrency, affordable)
        if findings.result(concurrency) is not None:
            findings.levels_missing = True
            return
        # A batch shares the engine's steps: at more streams a request takes longer than alone.
        request_seconds = max(alone, _nearest_seconds(bench, concurrency))
        seconds, window = time_plan.level_seconds(
            concurrency=concurrency,
            left_seconds=clock.left() - min(most_kept, ARRIVALS_SECONDS + 1.3 * request_seconds),
            ttft_seconds=ttft,
            request_seconds=request_seconds,
            # A first level is worth more than no level, however short.
            shortest_seconds=0.5 if len(findings.results) < 2 else time_plan.SHORTEST_WINDOW_SECONDS,
        )
        if not seconds:
            break
        bench.progress(f"measuring {concurrency} streams")
        told = await _level(bench, concurrency, seconds, window)
        await stability.check_between_levels(bench)
        if told:
            continue
        if 0 < findings.observed_limit < concurrency:
            affordable = findings.observed_limit
            continue
        if concurrency <= max(desired, FEWEST_STREAMS):
            findings.levels_missing = True
            if concurrency <= 2:
                return
            affordable = concurrency // 2
            continue
        # Far beyond the capacity of the engine nothing arrives in time; nearer to it, something will.
        affordable = max(desired, FEWEST_STREAMS, concurrency // 4)
    _out_of_time(
        bench, f"no time was left: {level_search.next_level(findings.tried(), top=affordable).reason}"
    )


def _nearest_seconds(bench: ProbeSession, concurrency: int) -> float:
    """Seconds that a request took at the level with the most similar number of streams."""
    results = bench.findings.results
    nearest = min(results, key=lambda level: abs(level - concurrency), default=None)
    return 0.0 if nearest is None else results[nearest].point.end_to_end_milliseconds_p50 / 1000


def _out_of_time(bench: ProbeSession, what: str) -> None:
    bench.findings.levels_missing = bench.findings.out_of_time = True
    bench.findings.notes.append(f"{what} ({bench.advice.more_time})")


async def _level(bench: ProbeSession, concurrency: int, seconds: float, window: float) -> bool:
    """One closed-loop level into the findings, twice where the first was disturbed, ended by failures, or too
    short for tokens that come so unevenly, and the time allows."""
    for attempt in (1, 2):
        result, broke = await _once(bench, concurrency, seconds, window)
        if result is None and broke and attempt == 1 and bench.clock.left() > AGAIN_TIMES * seconds:
            bench.progress(f"measuring {concurrency} streams again: requests failed")
            await bench.engine.pause(AFTER_FAILURES_SECONDS)
            continue
        if result is None:
            return bench.findings.result(concurrency) is not None
        if not result.has_rate and not result.broken:
            start = seconds - window
            longer = min(LONGER * window, LONGER_SHARE * bench.clock.left() - start)
            if attempt == 1 and longer > window:
                bench.progress(f"measuring {concurrency} streams again, for longer: they were uneven")
                seconds, window = start + longer, longer
                continue
            bench.findings.notes.append(f"{concurrency} streams have no rate: tokens arrived too unevenly")
            bench.findings.flags.update(MOVED.intersection(result.point.flags))
            return bench.findings.result(concurrency) is not None
        if not result.has_rate:
            bench.findings.notes.append(f"{concurrency} streams miss the SLO, and are too uneven for a rate")
        bench.findings.add_level(result)
        if result.clean or attempt == 2 or bench.clock.left() < AGAIN_TIMES * seconds:
            return True
        bench.progress(f"measuring {concurrency} streams again: they were disturbed")
    return True


async def _once(
    bench: ProbeSession, concurrency: int, seconds: float, window: float
) -> tuple[LevelResult | None, bool]:
    """(the level, None where it tells nothing, whether failures ended it)."""
    findings = bench.findings
    before = bench.engine.machine(calibrate=True)
    trace = await bench.engine.closed_loop(
        concurrency, bench.shape.workload, spread=SPREAD, seconds=seconds, window_seconds=window
    )
    findings.add_trace(trace)
    if 0 < (takes := observed_limit(trace)) < concurrency:
        findings.observed_limit = takes
        findings.notes.append(f"the engine runs {counted(takes, 'request')} at a time, others queue")
        return None, False
    if trace.failures:
        findings.notes.append(
            f"{counted(len(trace.failures), 'request')} failed at {concurrency} streams: {trace.failures[0]}"
        )
    if trace.broken:
        return None, True
    result = evaluate(trace, bench.shape.workload, bench.slo)
    around = bench.disturbed(before, f"{concurrency} streams")
    if result is None:
        findings.flags.update(around.flags)
        findings.notes.append(f"{concurrency} streams could not be measured")
        return None, False
    findings.notes.extend(result.notes)
    flags = {*result.point.flags, *around.flags}
    if slow := client_lateness(trace.client, result.point.tpot_milliseconds_p50):
        flags.add(CLIENT_BOUND)
        findings.notes.append(f"at {concurrency} streams {slow}")
    interval = result.point.ci_percent
    point = replace(
        result.point,
        flags=tuple(sorted(flags)),
        ci_percent=None if interval is None else interval + around.loss_percent,
    )
    return replace(result, point=point), False


def observed_limit(trace: LoadTrace) -> int:
    """How many requests the engine had at a time while further ones waited, by its own gauges; 0: none
    waited, or it does not say."""
    full = [
        one.counters.running
        for one in trace.readings
        if one.counters.running and one.counters.waiting and one.counters.running < trace.concurrency
    ]
    return round(max(full)) if len(full) == len(trace.readings) and full else 0


async def measure_only(bench: ProbeSession, concurrency: int) -> None:
    """Measures one level, as a check of an earlier probe's result."""
    if concurrency <= 1:
        return
    one = bench.findings.result(1)
    seconds, window = time_plan.level_seconds(
        concurrency=concurrency,
        left_seconds=max(0.0, bench.clock.left()),
        ttft_seconds=one.point.ttft_milliseconds_p50 / 1000 if one else 0.0,
        request_seconds=one.point.end_to_end_milliseconds_p50 / 1000 if one else 0.0,
    )
    bench.progress(f"measuring {concurrency} streams")
    if not seconds or not await _level(bench, concurrency, seconds, window):
        _out_of_time(bench, f"{concurrency} streams could not be measured")
