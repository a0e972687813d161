"""The part of a request loop that one process runs: its streams, in the running event loop."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field, replace
from random import Random

from tacho_runtime.probe.engine_under_test import ClientHealth
from tacho_runtime.probe.load.job import (
    MAX_FAILURES,
    MAX_SAMPLED,
    NS,
    LoadJob,
    LoadProgress,
    LoadResult,
    OutputLengths,
    StreamSample,
    StreamSlot,
)
from tacho_runtime.probe.load.requests import RequestBuilder
from tacho_runtime.probe.load.streams import StreamResult, reduce_stream
from tacho_runtime.probe.load.tally import CountedConnection, TokenCounts
from tacho_runtime.probe.load.timed_client import RequestFailed, StreamConnection as KeptStream, open_stream

WAKE_SECONDS = 0.01


@dataclass(slots=True)
class ClientHealthMonitor:
    """Samples the health of the load client: wakes a hundred times a second and records its delay and the
    process's CPU time."""

    _turns: list[tuple[int, int, int]] = field(default_factory=list)
    """(monotonic ns, by how many ns too late, CPU ns of the process)."""
    _sends: list[tuple[int, int]] = field(default_factory=list)
    """(monotonic ns, by how many ns too late)."""

    async def run(self) -> None:
        while True:
            due_ns = time.monotonic_ns() + int(WAKE_SECONDS * NS)
            await asyncio.sleep(WAKE_SECONDS)
            now_ns = time.monotonic_ns()
            self._turns.append((now_ns, max(0, now_ns - due_ns), time.process_time_ns()))

    def sent(self, now_ns: int, due_ns: int) -> None:
        self._sends.append((now_ns, now_ns - due_ns))

    def health(self, start_ns: int, end_ns: int) -> ClientHealth:
        """The client's health within the window from ``start_ns`` to ``end_ns``."""
        turns = [turn for turn in self._turns if start_ns <= turn[0] <= end_ns]
        sends = [late for stamp, late in self._sends if start_ns <= stamp <= end_ns]
        lags = [late for _, late, _ in turns]
        wall = turns[-1][0] - turns[0][0] if turns else 0
        return ClientHealth(
            lag_milliseconds_p99=_p99(lags) / 1e6,
            late_send_milliseconds_p99=_p99(sends) / 1e6,
            cpu_share=(turns[-1][2] - turns[0][2]) / wall if wall else 0.0,
        )


def _p99(values: list[int]) -> int:
    """The 99th percentile; of a few values the second largest, because a single late one may be chance."""
    return sorted(values)[int(0.99 * (len(values) - 1))] if values else 0


PREPARED_NS = 20_000_000
"""Nanoseconds before its due time at which a request is encoded and its connection opened."""


@dataclass(frozen=True, slots=True)
class _SampledRequest:
    """A sampled request, not yet read."""

    raw: KeptStream
    first: bool
    due_ns: int
    whole: bool


class LoadWorker:
    """``start`` once, poll ``progress``, then ``stop``, which returns the results."""

    def __init__(self, requests: RequestBuilder, job: LoadJob) -> None:
        self._requests, self._job = requests, job
        self._rng = Random(job.seed)  # noqa: S311 - prompts need to differ, not to be secret
        self._lengths = OutputLengths(job.output_tokens, job.spread, self._rng)
        self._tally = TokenCounts(job.origin_ns, job.tokens_per_chunk, job.closing_events)
        self._watch = ClientHealthMonitor()
        self._kept: list[_SampledRequest] = []
        self._failures: list[str] = []
        self._failed: set[int] = set()
        """Due times of the requests that failed."""
        self._sampled = self._begun = self._ended = self._at_once = self._most_at_once = 0
        self._tasks: list[asyncio.Future[None]] = []
        self._watching: asyncio.Future[None] | None = None

    def start(self) -> None:
        self._watching = asyncio.ensure_future(self._watch.run())
        self._tasks = [asyncio.ensure_future(self._stream(slot)) for slot in self._job.slots]

    def progress(self) -> LoadProgress:
        gone = self._job.repeated and any(task.done() for task in self._tasks)
        return LoadProgress(
            begun=self._begun,
            ended=self._ended,
            most_at_once=self._most_at_once,
            failures=len(self._failures),
            broken=gone or len(self._failures) >= MAX_FAILURES,
        )

    async def _stream(self, slot: StreamSlot) -> None:
        due_ns, first = slot.due_ns, True
        await _until(due_ns - PREPARED_NS)
        request = self._request(slot.output_tokens)
        while len(self._failures) < MAX_FAILURES:
            raw: KeptStream | None = None
            whole = False
            try:
                raw = await open_stream(self._requests.endpoint, self._kind(slot))
                await _until(due_ns)
                self._send(raw, request, due_ns)
                if self._job.repeated:
                    request = self._request(self._lengths.draw())
                if first:
                    await raw.wait_started(self._job.request_seconds)
                    self._begun += 1
                await raw.wait(self._job.request_seconds)
                whole = True
            except RequestFailed as error:
                self._failures.append(str(error))
                self._failed.add(due_ns)
            finally:
                if raw is not None:
                    raw.close()
                    self._take(raw, _SampledRequest(raw, first, due_ns, whole))
            if whole:
                self._ended += 1
                if not self._job.repeated:
                    return
                first = False
            due_ns = time.monotonic_ns()

    def _kind(self, slot: StreamSlot) -> type[KeptStream]:
        """Type of the stream's connection: of many streams only a random sample is recorded, because a
        recorded stream is held whole until the loop ends."""
        kept = slot.sampled and self._rng.random() * (self._sampled + 1) < MAX_SAMPLED
        self._sampled += slot.sampled
        return KeptStream if kept else CountedConnection

    def _request(self, output_tokens: int) -> bytes:
        job = self._job
        return self._requests.request(
            self._rng, job.input_tokens, output_tokens, counted=job.counted, streamed=job.streamed
        )

    def _send(self, raw: KeptStream, request: bytes, due_ns: int) -> None:
        raw.send(request)
        self._watch.sent(raw.sent_ns, max(due_ns, raw.connected_ns))
        self._at_once += 1
        self._most_at_once = max(self._most_at_once, self._at_once)

    def _take(self, raw: KeptStream, kept: _SampledRequest) -> None:
        """Records the result of a request, however it ended."""
        if not raw.sent_ns:
            return
        self._at_once -= 1
        if not isinstance(raw, CountedConnection):
            self._kept.append(kept)
        elif complaint := raw.complaint():
            self._failures.append(f"the engine answered in its stream: {complaint}")
        elif kept.whole and raw.marks:
            self._tally.add_whole(raw.marks, raw.total_tokens())
            self._tally.end(raw.marks[-1][0])
        else:
            self._tally.add_cut(raw.marks)

    async def stop(self, start_ns: int, end_ns: int) -> LoadResult:
        """Hangs up on what still runs; ``start_ns`` to ``end_ns`` is the window that was measured."""
        await self.hang_up()
        found: list[StreamSample] = []
        # Whole ones first: they show what a cut one's chunks hold.
        for kept in sorted(self._kept, key=lambda kept: not kept.whole):
            await asyncio.sleep(0)  # health checks are served by the same loop
            stream = self._read(kept)
            if stream is not None:
                found.append(StreamSample(stream, kept.first, kept.due_ns))
        bins, started, ended = self._tally.totals()
        return LoadResult(
            samples=tuple(sorted(found, key=lambda sample: sample.stream.sent_ns)),
            bins=bins,
            started_bins=started,
            ended_bins=ended,
            received_tokens=sum(bins),
            unanswered_ns=self._unanswered({sample.due_ns for sample in found}, end_ns),
            failures=tuple(self._failures),
            health=replace(self._watch.health(start_ns, end_ns), processes=1),
        )

    def _unanswered(self, answered: set[int], end_ns: int) -> tuple[int, ...]:
        """Due times of sampled requests without an answer at ``end_ns``, including those without a connection
        by then."""
        if self._job.repeated:
            return ()
        due = (slot.due_ns for slot in self._job.slots if slot.sampled and slot.due_ns <= end_ns)
        return tuple(due_ns for due_ns in due if due_ns not in answered and due_ns not in self._failed)

    async def hang_up(self) -> None:
        """Ends all requests; an engine stops a stream without a reader."""
        tasks, self._tasks = self._tasks, []
        if self._watching is not None:
            self._watching.cancel()
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)
        for task in tasks:
            if not task.cancelled() and (error := task.exception()) is not None:
                self._failures.append(f"{type(error).__name__}: {error}")

    def _read(self, kept: _SampledRequest) -> StreamResult | None:
        """A sampled request's figures; None when it brought no token."""
        if not kept.raw.reads:
            return None
        try:
            events = kept.raw.response().events
        except RequestFailed:
            return None
        stream = reduce_stream(kept.raw.sent_ns, events, tokens_per_chunk=self._tally.per_chunk())
        if stream.error:
            self._failures.append(stream.error)
            self._failed.add(kept.due_ns)
        if stream.error or not stream.tokens:
            return None
        self._tally.begin(stream.tokens[0][0])
        self._tally.add_stamped(stream.tokens)
        if kept.whole:
            self._tally.learn(stream.output_tokens - stream.tokens[0][1], len(stream.tokens) - 1)
            self._tally.end(kept.raw.reads[-1][0])
        return stream


async def _until(due_ns: int) -> None:
    left_ns = due_ns - time.monotonic_ns()
    if left_ns > 0:
        await asyncio.sleep(left_ns / NS)
