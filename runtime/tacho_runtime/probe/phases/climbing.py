"""Levels of several streams at a time, until the edge or the knee is known."""

from __future__ import annotations

from dataclasses import replace

from tacho_contract.measurement import INVALIDATING
from tacho_contract.units import counted
from tacho_runtime.probe import knee, search
from tacho_runtime.probe.client import CLIENT_BOUND, behind
from tacho_runtime.probe.levels import LevelResult, evaluate
from tacho_runtime.probe.phases import looking
from tacho_runtime.probe.phases.bench import SPREAD, Bench
from tacho_runtime.probe.ports import Trace

FEWEST_STREAMS = 4
ARRIVALS_SHARE = 0.35
"""At most so much of the time left when the levels begin is kept for requests as they arrive."""
LEVELS_FIRST_SECONDS = 8.0
"""Of which nothing is kept: without levels there is nothing that arrivals could confirm."""
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


async def levels(bench: Bench, top: int, *, wanted: int) -> None:
    """Levels above one stream until enough is known of the edge or the knee, or the time is over.

    ``wanted``: what the plan counts with; the time was short where not even that could be tried. Time for
    requests as they arrive is kept.
    """
    findings, clock = bench.findings, bench.clock
    one = findings.result(1)
    ttft = one.point.ttft_milliseconds_p50 / 1000 if one else 0.0
    alone = one.point.end_to_end_milliseconds_p50 / 1000 if one else 0.0
    affordable = search.affordable_top(top, left_seconds=clock.left(), ttft_seconds=ttft)
    if affordable < min(top, wanted):
        _out_of_time(bench, f"{min(top, wanted)} streams would spend the time on their first prompts alone")
    most_kept = ARRIVALS_SHARE * max(0.0, clock.left() - LEVELS_FIRST_SECONDS)
    for _ in range(search.MOST_LEVELS):
        step = knee.next_level(findings.tried(), top=affordable)
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
        seconds, window = search.level_seconds(
            concurrency=concurrency,
            left_seconds=clock.left() - min(most_kept, ARRIVALS_SECONDS + 1.3 * request_seconds),
            ttft_seconds=ttft,
            request_seconds=request_seconds,
            # A first level is worth more than no level, however short.
            shortest_seconds=0.5 if len(findings.results) < 2 else search.SHORTEST_WINDOW_SECONDS,
        )
        if not seconds:
            break
        bench.progress(f"measuring {concurrency} streams")
        told = await _level(bench, concurrency, seconds, window)
        await looking.between(bench)
        if told:
            continue
        if 0 < findings.takes < concurrency:
            affordable = findings.takes
            continue
        if concurrency <= max(wanted, FEWEST_STREAMS):
            findings.levels_missing = True
            if concurrency <= 2:
                return
            affordable = concurrency // 2
            continue
        # Far beyond what the engine can do, nothing comes in time; nearer to it, something will.
        affordable = max(wanted, FEWEST_STREAMS, concurrency // 4)
    _out_of_time(bench, f"no time was left: {knee.next_level(findings.tried(), top=affordable).reason}")


def _nearest_seconds(bench: Bench, concurrency: int) -> float:
    """What a request took at the level most like it."""
    results = bench.findings.results
    nearest = min(results, key=lambda level: abs(level - concurrency), default=None)
    return 0.0 if nearest is None else results[nearest].point.end_to_end_milliseconds_p50 / 1000


def _out_of_time(bench: Bench, what: str) -> None:
    bench.findings.levels_missing = bench.findings.out_of_time = True
    bench.findings.notes.append(f"{what} ({bench.advice.more_time})")


async def _level(bench: Bench, concurrency: int, seconds: float, window: float) -> bool:
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
        if not result.founded and not result.broken:
            start = seconds - window
            longer = min(LONGER * window, LONGER_SHARE * bench.clock.left() - start)
            if attempt == 1 and longer > window:
                bench.progress(f"measuring {concurrency} streams again, for longer: they were uneven")
                seconds, window = start + longer, longer
                continue
            bench.findings.notes.append(f"{concurrency} streams were too uneven to tell a rate in the time")
            bench.findings.flags.update(MOVED.intersection(result.point.flags))
            return bench.findings.result(concurrency) is not None
        if not result.founded:
            bench.findings.notes.append(
                f"{concurrency} streams, too uneven to tell a rate, break the service level"
            )
        bench.findings.keep(result)
        if result.clean or attempt == 2 or bench.clock.left() < AGAIN_TIMES * seconds:
            return True
        bench.progress(f"measuring {concurrency} streams again: something disturbed them")
    return True


async def _once(
    bench: Bench, concurrency: int, seconds: float, window: float
) -> tuple[LevelResult | None, bool]:
    """(the level, None where it tells nothing, whether failures ended it)."""
    findings = bench.findings
    before = bench.engine.machine(calibrate=True)
    trace = await bench.engine.closed_loop(
        concurrency, bench.shape.workload, spread=SPREAD, seconds=seconds, window_seconds=window
    )
    findings.saw(trace)
    if 0 < (takes := taken(trace)) < concurrency:
        findings.takes = takes
        findings.notes.append(f"the engine takes {counted(takes, 'request')} at a time, further ones wait")
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
        findings.notes.append(f"{concurrency} streams gave no figure")
        return None, False
    findings.notes.extend(result.notes)
    flags = {*result.point.flags, *around.flags}
    if slow := behind(trace.client, result.point.tpot_milliseconds_p50):
        flags.add(CLIENT_BOUND)
        findings.notes.append(f"at {concurrency} streams {slow}")
    interval = result.point.ci_percent
    point = replace(
        result.point,
        flags=tuple(sorted(flags)),
        ci_percent=None if interval is None else interval + around.loss_percent,
    )
    return replace(result, point=point), False


def taken(trace: Trace) -> int:
    """How many requests the engine had at a time while further ones waited, by its own gauges; 0: none
    waited, or it does not say."""
    full = [
        one.counters.running
        for one in trace.readings
        if one.counters.running and one.counters.waiting and one.counters.running < trace.concurrency
    ]
    return round(max(full)) if len(full) == len(trace.readings) and full else 0


async def only(bench: Bench, concurrency: int) -> None:
    """One level, as a check of what an earlier probe found."""
    if concurrency <= 1:
        return
    one = bench.findings.result(1)
    seconds, window = search.level_seconds(
        concurrency=concurrency,
        left_seconds=max(0.0, bench.clock.left()),
        ttft_seconds=one.point.ttft_milliseconds_p50 / 1000 if one else 0.0,
        request_seconds=one.point.end_to_end_milliseconds_p50 / 1000 if one else 0.0,
    )
    bench.progress(f"measuring {concurrency} streams")
    if not seconds or not await _level(bench, concurrency, seconds, window):
        _out_of_time(bench, f"no figure came of {concurrency} streams")
