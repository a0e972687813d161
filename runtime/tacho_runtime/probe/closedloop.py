"""A fixed number of streams, each sending its next request when the last one ended.

Nothing is parsed while it runs.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from tacho_runtime.probe.asking.timed_client import (
    Endpoint,
    RequestFailed,
    Stream,
    open_stream,
    request_bytes,
)
from tacho_runtime.probe.search import window_target_seconds
from tacho_runtime.probe.statistics import median

NS = 10**9
TURN_SECONDS = 0.02
"""How often the end of the window is looked for; the window itself is cut by the chunks' stamps."""
RAMP_SHARE = 0.6
"""Of a level's time: later the window opens whether or not every stream has begun."""
MOST_FAILURES = 3

MakeRequest = Callable[[int], tuple[str, dict[str, object]]]
"""Output tokens → (path, body) of a request no one has sent before."""


@dataclass(slots=True)
class Trace:
    """What one level left behind."""

    first: list[Stream] = field(default_factory=list)
    """Each worker's first request, of fewer output tokens."""
    later: list[Stream] = field(default_factory=list)
    start_ns: int = 0
    end_ns: int = 0
    started: bool = True
    failures: list[str] = field(default_factory=list)
    broken: bool = False
    """Failures ended it early: what was counted until then is too short a time to tell a rate."""


class _Loop:
    def __init__(
        self, endpoint: Endpoint, make_request: MakeRequest, output_tokens: int, trace: Trace
    ) -> None:
        self.endpoint = endpoint
        self.make_request = make_request
        self.output_tokens = output_tokens
        self.trace = trace
        self.begun = 0
        self.service_seconds: list[float] = []

    async def worker(self, first_output_tokens: int, request_seconds: float) -> None:
        output_tokens, begun = first_output_tokens, False
        while len(self.trace.failures) < MOST_FAILURES:
            path, body = self.make_request(output_tokens)
            first = not begun
            try:
                stream = await open_stream(self.endpoint)
                (self.trace.first if first else self.trace.later).append(stream)
                stream.send(request_bytes(self.endpoint, "POST", path, body))
                if first:
                    await stream.wait_started(request_seconds)
                    begun = True
                    self.begun += 1
                await stream.wait(request_seconds)
            except RequestFailed as error:
                self.trace.failures.append(str(error))
                continue
            if not first:
                self.service_seconds.append((stream.reads[-1][0] - stream.sent_ns) / NS)
            output_tokens = self.output_tokens


async def run_level(
    endpoint: Endpoint,
    make_request: MakeRequest,
    *,
    output_tokens: int,
    first_output_tokens: Sequence[int],
    seconds: float,
) -> Trace:
    """One level of ``len(first_output_tokens)`` streams for at most ``seconds``, start included.

    The window opens once every stream has brought something; what still runs at its end is hung up on.
    """
    trace = Trace()
    loop = _Loop(endpoint, make_request, output_tokens, trace)
    limit_ns = time.monotonic_ns() + int(seconds * NS)
    ramp_limit_ns = time.monotonic_ns() + int(RAMP_SHARE * seconds * NS)
    workers = [asyncio.ensure_future(loop.worker(first, seconds)) for first in first_output_tokens]
    try:
        # Three conditions at once; looking every 20 ms costs nothing here.
        while loop.begun < len(workers) and time.monotonic_ns() < ramp_limit_ns and _working(workers):  # noqa: ASYNC110
            await asyncio.sleep(TURN_SECONDS)
        trace.started = loop.begun == len(workers)
        trace.start_ns = trace.end_ns = time.monotonic_ns()
        most_seconds = (limit_ns - trace.start_ns) / NS
        while _working(workers):
            elapsed = (time.monotonic_ns() - trace.start_ns) / NS
            service = median(loop.service_seconds) if loop.service_seconds else None
            target = window_target_seconds(service, most_seconds=most_seconds)
            trace.end_ns = trace.start_ns + int(min(elapsed, target) * NS)
            if elapsed >= target:
                break
            await asyncio.sleep(min(TURN_SECONDS, target - elapsed))
        trace.broken = not _working(workers)
    finally:
        for worker in workers:
            worker.cancel()
        await asyncio.wait(workers)
        for worker in workers:
            if not worker.cancelled() and (error := worker.exception()) is not None:
                trace.failures.append(f"{type(error).__name__}: {error}")
        for stream in (*trace.first, *trace.later):
            stream.close()
    return trace


def _working(workers: Sequence[asyncio.Future[None]]) -> bool:
    """False once a worker gave up: the level is over."""
    return not any(worker.done() for worker in workers)
