"""Sends a run's requests with the probe's own client, and keeps the times of each."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass
from random import Random

from benchmarks.simulator.arrivals import SPREAD, Arrivals
from tacho_cli.served_model import find
from tacho_contract.measurement import Workload
from tacho_runtime.probe.load.job import NS, LoadJob, StreamSlot
from tacho_runtime.probe.load.load_group import LoadGroup
from tacho_runtime.probe.load.socket_engine import SocketEngine
from tacho_runtime.probe.load.workers import WorkerPool, processes_for
from tacho_runtime.probe.target import ProbeTarget

LEAD_SECONDS, POLL_SECONDS = 0.2, 0.5
FIRST_SECONDS = 120.0
ALONE = 3
"""Requests one after the other, before and after each run."""
REQUEST_SECONDS = 600.0


@dataclass(frozen=True, slots=True)
class Answered:
    """Seconds from the first request's due time; ``tokens`` as the engine counted them."""

    due: float
    first: float
    last: float
    tokens: int


@dataclass(frozen=True, slots=True)
class Run:
    answers: tuple[Answered, ...]
    alone_seconds: tuple[float, ...]
    """Durations of single requests of the workload's length before and after: the engine's speed then."""


def run(
    url: str,
    arrivals: Arrivals,
    workload: Workload,
    *,
    seed: int,
    cpus: int,
    alone_seconds: Sequence[float] = (),
) -> Run:
    """``alone_seconds``: of single requests just before, where somebody sent them. Raises RuntimeError where
    a request failed."""
    return asyncio.run(_run(url, arrivals, workload, seed, cpus, tuple(alone_seconds)))


async def _run(
    url: str,
    arrivals: Arrivals,
    workload: Workload,
    seed: int,
    cpus: int,
    before: tuple[float, ...],
) -> Run:
    served = find(url, "", "")
    target = ProbeTarget(
        base_url=url,
        served_name=served.model,
        engine=served.engine,
        max_model_len=0,
        concurrency=len(arrivals.seconds),
    )
    engine, pool = await SocketEngine.open(target, Random(seed)), WorkerPool()
    try:
        await engine.first_request(FIRST_SECONDS)
        job = LoadJob(
            origin_ns=time.monotonic_ns(),
            repeated=False,
            input_tokens=workload.input_tokens,
            output_tokens=workload.output_tokens,
            spread=SPREAD,
            seed=seed,
            request_seconds=REQUEST_SECONDS,
        )
        group = LoadGroup(engine.requests, job, pool)
        rate = len(arrivals.seconds) / max(arrivals.seconds[-1], 1.0)
        await group.grow(processes_for(rate * workload.output_tokens, cpus))
        before = before or tuple(await _alone(engine, workload))
        found = await _sent(group, arrivals)
        return Run(found, (*before, *await _alone(engine, workload)))
    finally:
        await pool.close()
        await engine.close()


async def _alone(engine: SocketEngine, workload: Workload) -> list[float]:
    asked = workload.input_tokens, workload.output_tokens, REQUEST_SECONDS
    found = [(await engine.complete(*asked)).end_to_end_milliseconds for _ in range(ALONE)]
    return [milliseconds / 1000 for milliseconds in found if milliseconds is not None]


async def _sent(group: LoadGroup, arrivals: Arrivals) -> tuple[Answered, ...]:
    begins = time.monotonic_ns() + int(LEAD_SECONDS * NS)
    pairs = zip(arrivals.seconds, arrivals.output_tokens, strict=True)
    try:
        await group.turn([StreamSlot(begins + int(at * NS), tokens, True) for at, tokens in pairs], 0)
        while (now := await group.counts()).streams and not now.broken:  # noqa: ASYNC110  # other processes
            await asyncio.sleep(POLL_SECONDS)
        results = await group.collect(begins, time.monotonic_ns())
    finally:
        await group.hang_up()
    samples = sorted((one for part in results for one in part.samples), key=lambda one: one.due_ns)
    failures = [failure for part in results for failure in part.failures]
    if failures or len(samples) != len(arrivals.seconds):
        raise RuntimeError(
            f"{len(samples)} of {len(arrivals.seconds)} requests were answered: {failures[:3]}"
        )
    return tuple(
        Answered(
            due=(one.due_ns - begins) / NS,
            first=(one.stream.tokens[0][0] - begins) / NS,
            last=(one.stream.tokens[-1][0] - begins) / NS,
            tokens=round(one.stream.output_tokens),
        )
        for one in samples
    )
