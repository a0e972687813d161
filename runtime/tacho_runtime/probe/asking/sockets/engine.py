"""The engine under test, asked over sockets."""

from __future__ import annotations

import asyncio
import contextlib
import json
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from random import Random
from typing import Any

from tacho_contract.measurement import Workload
from tacho_runtime.probe.asking import discovery, prompts
from tacho_runtime.probe.asking.again import BUSY, FAULT, Tries
from tacho_runtime.probe.asking.sockets import loops
from tacho_runtime.probe.asking.sockets.crew import Crew, processes_for
from tacho_runtime.probe.asking.sockets.merging import stepped_rate
from tacho_runtime.probe.asking.sockets.pace import Pace
from tacho_runtime.probe.asking.sockets.share import Share
from tacho_runtime.probe.asking.sockets.window import Asking
from tacho_runtime.probe.asking.speech import Speech
from tacho_runtime.probe.asking.streams import Stream, reduce_stream
from tacho_runtime.probe.asking.timed_client import (
    Endpoint,
    RequestFailed,
    Stream as RawStream,
    exchange,
    open_stream,
    request_bytes,
)
from tacho_runtime.probe.asking.wording import Wording
from tacho_runtime.probe.ports import MachineSample, Reading, Trace
from tacho_runtime.probe.target import ProbeTarget

FIRST_INPUT_TOKENS = 32
FIRST_OUTPUT_TOKENS = 8
POST_SECONDS = 30.0
CALIBRATION_WORDS = (16, 64, 16, 64)
UNSTREAMED_SPREAD = 0.25

Machine = Callable[[bool], MachineSample]
"""Whether to run the calibration → the machine now."""


def only_the_time(_calibrate: bool) -> MachineSample:
    """For machines that nobody looks at."""
    return MachineSample(stamp_ns=time.monotonic_ns())


class SocketEngine:
    """An ``EngineUnderTest``. ``open`` makes one, then ``first_request`` must find how it is asked."""

    def __init__(
        self,
        target: ProbeTarget,
        endpoint: Endpoint,
        found: discovery.Discovered,
        rng: Random,
        machine: Machine,
        cpus: int,
        tries: Tries,
    ) -> None:
        self.max_model_len = found.max_model_len
        """Prompt and output of one request together, in tokens. 0: nobody says."""
        self._notes: list[str] = []
        self.near = endpoint.near
        self.pace = Pace()
        self._wordings = found.wordings
        self._target, self._endpoint, self._rng, self._machine = target, endpoint, rng, machine
        self._cpus, self._crew, self._tries = cpus, Crew(), tries
        self._speech: Speech | None = None

    @classmethod
    async def open(
        cls, target: ProbeTarget, rng: Random, *, machine: Machine = only_the_time, cpus: int = 1
    ) -> SocketEngine:
        """``cpus``: those that the probe may use, with the engine where it runs beside it. ``close`` it at
        the end. Raises AddressError, RequestFailed when nobody answers."""
        endpoint = Endpoint.of(target.base_url, target.api_key)
        tries = Tries()
        found = await discovery.discover(target, endpoint, tries)
        return cls(target, endpoint, found, rng, machine, cpus, tries)

    async def close(self) -> None:
        """Ends the processes that sent requests."""
        await self._crew.close()

    @property
    def notes(self) -> tuple[str, ...]:
        """What a reader of the figures should know of how the engine was asked."""
        return (*self._notes, *filter(None, [self._tries.note()]))

    @property
    def speech(self) -> Speech:
        """How it is asked. Needs a first request."""
        assert self._speech is not None, "the first request comes first"
        return self._speech

    @property
    def same_tokens(self) -> int:
        """With which every prompt begins: what marks its beginning, and a chat template."""
        return 0 if self.speech.wording.token_ids else math.ceil(self.speech.text_length.overhead)

    async def first_request(self, timeout_seconds: float) -> Stream:
        """The cold one: finds the wording that is answered. Raises RequestFailed when none is, and
        when the engine is busy: that says nothing of a wording, and each would have as many tries."""
        refused: list[str] = []
        for wording in self._wordings:
            self._speech = self._in(wording)
            room = max(1, min(FIRST_INPUT_TOKENS, self.max_model_len - 2 * FIRST_OUTPUT_TOKENS))
            size = room if self.max_model_len else FIRST_INPUT_TOKENS
            try:
                stream = await self._ask(size, FIRST_OUTPUT_TOKENS, timeout_seconds, known=False)
            except RequestFailed as error:
                if not error.answered:
                    raise
                if error.status in BUSY:
                    raise error.told(f"the engine is busy: {error}") from None
                refused.append(f"{wording}: {error}")
                continue
            if not wording.token_ids:
                await self._calibrate(timeout_seconds)
            return stream
        raise RequestFailed("the engine took none of the ways to ask: " + " | ".join(refused))

    def _in(self, wording: Wording) -> Speech:
        return Speech(endpoint=self._endpoint, served_name=self._target.served_name, wording=wording)

    async def _calibrate(self, timeout_seconds: float) -> None:
        """Finds how many words make how many tokens."""
        as_they_are = prompts.TextLength(overhead=0.0)
        speech = self.speech
        counted: list[tuple[int, int]] = []
        self._speech = replace(speech, text_length=as_they_are)
        for words in CALIBRATION_WORDS:
            stream = await self.ask(words, 1, timeout_seconds)
            if stream.prompt_tokens is not None:
                counted.append((words, stream.prompt_tokens))
        length = prompts.calibrate(counted)
        self._speech = replace(speech, text_length=length)
        if not length.calibrated:
            self._notes.append("the engine does not count prompt tokens: input lengths are words, not tokens")

    def now_seconds(self) -> float:
        return time.monotonic()

    async def ask(self, input_tokens: int, output_tokens: int, timeout_seconds: float) -> Stream:
        """Sent again where it failed in a way that may pass."""
        return await self._ask(input_tokens, output_tokens, timeout_seconds, known=True)

    async def _ask(
        self, input_tokens: int, output_tokens: int, timeout_seconds: float, *, known: bool
    ) -> Stream:
        stream, failed = await self._tries.answered(
            lambda: self._once(input_tokens, output_tokens, timeout_seconds), known=known
        )
        return replace(stream, failed=failed)

    async def _once(self, input_tokens: int, output_tokens: int, timeout_seconds: float) -> Stream:
        path = self.speech.wording.path
        body = self.speech.body(self._rng, input_tokens, output_tokens, counted=True)
        raw = await exchange(self._endpoint, "POST", path, body, timeout_seconds=timeout_seconds)
        events = raw.response().events
        stream = reduce_stream(raw.sent_ns, events)
        if stream.error or not stream.tokens:
            what = stream.error or "an answer without a token"
            raise RequestFailed(f"POST {path}: {what}", answered=True, status=FAULT if stream.error else 0)
        self.pace.learn(1, [stream])
        if len(stream.tokens) > 1:
            self.pace.closing_events = len(events) - len(stream.tokens)
        return stream

    async def burst(
        self, requests: int, input_tokens: int, output_tokens: int, timeout_seconds: float
    ) -> None:
        asks = [self._once(input_tokens, output_tokens, timeout_seconds) for _ in range(requests)]
        await asyncio.gather(*asks, return_exceptions=True)

    async def closed_loop(
        self,
        concurrency: int,
        workload: Workload,
        *,
        spread: float,
        seconds: float,
        window_seconds: float = math.inf,
    ) -> Trace:
        shape = loops.Shape(workload, spread)
        chunks = self.pace.chunks_per_second(concurrency)
        trace = await self._run(
            lambda left: loops.closed(
                concurrency, shape, self.pace, self._rng, seconds=left, window_seconds=window_seconds
            ),
            seconds,
            chunks,
        )
        self.pace.learn(concurrency, trace.streams[trace.residual :])
        return trace

    async def open_loop(
        self, requests_per_second: float, workload: Workload, *, spread: float, seconds: float
    ) -> Trace:
        shape = loops.Shape(workload, spread)
        chunks = requests_per_second * workload.output_tokens / self.pace.tokens_per_chunk
        return await self._run(
            lambda left: loops.arriving(requests_per_second, shape, self.pace, self._rng, seconds=left),
            seconds,
            chunks,
        )

    async def unstreamed_rate(self, concurrency: int, workload: Workload, *, seconds: float) -> float | None:
        """None too where the counters advance only when a request ends."""
        shape = loops.Shape(workload, UNSTREAMED_SPREAD, streamed=False)
        trace = await self._run(
            lambda left: loops.closed(concurrency, shape, self.pace, self._rng, seconds=left), seconds, None
        )
        return None if trace.broken else stepped_rate(trace.readings)

    async def _run(
        self, plan: Callable[[float], loops.Loop], seconds: float, chunks_per_second: float | None
    ) -> Trace:
        """The loop that ``plan`` makes of the seconds that are left once its processes are there."""
        began = time.monotonic()
        count, _ = processes_for(chunks_per_second or 0.0, self._cpus)
        members = await self._crew.members(count) if count > 1 else []
        loop = plan(seconds - (time.monotonic() - began))
        parts: list[Asking] = []
        if len(members) > 1:
            for member, job in zip(members, loops.split(loop.job, len(members)), strict=False):
                member.give(self.speech, job)
                parts.append(member)
        else:
            parts.append(Share(self.speech, loop.job))
        return await loops.run(
            loop,
            parts,
            read=lambda patience: discovery.scrape(self._endpoint, timeout_seconds=patience),
            machine=lambda: self._machine(False),
        )

    async def post(self, path: str, body: Mapping[str, Any]) -> tuple[int, Any]:
        """(HTTP status, the answer's document) of a request that is not measured. Raises RequestFailed, or
        ValueError for an answer that is not JSON."""
        stream = await open_stream(self._endpoint, RawStream)
        try:
            stream.send(request_bytes(self._endpoint, "POST", path, body))
            with contextlib.suppress(RequestFailed):  # told by the status below
                await stream.wait(POST_SECONDS)
            answer = stream.response()
            return answer.status, json.loads(answer.body or b"null")
        finally:
            stream.close()

    async def pause(self, seconds: float) -> None:
        await asyncio.sleep(seconds)

    async def reading(self) -> Reading:
        return await discovery.scrape(self._endpoint)

    def machine(self, *, calibrate: bool) -> MachineSample:
        return self._machine(calibrate)
