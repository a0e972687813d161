"""When the window of a load loop opens and closes, and the trace of all processes within it."""

from __future__ import annotations

import asyncio
import itertools
import math
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from tacho_runtime.machine.sampling import MachineSample
from tacho_runtime.probe.engine_under_test import ClientHealth, LoadTrace
from tacho_runtime.probe.load.counters import CounterReading
from tacho_runtime.probe.load.job import BIN_NS, NS, LoadProgress, LoadResult

POLL_SECONDS = 0.02
CLOSING_SHARE = 0.2
"""Of the time that is left when the window opens: the most that is kept for the reading at its end."""
LATEST_SECONDS = 1.0
"""Seconds that the end of a loop waits for the engine's counters beyond the loop's time."""
BETWEEN_SECONDS = 1.0

ReadCounters = Callable[[float], Awaitable[CounterReading]]
"""Function that reads the engine's counters within a limit in seconds; the result is empty where the engine
has none."""


class LoadPart(Protocol):
    """One process' part of a loop, in this process or another."""

    def start(self) -> None: ...
    def progress(self) -> LoadProgress: ...
    async def stop(self, start_ns: int, end_ns: int) -> LoadResult: ...
    async def hang_up(self) -> None: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class WindowTerms:
    origin_ns: int
    limit_ns: int
    """Monotonic time at which the loop ends, in nanoseconds."""
    open_at_ns: int
    """When the window opens at the latest."""
    wait_for: int | None
    """Number of streams after whose first token the window opens. None: it opens at ``open_at_ns``."""
    window_seconds: float = math.inf
    """Maximum length of the window, in seconds."""
    between: bool = False
    """Read the counters once a second too."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MeasuredWindow:
    start_ns: int
    end_ns: int
    """End of the window; start and end are both on the edge of a bin."""
    started: bool = False
    broken: bool = False
    readings: tuple[CounterReading, ...] = ()
    machine: tuple[MachineSample, ...] = ()


def _progress(parts: Sequence[LoadPart]) -> LoadProgress:
    each = [part.progress() for part in parts]
    return LoadProgress(
        begun=sum(one.begun for one in each),
        ended=sum(one.ended for one in each),
        failures=sum(one.failures for one in each),
        broken=any(one.broken for one in each),
    )


async def watch_window(
    parts: Sequence[LoadPart],
    terms: WindowTerms,
    read: ReadCounters,
    machine: Callable[[], MachineSample],
) -> MeasuredWindow:
    """Watches the loop from the start of ``parts`` to the end of the window. The parts continue to run
    afterwards."""
    begun = await _until_open(parts, terms)
    samples = [machine()]
    left_seconds = (terms.limit_ns - time.monotonic_ns()) / NS
    asked_ns = time.monotonic_ns()
    readings = [await read(max(0.5, left_seconds / 4))]
    took_seconds = (time.monotonic_ns() - asked_ns) / NS
    start_ns = _edge(terms.origin_ns, readings[0].stamp_ns)
    close_ns = terms.limit_ns - int(min(CLOSING_SHARE * left_seconds, 2 * took_seconds) * NS)
    close_ns = min(close_ns, start_ns + int(min(terms.window_seconds, left_seconds) * NS))
    next_ns = start_ns + int(BETWEEN_SECONDS * NS)
    now = _progress(parts)
    while not now.broken and (left_ns := close_ns - time.monotonic_ns()) > 0:
        await asyncio.sleep(min(POLL_SECONDS, left_ns / NS))
        now = _progress(parts)
        if terms.between and next_ns <= time.monotonic_ns() < close_ns:
            next_ns += int(BETWEEN_SECONDS * NS)
            readings.append(await read(BETWEEN_SECONDS))
    samples.append(machine())
    readings.append(await read(max(0.0, (terms.limit_ns - time.monotonic_ns()) / NS) + LATEST_SECONDS))
    end_ns = _edge(terms.origin_ns, readings[-1].stamp_ns)
    await asyncio.sleep(max(0, end_ns - time.monotonic_ns()) / NS)
    return MeasuredWindow(
        start_ns=start_ns,
        end_ns=end_ns,
        started=begun and not now.failures,
        broken=now.broken,
        readings=tuple(one for one in readings if one.counters.generated_tokens is not None),
        machine=tuple(samples),
    )


async def _until_open(parts: Sequence[LoadPart], terms: WindowTerms) -> bool:
    """Whether all streams had begun when it was time."""
    while True:
        now = _progress(parts)
        if terms.wait_for is not None and now.begun >= terms.wait_for:
            return True
        if now.broken or time.monotonic_ns() >= terms.open_at_ns:
            return terms.wait_for is None
        await asyncio.sleep(POLL_SECONDS)


def _edge(origin_ns: int, stamp_ns: int) -> int:
    """The edge of a bin that is nearest."""
    return origin_ns + max(0, round((stamp_ns - origin_ns) / BIN_NS)) * BIN_NS


def trace_of(
    results: Sequence[LoadResult], window: MeasuredWindow, *, origin_ns: int, concurrency: int, closed: bool
) -> LoadTrace:
    """``closed``: slots' first requests were of residual lives, and come first. Streams of an open loop are
    in the order of their intended sending times."""
    samples = sorted(
        (sample for one in results for sample in one.samples),
        key=lambda sample: (not sample.first, sample.stream.sent_ns) if closed else (False, sample.due_ns),
    )
    low, high = (window.start_ns - origin_ns) // BIN_NS, (window.end_ns - origin_ns) // BIN_NS
    failures = tuple(failure for one in results for failure in one.failures)
    bins = _summed_bins([one.bins for one in results], low, high)
    started = _summed_bins([one.started_bins for one in results], low, high)
    return LoadTrace(
        concurrency=concurrency,
        start_ns=window.start_ns,
        end_ns=window.end_ns,
        streams=tuple(sample.stream for sample in samples),
        residual=sum(sample.first for sample in samples) if closed else 0,
        intended_ns=() if closed else tuple(sample.due_ns for sample in samples),
        unanswered_ns=tuple(sorted(due_ns for one in results for due_ns in one.unanswered_ns)),
        bin_nanoseconds=BIN_NS,
        bins=tuple(bins),
        started_bins=tuple(map(round, started)),
        requests_ended=sum(sum(one.ended_bins[low:high]) for one in results),
        received_tokens=sum(one.received_tokens for one in results),
        readings=window.readings,
        machine=window.machine,
        client=_worst([one.health for one in results]),
        started=window.started and not failures,
        failures=failures,
        broken=window.broken,
    )


def _summed_bins(parts: Sequence[Sequence[float]], low: int, high: int) -> list[float]:
    """Sums of the processes' bins from ``low`` to ``high``; zeros where a process has no bin that late."""
    sums = [sum(column) for column in itertools.zip_longest(*(part[low:high] for part in parts), fillvalue=0)]
    return [*sums, *[0.0] * (high - low - len(sums))]


def _worst(healths: Sequence[ClientHealth]) -> ClientHealth:
    return ClientHealth(
        lag_milliseconds_p99=max(one.lag_milliseconds_p99 for one in healths),
        late_send_milliseconds_p99=max(one.late_send_milliseconds_p99 for one in healths),
        cpu_share=max(one.cpu_share for one in healths),
        processes=len(healths),
    )


def stepped_rate(readings: Sequence[CounterReading]) -> float | None:
    """Tokens per second between the first and the last reading. None: the engine does not count them, or
    only when a request ends."""
    if len(readings) < 2:
        return None
    first, last = readings[0], readings[-1]
    before, after = first.counters.generated_tokens, last.counters.generated_tokens
    took_ns = last.stamp_ns - first.stamp_ns
    if before is None or after is None or took_ns <= 0 or not last.counters.by_step:
        return None
    return (after - before) / (took_ns / NS)
