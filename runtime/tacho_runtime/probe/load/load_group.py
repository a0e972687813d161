"""Runs one request loop in several processes, and joins their results into one trace."""

from __future__ import annotations

import asyncio
import heapq
import itertools
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from operator import attrgetter

from tacho_runtime.probe.engine_under_test import ClientHealth, LoadTrace, RequestProgress
from tacho_runtime.probe.load.engine_counters import CounterReading
from tacho_runtime.probe.load.job import BIN_NS, LoadJob, LoadProgress, LoadResult, StreamSlot
from tacho_runtime.probe.load.load_worker import LoadWorker
from tacho_runtime.probe.load.requests import RequestBuilder
from tacho_runtime.probe.load.workers import WorkerPool, WorkerProcess

NEVER_NS = 2**62
"""A time in ns that never comes, so that no single request is returned."""
_SENT = attrgetter("sent_ns")


class LoadGroup:
    """The processes that run one loop: this one, and as many others as the rate of chunks needs."""

    def __init__(self, requests: RequestBuilder, job: LoadJob, pool: WorkerPool) -> None:
        self.job = job
        self._requests, self._pool = requests, pool
        self._parts: list[LoadWorker | WorkerProcess] = [LoadWorker(requests, job)]
        self._ended: list[RequestProgress] = []
        """Ended requests of the present level, in the order of sending."""

    async def grow(self, processes: int) -> None:
        """Starts load processes until there are ``processes``, as far as they can be started; ends none."""
        if processes <= len(self._parts):
            return
        for member in await self._pool.workers(processes - 1):
            if member not in self._parts:
                await member.begin(self._requests, replace(self.job, seed=self.job.seed + len(self._parts)))
                self._parts.append(member)

    async def turn(self, slots: Sequence[StreamSlot], leave: int) -> None:
        """Begins a level: adds ``slots`` to the processes with the fewest streams, and lets ``leave`` streams
        end in the processes with the most.
        """
        held = [part.staying for part in (await self._progress_of_all(NEVER_NS))]
        self._ended.clear()
        added: list[list[StreamSlot]] = [[] for _ in self._parts]
        for slot in slots:
            place = held.index(min(held))
            held[place] += 1
            added[place].append(slot)
        leaving = Counter[int]()
        for _ in range(min(leave, sum(held))):
            place = held.index(max(held))
            held[place] -= 1
            leaving[place] += 1
        await asyncio.gather(
            *(part.turn(added[place], leaving[place]) for place, part in enumerate(self._parts))
        )

    async def counts(self) -> LoadProgress:
        """The sum of all processes' counts, without single requests."""
        return self._summed_progress(await self._progress_of_all(NEVER_NS))

    async def cohort(self, since_ns: int) -> tuple[LoadProgress, tuple[RequestProgress, ...]]:
        """(sum of all processes' counts, requests of this level sent since ``since_ns`` in the order of
        sending).

        Processes return only new requests. Returning all of a long level each time took longer than the time
        between two tokens.
        """
        each = await self._progress_of_all(since_ns)
        new = itertools.chain.from_iterable(one.ended for one in each)
        self._ended = sorted((*self._ended, *new), key=_SENT)
        under_way = sorted(itertools.chain.from_iterable(one.under_way for one in each), key=_SENT)
        return self._summed_progress(each), tuple(heapq.merge(self._ended, under_way, key=_SENT))

    @staticmethod
    def _summed_progress(each: Sequence[LoadProgress]) -> LoadProgress:
        return LoadProgress(
            streams=sum(one.streams for one in each),
            staying=sum(one.staying for one in each),
            begun=sum(one.begun for one in each),
            failures=sum(one.failures for one in each),
            broken=any(one.broken for one in each),
        )

    async def _progress_of_all(self, since_ns: int) -> list[LoadProgress]:
        return await asyncio.gather(*(part.progress(since_ns) for part in self._parts))

    async def collect(self, start_ns: int, end_ns: int) -> list[LoadResult]:
        return await asyncio.gather(*(part.collect(start_ns, end_ns) for part in self._parts))

    async def hang_up(self) -> None:
        """Closes the connections of all requests."""
        for part in self._parts:
            await part.hang_up()


@dataclass(frozen=True, slots=True, kw_only=True)
class MeasuredWindow:
    start_ns: int = 0
    end_ns: int = 0
    """End of the window; start and end are both on the edge of a bin."""
    sent_until_ns: int = 0
    started: bool = True
    broken: bool = False
    readings: tuple[CounterReading, ...] = ()


def window_edge(origin_ns: int, stamp_ns: int) -> int:
    """The edge of a time bin that is nearest to ``stamp_ns``."""
    return origin_ns + max(0, round((stamp_ns - origin_ns) / BIN_NS)) * BIN_NS


def trace_of(results: Sequence[LoadResult], window: MeasuredWindow, *, concurrency: int | None) -> LoadTrace:
    """One trace of a load, from the results of all worker processes in ``window``.

    ``concurrency``: number of streams of a closed loop; its requests are sorted by sending time. None: an
    open loop, sorted by intended sending time.
    """
    opened = concurrency is None
    samples = sorted(
        (sample for one in results for sample in one.samples),
        key=lambda sample: sample.due_ns if opened else sample.stream.sent_ns,
    )
    answered = [sample for sample in samples if sample.stream.tokens or not opened]
    failures = tuple(failure for one in results for failure in one.failures)
    length = (window.end_ns - window.start_ns) // BIN_NS
    started_bins = [0] * length
    for sample in answered:
        place = (sample.stream.tokens[0][0] - window.start_ns) // BIN_NS if sample.stream.tokens else -1
        if 0 <= place < length:
            started_bins[place] += 1
    return LoadTrace(
        concurrency=sum(one.most_at_once for one in results) if concurrency is None else concurrency,
        start_ns=window.start_ns,
        end_ns=window.end_ns,
        sent_until_ns=window.sent_until_ns,
        streams=tuple(sample.stream for sample in answered),
        first=() if opened else tuple(sample.first for sample in answered),
        intended_ns=tuple(sample.due_ns for sample in answered) if opened else (),
        unanswered_ns=tuple(
            sample.due_ns
            for sample in samples
            if opened and sample.stream.waits and sample.due_ns <= window.end_ns
        ),
        bin_nanoseconds=BIN_NS,
        bins=tuple(map(sum, itertools.zip_longest(*(one.bins for one in results), fillvalue=0.0))),
        started_bins=tuple(started_bins),
        requests_ended=sum(
            bool(sample.stream.finish_reason)
            and window.start_ns <= sample.stream.tokens[-1][0] < window.end_ns
            for sample in answered
            if sample.stream.tokens
        ),
        readings=window.readings,
        client=_worst([one.health for one in results]),
        started=window.started and not failures,
        failures=failures,
        broken=window.broken,
    )


def _worst(healths: Sequence[ClientHealth]) -> ClientHealth:
    return ClientHealth(
        lag_milliseconds_p99=max(one.lag_milliseconds_p99 for one in healths),
        late_send_milliseconds_p99=max(one.late_send_milliseconds_p99 for one in healths),
        cpu_share=max(one.cpu_share for one in healths),
        processes=len(healths),
    )
