"""Runs closed and open loops over sockets: when each stream starts, and when the window opens and closes."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field, replace
from random import Random

from tacho_runtime.probe.engine_under_test import Cohort, LevelTerms, LoadTrace
from tacho_runtime.probe.load.engine_counters import CounterReading
from tacho_runtime.probe.load.job import (
    NS,
    LoadProgress,
    OutputLengths,
    StreamSlot,
    poisson_times,
    residual_lives,
)
from tacho_runtime.probe.load.load_group import LoadGroup, MeasuredWindow, trace_of, window_edge
from tacho_runtime.probe.load.streams import StreamResult
from tacho_runtime.probe.load.workers import processes_for
from tacho_runtime.probe.statistics import median

RAMP_POLL_SECONDS = 0.02
POLL_SECONDS = 0.25
BETWEEN_SECONDS = 2.0
"""Seconds between two readings of the engine's counters; each costs the engine's front end milliseconds."""
READ_SECONDS = 2.0
"""Timeout in seconds of a reading of the counters during a loop; a slower one is left out."""
COUNTED_STREAMS = 16
"""Number of streams whose requests ask for token counts in each chunk, which costs CPU time of the engine's
front end.

The other streams' tokens are known from the usage at the end of each answer.
"""
LEAD_NS = 50_000_000
"""Nanoseconds from the plan of a loop to its first request."""
OPEN_FILL_SHARE = 0.3
"""Largest share of an open loop's time until its window opens."""


@dataclass(slots=True)
class ObservedLatency:
    """Latencies measured so far, by number of streams: (TTFT in seconds, seconds per token)."""

    _seen: dict[int, tuple[float, float]] = field(default_factory=dict)

    def learn(self, concurrency: int, streams: Sequence[StreamResult]) -> None:
        ttfts = [ttft for stream in streams if (ttft := stream.ttft_milliseconds) is not None]
        tpots = [tpot for stream in streams if (tpot := stream.tpot_milliseconds) is not None]
        if ttfts and tpots:
            self._seen[concurrency] = median(ttfts) / 1000, median(tpots) / 1000

    def service_seconds(self, concurrency: int, output_tokens: int) -> float:
        """Least duration of one request in seconds: more streams only make each slower. 0: none was
        measured."""
        ttft, tpot = self._nearest(concurrency)
        return ttft + output_tokens * tpot

    def tokens_per_second(self, concurrency: int) -> float:
        """Most tokens per second that all streams together can get. 0: none was measured."""
        tpot = self._nearest(concurrency)[1]
        return concurrency / tpot if tpot > 0 else 0.0

    def _nearest(self, concurrency: int) -> tuple[float, float]:
        """(TTFT, seconds per token) measured with the most streams that are at most ``concurrency``."""
        below = [level for level in self._seen if level <= concurrency]
        return self._seen[max(below)] if below else (0.0, 0.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class LoopSetting:
    """The request and the known latencies of the engine that a loop uses."""

    read: Callable[[float], Awaitable[CounterReading]]
    """Reads the engine's counters within a limit in seconds; empty where the engine has none."""
    pace: ObservedLatency
    rng: Random
    cpus: int


class SocketLoop:
    """A closed loop over sockets that continues between levels; the real implementation of ``SteadyLoop``."""

    def __init__(self, group: LoadGroup, setting: LoopSetting) -> None:
        self._group, self._setting = group, setting
        self._added = 0
        self._window = MeasuredWindow()
        """The last window that was measured."""

    async def level(self, terms: LevelTerms, enough: Callable[[Cohort], bool]) -> LoadTrace:
        setting, group = self._setting, self._group
        if not terms.opened_ns:
            self._window = await self._open(terms)
        self._window = window = await self._watch(self._window, terms, enough)
        results = await group.collect(window.start_ns, window.end_ns)
        window = replace(window, readings=_answered(window.readings))
        trace = trace_of(results, window, concurrency=terms.streams)
        setting.pace.learn(terms.streams, trace.cohort)
        return trace

    async def close(self) -> None:
        await self._group.hang_up()

    async def _open(self, terms: LevelTerms) -> MeasuredWindow:
        """Brings the loop to the number of streams in ``terms``. Returns the window with its start only."""
        setting, group = self._setting, self._group
        until = time.monotonic() + terms.ramp_seconds
        await group.grow(processes_for(setting.pace.tokens_per_second(terms.streams), setting.cpus))
        present = (await group.counts()).staying
        await group.turn(self._slots(terms.streams - present, terms), max(0, present - terms.streams))
        full = await self._until_full(terms.streams, until)
        await asyncio.sleep(min(terms.settle_seconds, max(0.0, until - time.monotonic())))
        reading = await setting.read(READ_SECONDS)
        start_ns = window_edge(group.job.origin_ns, reading.stamp_ns)
        return MeasuredWindow(start_ns=start_ns, started=full, readings=(reading,))

    def _slots(self, count: int, terms: LevelTerms) -> tuple[StreamSlot, ...]:
        """Slots for ``count`` new streams, one gap apart. The first answer of each is shortened at random, so
        that their ends are spread evenly.
        """
        job = self._group.job
        lives = residual_lives(max(0, count), job.output_tokens, job.spread, self._setting.rng)
        start_ns = time.monotonic_ns() + LEAD_NS
        slots = tuple(
            StreamSlot(
                start_ns + int(index * terms.gap_seconds * NS),
                life,
                self._added + index < COUNTED_STREAMS,
            )
            for index, life in enumerate(lives)
        )
        self._added += len(slots)
        return slots

    async def _until_full(self, streams: int, until: float) -> bool:
        """Waits until ``streams`` streams run and each has begun to receive; False at the time ``until``."""
        while True:
            now = await self._group.counts()
            if now.begun == now.streams == streams:
                return True
            if now.broken or time.monotonic() >= until:
                return False
            await asyncio.sleep(RAMP_POLL_SECONDS)

    async def _watch(
        self, window: MeasuredWindow, terms: LevelTerms, enough: Callable[[Cohort], bool]
    ) -> MeasuredWindow:
        """Waits until the window can close; returns ``window`` with its end and the counters read since."""
        setting, origin_ns = self._setting, self._group.job.origin_ns
        readings, start_ns = [*window.readings], window.start_ns
        closes_ns = start_ns + int(terms.window_seconds * NS)
        while True:
            await asyncio.sleep(POLL_SECONDS)
            now, requests = await self._group.cohort(start_ns)
            stamp_ns = time.monotonic_ns()
            closes_ns = terms.closes_ns(start_ns, [one.sent_ns for one in requests])
            sent = tuple(one for one in requests if one.sent_ns <= closes_ns)
            seconds = (stamp_ns - start_ns) / NS
            if now.broken or enough(Cohort(seconds, sent)):
                break
            late = stamp_ns >= closes_ns + int(terms.follow_seconds * NS)
            over = stamp_ns >= closes_ns and (late or all(one.ended for one in sent))
            if over and seconds >= terms.least_seconds:
                break
            if stamp_ns - readings[-1].stamp_ns > BETWEEN_SECONDS * NS:
                readings.append(await setting.read(READ_SECONDS))
        readings.append(await setting.read(READ_SECONDS))
        end_ns = window_edge(origin_ns, readings[-1].stamp_ns)
        await asyncio.sleep(max(0, end_ns - time.monotonic_ns()) / NS)
        return replace(
            window,
            end_ns=end_ns,
            sent_until_ns=min(closes_ns, end_ns),
            broken=now.broken,
            readings=tuple(readings),
        )


def _answered(readings: Sequence[CounterReading]) -> tuple[CounterReading, ...]:
    return tuple(
        one for one in readings if one.counters.generated_tokens is not None or one.requests_there is not None
    )


async def run_open_loop(
    group: LoadGroup, setting: LoopSetting, requests_per_second: float, *, seconds: float
) -> LoadTrace:
    """Sends requests at random (Poisson) times for ``seconds``; requests that have not ended by then are cut.

    The window opens after one service time, when the number of requests in flight is steady.
    """
    began_ns = time.monotonic_ns()
    job, pace = group.job, setting.pace
    await group.grow(processes_for(requests_per_second * job.output_tokens, setting.cpus))
    now_ns = time.monotonic_ns()
    limit_ns = began_ns + int(seconds * NS)
    lengths = OutputLengths(job.output_tokens, job.spread, setting.rng)
    times = poisson_times(requests_per_second, (limit_ns - now_ns - LEAD_NS) / NS, setting.rng)
    streams = requests_per_second * pace.service_seconds(1, job.output_tokens)
    service = pace.service_seconds(max(1, round(streams)), job.output_tokens)
    opens_ns = now_ns + LEAD_NS + int(min(service, OPEN_FILL_SHARE * seconds) * NS)
    try:
        await group.turn([StreamSlot(now_ns + LEAD_NS + int(at * NS), lengths.draw()) for at in times], 0)
        await _wait_until(group, opens_ns)
        readings = [await setting.read(READ_SECONDS)]
        took_ns = time.monotonic_ns() - opens_ns
        broken = (await _wait_until(group, limit_ns - min(took_ns, (limit_ns - opens_ns) // 5))).broken
        readings.append(await setting.read(READ_SECONDS))
        window = MeasuredWindow(
            start_ns=window_edge(job.origin_ns, readings[0].stamp_ns),
            end_ns=window_edge(job.origin_ns, readings[1].stamp_ns),
            broken=broken,
            readings=_answered(readings),
        )
        results = await group.collect(window.start_ns, window.end_ns)
    finally:
        await group.hang_up()
    return trace_of(results, window, concurrency=None)


async def _wait_until(group: LoadGroup, moment_ns: int) -> LoadProgress:
    """Waits until ``moment_ns``, or until too many requests failed; returns the loop's counts."""
    while True:
        now = await group.counts()
        left_ns = moment_ns - time.monotonic_ns()
        if now.broken or left_ns <= 0:
            return now
        await asyncio.sleep(min(RAMP_POLL_SECONDS, left_ns / NS))
