"""Closed and open load loops: which streams start when, and how their window is watched."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from random import Random

from tacho_contract.measurement import Workload
from tacho_runtime.machine.sampling import MachineSample
from tacho_runtime.probe.engine_under_test import LoadTrace
from tacho_runtime.probe.load.job import NS, LoadJob, OutputLengths, StreamSlot, poisson_times, residual_lives
from tacho_runtime.probe.load.streams import StreamResult
from tacho_runtime.probe.load.window import LoadPart, ReadCounters, WindowTerms, trace_of, watch_window
from tacho_runtime.probe.statistics import median


@dataclass(slots=True)
class ObservedLatency:
    tokens_per_chunk: float = 1.0
    closing_events: int = 2
    """Number of events at the end of an answer that hold no token."""
    _seen: dict[int, tuple[float, float]] = field(default_factory=dict)
    """Concurrency: (seconds to the first token, seconds a token)."""

    def learn(self, concurrency: int, streams: Sequence[StreamResult]) -> None:
        ttfts = [ttft for stream in streams if (ttft := stream.ttft_milliseconds) is not None]
        tpots = [tpot for stream in streams if (tpot := stream.tpot_milliseconds) is not None]
        if ttfts and tpots:
            self._seen[concurrency] = median(ttfts) / 1000, median(tpots) / 1000
        whole = [stream for stream in streams if stream.finish_reason and len(stream.tokens) > 1]
        if whole:
            later = sum(stream.output_tokens - stream.tokens[0][1] for stream in whole)
            self.tokens_per_chunk = later / sum(len(stream.tokens) - 1 for stream in whole)

    def service_seconds(self, concurrency: int, output_tokens: int) -> float | None:
        """How long one request takes, at least: more streams only make each slower. None: none was seen."""
        seen = self._nearest(concurrency)
        return None if seen is None else seen[0] + output_tokens * seen[1]

    def chunks_per_second(self, concurrency: int) -> float | None:
        """How many chunks come from all streams, at most."""
        seen = self._nearest(concurrency)
        if seen is None or seen[1] <= 0:
            return None
        return concurrency / seen[1] / max(1.0, self.tokens_per_chunk)

    def _nearest(self, concurrency: int) -> tuple[float, float] | None:
        """Of the most streams that are not more."""
        below = [level for level in self._seen if level <= concurrency]
        return self._seen[max(below)] if below else None


RAMP_SHARE = 0.6
"""Share of a closed loop's time after which the window opens whether or not every stream has begun."""
SPREAD_SHARE = 0.3
"""Share of a loop's time in which its streams are started one after the other, and in which an open loop
fills."""
SAMPLED_STREAMS = 64
"""Number of a closed loop's streams whose answers are read for their latencies: about two answers of each
fall into its time, and to read one of 200 tokens takes 3 ms."""
SAMPLED_ARRIVALS = 192
"""Number of an open loop's requests whose answers are read for their latencies."""
LEAD_NS = 50_000_000
"""Nanoseconds from the plan of a loop to its first request."""


@dataclass(frozen=True, slots=True)
class LoopRequests:
    """Workload and form of the requests that a loop sends."""

    workload: Workload
    spread: float
    streamed: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadLoop:
    """One job for all processes together, and the window that it has."""

    job: LoadJob
    terms: WindowTerms


def closed_loop(
    concurrency: int,
    shape: LoopRequests,
    pace: ObservedLatency,
    rng: Random,
    *,
    seconds: float,
    window_seconds: float = math.inf,
) -> LoadLoop:
    """Streams that start evenly over one service time, each with a residual life first."""
    lives = residual_lives(concurrency, shape.workload.output_tokens, shape.spread, rng)
    service = pace.service_seconds(concurrency, shape.workload.output_tokens) or 0.0
    over_ns = int(min(service, SPREAD_SHARE * seconds) * NS)
    now_ns = time.monotonic_ns()
    origin_ns = now_ns + LEAD_NS
    every = -(-concurrency // SAMPLED_STREAMS)
    slots = tuple(
        StreamSlot(origin_ns + over_ns * index // concurrency, life, shape.streamed and index % every == 0)
        for index, life in enumerate(lives)
    )
    terms = WindowTerms(
        origin_ns=origin_ns,
        limit_ns=now_ns + int(seconds * NS),
        open_at_ns=now_ns + int(RAMP_SHARE * seconds * NS),
        wait_for=concurrency,
        between=concurrency == 1,
        window_seconds=window_seconds,
    )
    counted = shape.streamed and concurrency == 1
    job = _job(slots, shape, pace, rng, origin_ns=origin_ns, repeated=True, counted=counted, seconds=seconds)
    return LoadLoop(job=job, terms=terms)


def open_loop(
    requests_per_second: float,
    shape: LoopRequests,
    pace: ObservedLatency,
    rng: Random,
    *,
    seconds: float,
) -> LoadLoop:
    """Requests at Poisson times, to the end of ``seconds``: requests that had no time to end are cut. The
    window opens after one service time, when the number of requests in flight is steady."""
    now_ns = time.monotonic_ns()
    origin_ns = now_ns + LEAD_NS
    lengths = OutputLengths(shape.workload.output_tokens, shape.spread, rng)
    times = poisson_times(requests_per_second, seconds - LEAD_NS / NS, rng)
    every = max(1, -(-len(times) // SAMPLED_ARRIVALS))
    slots = tuple(
        StreamSlot(origin_ns + int(at * NS), lengths.draw(), index % every == 0)
        for index, at in enumerate(times)
    )
    streams = requests_per_second * (pace.service_seconds(1, shape.workload.output_tokens) or 0.0)
    service = pace.service_seconds(max(1, round(streams)), shape.workload.output_tokens) or 0.0
    terms = WindowTerms(
        origin_ns=origin_ns,
        limit_ns=now_ns + int(seconds * NS),
        open_at_ns=origin_ns + int(min(service, SPREAD_SHARE * seconds) * NS),
        wait_for=None,
    )
    job = _job(slots, shape, pace, rng, origin_ns=origin_ns, repeated=False, counted=False, seconds=seconds)
    return LoadLoop(job=job, terms=terms)


def _job(
    slots: tuple[StreamSlot, ...],
    shape: LoopRequests,
    pace: ObservedLatency,
    rng: Random,
    *,
    origin_ns: int,
    repeated: bool,
    counted: bool,
    seconds: float,
) -> LoadJob:
    return LoadJob(
        origin_ns=origin_ns,
        slots=slots,
        repeated=repeated,
        input_tokens=shape.workload.input_tokens,
        output_tokens=shape.workload.output_tokens,
        spread=shape.spread,
        counted=counted,
        streamed=shape.streamed,
        seed=rng.getrandbits(64),
        request_seconds=seconds,
        tokens_per_chunk=pace.tokens_per_chunk,
        closing_events=pace.closing_events,
    )


def split_job(job: LoadJob, count: int) -> tuple[LoadJob, ...]:
    """Splits a job's streams over ``count`` processes: each gets every ``count``-th stream."""
    return tuple(
        replace(job, slots=job.slots[part::count], seed=job.seed ^ part)
        for part in range(min(count, len(job.slots)) or 1)
    )


async def run_loop(
    loop: LoadLoop,
    parts: Sequence[LoadPart],
    *,
    read: ReadCounters,
    machine: Callable[[], MachineSample],
) -> LoadTrace:
    """The loop to its end. No request is left running, however it ends."""
    try:
        for part in parts:
            part.start()
        window = await watch_window(parts, loop.terms, read, machine)
        brought = await asyncio.gather(*(part.stop(window.start_ns, window.end_ns) for part in parts))
    finally:
        for part in parts:
            await part.hang_up()
    closed_loop = loop.job.repeated
    return trace_of(
        brought,
        window,
        origin_ns=loop.terms.origin_ns,
        concurrency=len(loop.job.slots)
        if closed_loop
        else sum(part.progress().most_at_once for part in parts),
        closed=closed_loop,
    )
