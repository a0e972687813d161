"""One process' part of a loop of requests: its streams, in the running event loop."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, replace
from random import Random

from tacho_runtime.probe.asking.sockets.health import Watch
from tacho_runtime.probe.asking.sockets.job import (
    MOST_FAILURES,
    MOST_SAMPLED,
    NS,
    Brought,
    Job,
    Progress,
    Sample,
    Slot,
)
from tacho_runtime.probe.asking.sockets.lengths import OutputLengths
from tacho_runtime.probe.asking.sockets.tally import TalliedStream, Tally
from tacho_runtime.probe.asking.speech import Speech
from tacho_runtime.probe.asking.streams import Stream, reduce_stream
from tacho_runtime.probe.asking.timed_client import RequestFailed, Stream as KeptStream, open_stream

PREPARED_NS = 20_000_000
"""So long before it is due, a request is written down and its connection made."""


@dataclass(frozen=True, slots=True)
class _Kept:
    """A sampled request, not yet read."""

    raw: KeptStream
    first: bool
    due_ns: int
    whole: bool


class Share:
    """``start`` once, then look at ``progress``, then ``stop``, which brings what came."""

    def __init__(self, speech: Speech, job: Job) -> None:
        self._speech, self._job = speech, job
        self._rng = Random(job.seed)  # noqa: S311 - prompts need to differ, not to be secret
        self._lengths = OutputLengths(job.output_tokens, job.spread, self._rng)
        self._tally = Tally(job.origin_ns, job.tokens_per_chunk, job.closing_events)
        self._watch = Watch()
        self._kept: list[_Kept] = []
        self._failures: list[str] = []
        self._failed: set[int] = set()
        """When they were due."""
        self._sampled = self._begun = self._ended = self._at_once = self._most_at_once = 0
        self._tasks: list[asyncio.Future[None]] = []
        self._watching: asyncio.Future[None] | None = None

    def start(self) -> None:
        self._watching = asyncio.ensure_future(self._watch.run())
        self._tasks = [asyncio.ensure_future(self._stream(slot)) for slot in self._job.slots]

    def progress(self) -> Progress:
        gone = self._job.repeated and any(task.done() for task in self._tasks)
        return Progress(
            begun=self._begun,
            ended=self._ended,
            most_at_once=self._most_at_once,
            failures=len(self._failures),
            broken=gone or len(self._failures) >= MOST_FAILURES,
        )

    async def _stream(self, slot: Slot) -> None:
        due_ns, first = slot.due_ns, True
        await _until(due_ns - PREPARED_NS)
        request = self._request(slot.output_tokens)
        while len(self._failures) < MOST_FAILURES:
            raw: KeptStream | None = None
            whole = False
            try:
                raw = await open_stream(self._speech.endpoint, self._kind(slot))
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
                    self._take(raw, _Kept(raw, first, due_ns, whole))
            if whole:
                self._ended += 1
                if not self._job.repeated:
                    return
                first = False
            due_ns = time.monotonic_ns()

    def _kind(self, slot: Slot) -> type[KeptStream]:
        """Few of very many are kept: they are held whole until the loop ends."""
        kept = slot.sampled and self._rng.random() * (self._sampled + 1) < MOST_SAMPLED
        self._sampled += slot.sampled
        return KeptStream if kept else TalliedStream

    def _request(self, output_tokens: int) -> bytes:
        job = self._job
        return self._speech.request(
            self._rng, job.input_tokens, output_tokens, counted=job.counted, streamed=job.streamed
        )

    def _send(self, raw: KeptStream, request: bytes, due_ns: int) -> None:
        raw.send(request)
        self._watch.sent(raw.sent_ns, max(due_ns, raw.connected_ns))
        self._at_once += 1
        self._most_at_once = max(self._most_at_once, self._at_once)

    def _take(self, raw: KeptStream, kept: _Kept) -> None:
        """What a request has left, however it ended."""
        if not raw.sent_ns:
            return
        self._at_once -= 1
        if not isinstance(raw, TalliedStream):
            self._kept.append(kept)
        elif complaint := raw.complaint():
            self._failures.append(f"the engine answered in its stream: {complaint}")
        elif kept.whole and raw.marks:
            self._tally.add_whole(raw.marks, raw.total_tokens())
            self._tally.end(raw.marks[-1][0])
        else:
            self._tally.add_cut(raw.marks)

    async def stop(self, start_ns: int, end_ns: int) -> Brought:
        """Hangs up on what still runs; ``start_ns`` to ``end_ns`` is the window that was measured."""
        await self.hang_up()
        found: list[Sample] = []
        # Whole ones first: they show what a cut one's chunks hold.
        for kept in sorted(self._kept, key=lambda kept: not kept.whole):
            await asyncio.sleep(0)  # health checks are served by the same loop
            stream = self._read(kept)
            if stream is not None:
                found.append(Sample(stream, kept.first, kept.due_ns))
        bins, started, ended = self._tally.totals()
        return Brought(
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
        """Those that had not even a connection by then wait too."""
        if self._job.repeated:
            return ()
        due = (slot.due_ns for slot in self._job.slots if slot.sampled and slot.due_ns <= end_ns)
        return tuple(due_ns for due_ns in due if due_ns not in answered and due_ns not in self._failed)

    async def hang_up(self) -> None:
        """Ends all requests; the engine stops what nobody reads."""
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

    def _read(self, kept: _Kept) -> Stream | None:
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
