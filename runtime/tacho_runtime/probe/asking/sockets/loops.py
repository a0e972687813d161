"""Loops of requests: which streams, when, and how their window is watched."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from random import Random

from tacho_contract.measurement import Workload
from tacho_runtime.probe.asking.sockets.job import NS, Job, Slot
from tacho_runtime.probe.asking.sockets.lengths import OutputLengths, poisson_times, residual_lives
from tacho_runtime.probe.asking.sockets.merging import trace_of
from tacho_runtime.probe.asking.sockets.pace import Pace
from tacho_runtime.probe.asking.sockets.window import Asking, ReadCounters, Terms, watch_window
from tacho_runtime.probe.ports import MachineSample, Trace

RAMP_SHARE = 0.6
"""Of a closed loop's time: later the window opens whether or not every stream has begun."""
SPREAD_SHARE = 0.3
"""Of a loop's time, for its streams to be started one after the other, and for an open loop to fill."""
SAMPLED_STREAMS = 64
"""Of a closed loop, those whose answers are read for their latencies: about two answers of each fall into its
time, and to read one of 200 tokens takes 3 ms."""
SAMPLED_ARRIVALS = 192
"""The same, of requests that are sent once."""
LEAD_NS = 50_000_000
"""From the plan of a loop to its first request."""


@dataclass(frozen=True, slots=True)
class Shape:
    """Of the requests."""

    workload: Workload
    spread: float
    streamed: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Loop:
    """One job for all processes together, and the window that it has."""

    job: Job
    terms: Terms


def closed(
    concurrency: int,
    shape: Shape,
    pace: Pace,
    rng: Random,
    *,
    seconds: float,
    window_seconds: float = math.inf,
) -> Loop:
    """Streams that start evenly over one service time, each with a residual life first."""
    lives = residual_lives(concurrency, shape.workload.output_tokens, shape.spread, rng)
    service = pace.service_seconds(concurrency, shape.workload.output_tokens) or 0.0
    over_ns = int(min(service, SPREAD_SHARE * seconds) * NS)
    now_ns = time.monotonic_ns()
    origin_ns = now_ns + LEAD_NS
    every = -(-concurrency // SAMPLED_STREAMS)
    slots = tuple(
        Slot(origin_ns + over_ns * index // concurrency, life, shape.streamed and index % every == 0)
        for index, life in enumerate(lives)
    )
    terms = Terms(
        origin_ns=origin_ns,
        limit_ns=now_ns + int(seconds * NS),
        open_at_ns=now_ns + int(RAMP_SHARE * seconds * NS),
        wait_for=concurrency,
        between=concurrency == 1,
        window_seconds=window_seconds,
    )
    counted = shape.streamed and concurrency == 1
    job = _job(slots, shape, pace, rng, origin_ns=origin_ns, repeated=True, counted=counted, seconds=seconds)
    return Loop(job=job, terms=terms)


def arriving(
    requests_per_second: float,
    shape: Shape,
    pace: Pace,
    rng: Random,
    *,
    seconds: float,
) -> Loop:
    """Requests at Poisson times, to the end of ``seconds``: those that had no time to end are cut. The window
    opens after one service time, when as many are under way as ever."""
    now_ns = time.monotonic_ns()
    origin_ns = now_ns + LEAD_NS
    lengths = OutputLengths(shape.workload.output_tokens, shape.spread, rng)
    times = poisson_times(requests_per_second, seconds - LEAD_NS / NS, rng)
    every = max(1, -(-len(times) // SAMPLED_ARRIVALS))
    slots = tuple(
        Slot(origin_ns + int(at * NS), lengths.draw(), index % every == 0) for index, at in enumerate(times)
    )
    streams = requests_per_second * (pace.service_seconds(1, shape.workload.output_tokens) or 0.0)
    service = pace.service_seconds(max(1, round(streams)), shape.workload.output_tokens) or 0.0
    terms = Terms(
        origin_ns=origin_ns,
        limit_ns=now_ns + int(seconds * NS),
        open_at_ns=origin_ns + int(min(service, SPREAD_SHARE * seconds) * NS),
        wait_for=None,
    )
    job = _job(slots, shape, pace, rng, origin_ns=origin_ns, repeated=False, counted=False, seconds=seconds)
    return Loop(job=job, terms=terms)


def _job(
    slots: tuple[Slot, ...],
    shape: Shape,
    pace: Pace,
    rng: Random,
    *,
    origin_ns: int,
    repeated: bool,
    counted: bool,
    seconds: float,
) -> Job:
    return Job(
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


def split(job: Job, count: int) -> tuple[Job, ...]:
    """The same streams for ``count`` processes, each with every ``count``-th."""
    return tuple(
        replace(job, slots=job.slots[part::count], seed=job.seed ^ part)
        for part in range(min(count, len(job.slots)) or 1)
    )


async def run(
    loop: Loop,
    parts: Sequence[Asking],
    *,
    read: ReadCounters,
    machine: Callable[[], MachineSample],
) -> Trace:
    """The loop to its end. No request is left running, however it ends."""
    try:
        for part in parts:
            part.start()
        window = await watch_window(parts, loop.terms, read, machine)
        brought = await asyncio.gather(*(part.stop(window.start_ns, window.end_ns) for part in parts))
    finally:
        for part in parts:
            await part.hang_up()
    closed = loop.job.repeated
    return trace_of(
        brought,
        window,
        origin_ns=loop.terms.origin_ns,
        concurrency=len(loop.job.slots) if closed else sum(part.progress().most_at_once for part in parts),
        closed=closed,
    )
