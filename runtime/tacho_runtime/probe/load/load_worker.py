"""Runs the part of a request loop that one process has, in its event loop."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from random import Random

from tacho_runtime.probe.engine_under_test import ClientHealth, RequestProgress
from tacho_runtime.probe.load.job import (
    BIN_NS,
    MAX_FAILURES,
    NS,
    LoadJob,
    LoadProgress,
    LoadResult,
    OutputLengths,
    StreamSample,
    StreamSlot,
)
from tacho_runtime.probe.load.requests import RequestBuilder
from tacho_runtime.probe.load.streams import LENGTH, StreamResult, thinned
from tacho_runtime.probe.load.timed_client import RequestFailed, open_stream
from tacho_runtime.probe.load.token_stream import TokenStream

WAKE_SECONDS = 0.01
EMPTY_ANSWER, CUT_ANSWER = "an answer without a token", "the connection ended within the answer"
PREPARED_NS = 20_000_000
"""Nanoseconds before its due time at which a request is encoded and its connection opened."""


@dataclass(slots=True)
class ClientHealthMonitor:
    """Measures the delays of the load client: it wakes 100 times a second, and records how late, and the
    process's CPU time.
    """

    _turns: list[tuple[int, int, int]] = field(default_factory=list)
    """(time in ns, delay in ns, CPU time of the process in ns) of each wake-up."""
    _sends: list[tuple[int, int]] = field(default_factory=list)
    """(time in ns, delay in ns) of each sent request."""

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
    """The 99th percentile; of fewer than 100 values the second largest, as one late one may be chance."""
    return sorted(values)[int(0.99 * (len(values) - 1))] if values else 0


@dataclass(slots=True, eq=False)
class _Request:
    first: bool
    due_ns: int
    raw: TokenStream | None = None
    result: StreamResult | None = None
    """The result, once the request has ended, even by an error; None: it is running."""
    failed: bool = False


@dataclass(slots=True, eq=False)
class _Stream:
    slot: StreamSlot
    leaving: bool = False
    """Whether the stream ends with its present request."""
    begun: bool = False


class LoadWorker:
    """The streams of one loop in this process.

    ``turn`` begins a level, ``progress`` is polled, ``collect`` returns the results of a window, ``hang_up``
    closes all connections.
    """

    def __init__(self, requests: RequestBuilder, job: LoadJob) -> None:
        self._requests, self._job = requests, job
        self._rng = Random(job.seed)  # noqa: S311 - prompts need to differ, not to be secret
        self._lengths = OutputLengths(job.output_tokens, job.spread, self._rng)
        self._watch = ClientHealthMonitor()
        self._watching: asyncio.Future[None] | None = None
        self._tasks: dict[asyncio.Future[None], _Stream] = {}
        self._running: dict[_Request, None] = {}
        self._ended: list[_Request] = []
        self._polled = 0
        """Number of entries of ``_ended`` that an earlier poll has returned."""
        self._failures: list[str] = []
        self._bins: list[float] = []
        self._counted: dict[_Request, None] = {}
        """The running requests that ask for the engine's token counts."""
        self._later_tokens = self._later_events = 0.0
        """Tokens after the first one, over all complete answers of this level; gives the tokens per event."""
        self._former_tokens_per_event = 1.0
        """Tokens per event in the previous level."""
        self._most_at_once = 0

    async def turn(self, slots: Sequence[StreamSlot], leave: int) -> None:
        """Begins a level: adds ``slots``, and lets ``leave`` random streams end with their present request.

        Streams whose requests ask for token counts end last. Ended requests of the previous level are
        dropped.
        """
        self._watching = self._watching or asyncio.ensure_future(self._watch.run())
        self._former_tokens_per_event = self._tokens_per_event()
        self._later_tokens = self._later_events = 0.0
        self._ended.clear()
        self._polled = 0
        self._failures.clear()
        staying = [stream for stream in self._going().values() if not stream.leaving]
        staying = self._rng.sample(staying, len(staying))
        for stream in sorted(staying, key=lambda one: one.slot.counted)[:leave]:
            stream.leaving = True
        for slot in slots:
            stream = _Stream(slot)
            self._tasks[asyncio.ensure_future(self._run_stream(stream))] = stream

    def _going(self) -> dict[asyncio.Future[None], _Stream]:
        return {task: stream for task, stream in self._tasks.items() if not task.done()}

    async def progress(self, since_ns: int) -> LoadProgress:
        """Counts of this process, its running requests sent since ``since_ns``, and requests that ended since
        the last call.
        """
        going = self._going()
        fault = next((error for task in self._tasks if task.done() and (error := task.exception())), None)
        if fault is not None and len(self._failures) < MAX_FAILURES:
            self._failures += [f"{type(fault).__name__}: {fault}"] * MAX_FAILURES
        new, self._polled = self._ended[self._polled :], len(self._ended)
        per_event = self._tokens_per_event()
        return LoadProgress(
            streams=len(going),
            staying=sum(not stream.leaving for stream in going.values()),
            begun=sum(stream.begun for stream in going.values()),
            failures=len(self._failures),
            broken=len(self._failures) >= MAX_FAILURES,
            under_way=_so_far(self._running, since_ns, per_event),
            ended=_so_far(new, since_ns, per_event),
        )

    async def _run_stream(self, stream: _Stream) -> None:
        slot = stream.slot
        due_ns, first = slot.due_ns, True
        await _sleep_until(due_ns - PREPARED_NS)
        max_tokens = slot.output_tokens
        encoded = self._encoded(slot, max_tokens)
        while len(self._failures) < MAX_FAILURES:
            request = _Request(first, due_ns)
            self._running[request] = None
            if slot.counted:
                self._counted[request] = None
            whole = False
            try:
                request.raw = raw = await open_stream(self._requests.endpoint, self._requests.stream)
                raw.max_tokens = max_tokens
                await _sleep_until(due_ns)
                raw.send(encoded)
                self._watch.sent(raw.sent_ns, max(due_ns, raw.connected_ns))
                if self._job.repeated:
                    max_tokens = self._lengths.draw()
                    encoded = self._encoded(slot, max_tokens)
                if first:
                    await raw.wait_started(self._job.request_seconds)
                    stream.begun = True
                await raw.wait(self._job.request_seconds)
                whole = True
            except RequestFailed as error:
                self._failures.append(str(error))
                request.failed = True
            finally:
                self._end_request(request, whole=whole)
            if whole:
                if stream.leaving or not self._job.repeated:
                    return
                first = False
            due_ns = time.monotonic_ns()

    def _encoded(self, slot: StreamSlot, output_tokens: int) -> bytes:
        job = self._job
        return self._requests.request(self._rng, job.input_tokens, output_tokens, counted=slot.counted)

    def _end_request(self, request: _Request, *, whole: bool) -> None:
        """Records the result of one of the worker's requests. ``whole``: whether its answer is complete."""
        self._most_at_once = max(self._most_at_once, len(self._running))
        del self._running[request]
        self._counted.pop(request, None)
        raw = request.raw
        if raw is None or not raw.sent_ns:
            return
        raw.close()
        result = raw.result(whole=whole, tokens_per_event=self._tokens_per_event())
        error = result.error or (_cut(result) if whole else "")
        if error and not request.failed:
            self._failures.append(error)
            request.failed = True
        if whole and result.has_total and result.events > 1:  # else the estimate would confirm itself
            self._later_tokens += result.output_tokens - 1
            self._later_events += result.events - 1
        self._add_tokens(self._bins, 0, result)
        request.result = thinned(result)
        self._ended.append(request)

    def _tokens_per_event(self) -> float:
        """Mean tokens per event, of this level's complete answers and running ones with token counts."""
        under_way = [one.raw.counted_later for one in self._counted if one.raw is not None]
        tokens = self._later_tokens + math.fsum(count for count, _ in under_way)
        events = self._later_events + math.fsum(count for _, count in under_way)
        return tokens / events if events else self._former_tokens_per_event

    def _add_tokens(self, bins: list[float], low: int, result: StreamResult) -> None:
        """Adds the tokens of ``result`` to ``bins``. ``low``: number of the first bin within the loop."""
        for stamp_ns, count in result.tokens:
            index = max(0, stamp_ns - self._job.origin_ns) // BIN_NS - low
            if index >= 0:
                bins.extend([0.0] * (index + 1 - len(bins)))
                bins[index] += count

    async def collect(self, start_ns: int, end_ns: int) -> LoadResult:
        """Requests and tokens of the window from ``start_ns`` to ``end_ns``; the streams continue."""
        low, high = ((stamp - self._job.origin_ns) // BIN_NS for stamp in (start_ns, end_ns))
        bins = self._bins[low:high]
        samples = [
            StreamSample(one.result, one.first, one.due_ns)
            for one in self._ended
            if one.result is not None and not one.failed
        ]
        per_event = self._tokens_per_event()
        for one in self._running:
            if one.raw is not None and one.raw.sent_ns:
                result = one.raw.result(whole=False, tokens_per_event=per_event)
                self._add_tokens(bins, low, result)
            else:
                result = StreamResult(sent_ns=one.due_ns, tokens=())
            samples.append(StreamSample(thinned(result), one.first, one.due_ns))
        bins.extend([0.0] * (high - low - len(bins)))
        return LoadResult(
            samples=tuple(samples),
            bins=tuple(bins[: high - low]),
            most_at_once=max(self._most_at_once, len(self._running)),
            failures=tuple(self._failures),
            health=self._watch.health(start_ns, end_ns),
        )

    async def hang_up(self) -> None:
        """Closes the connections of all requests; an engine stops a stream without a reader."""
        tasks, self._tasks = [*self._tasks], {}
        if self._watching is not None:
            self._watching.cancel()
            self._watching = None
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)


def _cut(result: StreamResult) -> str:
    """Why an answer whose connection ended without an error is a failure; "": it is none.

    Servers that are full answer with no token. Where neither a length nor chunks tell an answer's end, a
    connection that breaks looks like it.
    """
    if not result.tokens and result.finish_reason in ("", LENGTH):  # the model's own end is "stop"
        return EMPTY_ANSWER
    return "" if result.finish_reason else CUT_ANSWER


async def _sleep_until(due_ns: int) -> None:
    left_ns = due_ns - time.monotonic_ns()
    if left_ns > 0:
        await asyncio.sleep(left_ns / NS)


def _so_far(
    requests: Iterable[_Request], since_ns: int, tokens_per_event: float
) -> tuple[RequestProgress, ...]:
    """The progress of ``requests`` sent since ``since_ns``, without the first request of each stream."""
    return tuple(
        _request_so_far(one.raw, one.result, tokens_per_event)
        for one in requests
        if not one.first and one.raw is not None and one.raw.sent_ns >= since_ns
    )


def _request_so_far(
    raw: TokenStream, result: StreamResult | None, tokens_per_event: float
) -> RequestProgress:
    if result is not None and result.tokens:
        first_ns, last_ns = result.tokens[0][0], result.tokens[-1][0]
        return RequestProgress(raw.sent_ns, first_ns, result.output_tokens, last_ns, True)
    tokens = raw.tokens_so_far(tokens_per_event)
    return RequestProgress(raw.sent_ns, raw.first_token_ns, tokens, raw.last_token_ns, result is not None)
