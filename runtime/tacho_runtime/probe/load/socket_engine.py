"""The engine under test, over sockets: the real implementation of ``EngineUnderTest``."""

from __future__ import annotations

import asyncio
import contextlib
import json
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from random import Random
from typing import Any

from tacho_contract.measurement import Workload
from tacho_runtime.files import while_reading
from tacho_runtime.machine.sampling import MachineSample
from tacho_runtime.probe.engine_under_test import LoadTrace, SteadyLoop
from tacho_runtime.probe.load import loops, requests
from tacho_runtime.probe.load.engine_counters import (
    CONTROL_SECONDS,
    CounterReading,
    EngineCounters,
    FirstEngine,
    scrape,
)
from tacho_runtime.probe.load.first_answer import (
    NOT_IMPLEMENTED,
    FormatsRefused,
    is_own_fault,
    serves_others,
)
from tacho_runtime.probe.load.job import LoadJob
from tacho_runtime.probe.load.load_group import LoadGroup
from tacho_runtime.probe.load.loops import ObservedLatency
from tacho_runtime.probe.load.requests import RequestBuilder, RequestFormat
from tacho_runtime.probe.load.retries import RETRYABLE_STATUSES, SERVER_ERROR, RetryBudget
from tacho_runtime.probe.load.streams import BUSY_NS, StreamResult, opens_early
from tacho_runtime.probe.load.timed_client import (
    EngineEndpoint,
    RequestFailed,
    StreamConnection,
    exchange,
    open_stream,
    request_bytes,
    without,
)
from tacho_runtime.probe.load.workers import WorkerPool
from tacho_runtime.probe.target import ProbeTarget

FIRST_INPUT_TOKENS = 32
FIRST_OUTPUT_TOKENS = 8
COUNTED_SECONDS = 2.0
"""Time in seconds in which an engine's work is counted whose counters at the start are not known."""
POST_SECONDS = 30.0
REQUEST_SECONDS = 300.0
"""Timeout in seconds of a request in a loop; a longer one counts as failed."""
SAMPLE_SECONDS = 10.0
"""Timeout in seconds of a sample of the machine; the first one waits for SETTLE_SECONDS."""
CALIBRATION_WORDS = (16, 64, 16, 64)
IMPOSSIBLE_COUNTS = (
    "the engine counts more prompt tokens than its prompts have bytes: these counts are not used"
)

LIKELY_PER_WORD = (2 / 3, 3 / 2)
"""Tokens between which nearly every tokenizer makes a word of the probe's; a count of bytes is 4.4."""

MachineSampler = Callable[[bool], MachineSample]
"""Function that samples the machine now; its argument says whether to time the calibration."""


def timestamp_only(_calibrate: bool) -> MachineSample:
    """A machine sample with only its time, for a probe that does not watch the machine."""
    return MachineSample(stamp_ns=time.monotonic_ns())


class SocketEngine:
    """An engine at a URL. ``open`` connects; then ``first_request`` must find a request format that it
    answers."""

    def __init__(
        self,
        target: ProbeTarget,
        endpoint: EngineEndpoint,
        found: requests.DiscoveredEngine,
        rng: Random,
        machine: MachineSampler,
        cpus: int,
        tries: RetryBudget,
    ) -> None:
        self.max_model_len = found.max_model_len
        """Longest prompt plus answer of one request in tokens. 0: unknown."""
        self._notes: list[str] = []
        self.near = endpoint.near
        self.pace = ObservedLatency()
        self._wordings = found.request_formats
        self._target, self._endpoint, self._rng, self._machine = target, endpoint, rng, machine
        self._cpus, self._pool, self._tries = cpus, WorkerPool(), tries
        self._requests: RequestBuilder | None = None
        self._counts_prompts = True
        """False where the engine counts as many tokens in a long prompt as in a short one."""
        self.counts_oddly = False
        """Whether the engine's count of a text is that of no usual tokenizer."""
        self._first_engine = FirstEngine()
        self.answered = False
        """Whether a token of any answer has arrived."""
        self.failed: RequestFailed | None = None
        """Why the last request failed when it was sent before; None: it has not."""
        self._at_start = EngineCounters()
        """The counters before the first request to an engine that must answer."""
        self.unlisted: RequestFailed | None = None
        """Why the engine did not list its models; None: it did. Only of one that must answer."""

    @classmethod
    async def open(
        cls, target: ProbeTarget, rng: Random, *, machine: MachineSampler = timestamp_only, cpus: int = 1
    ) -> SocketEngine:
        """Connects to the engine; ``close`` it at the end. Raises AddressError, and RequestFailed without an
        answer.

        ``cpus``: the number of CPUs that the probe may use, shared with an engine on the same machine.
        """
        endpoint = EngineEndpoint.of(target.base_url, target.api_key)
        tries = RetryBudget()
        unlisted: RequestFailed | None = None
        try:
            found = await requests.discover(target, endpoint, tries)
        except RequestFailed as error:
            if not (target.must_answer and is_own_fault(error, target.engine)):
                raise
            found, unlisted = requests.discovered(target, {}), error
        engine = cls(target, endpoint, found, rng, machine, cpus, tries)
        engine.unlisted = unlisted
        return engine

    async def renew(self) -> None:
        """Prepares another first request: with retries of its own, and the models where they were not
        listed."""
        self._tries = RetryBudget()
        if self.unlisted is None:
            return
        try:
            found = await requests.discover(self._target, self._endpoint, self._tries)
        except RequestFailed as error:
            self.unlisted = error
        else:
            self.unlisted = None
            self.max_model_len, self._wordings = found.max_model_len, found.request_formats

    async def count_from_here(self, timeout_seconds: float) -> None:
        """Reads the counters with which ``serves_others`` compares later ones."""
        self._at_start = await self._counters(timeout_seconds)

    async def serves_others(self, timeout_seconds: float) -> bool:
        """Whether the engine has worked since ``count_from_here``, for other clients."""
        now = await self._counters(timeout_seconds)
        if self._at_start == EngineCounters() != now:
            # They were not read in time, or not there yet: what an engine did before it hung is no work now.
            self._at_start = now
            await self.pause(COUNTED_SECONDS)
            now = await self._counters(timeout_seconds)
        return serves_others(self._at_start, now)

    async def _counters(self, timeout_seconds: float) -> EngineCounters:
        """The counters, if they are read and understood in time: a long page takes seconds."""
        try:
            return (await asyncio.wait_for(self._read_counters(timeout_seconds), timeout_seconds)).counters
        except asyncio.TimeoutError:
            return EngineCounters()

    async def close(self) -> None:
        """Ends the processes that sent requests."""
        await self._pool.close()

    @property
    def notes(self) -> tuple[str, ...]:
        """Notes for readers of the measured values about the form of the requests."""
        return (*self._notes, *filter(None, [self._tries.note(), self._first_engine.unseen]))

    @property
    def requests(self) -> RequestBuilder:
        """The builder of requests in the format that the engine answers. Only after ``first_request``."""
        assert self._requests is not None, "the first request comes first"
        return self._requests

    @property
    def same_tokens(self) -> int:
        """Tokens that all prompts have in common at their beginning: a start token and the chat template."""
        return 0 if self.requests.request_format.token_ids else math.ceil(self.requests.text_length.overhead)

    async def first_request(self, timeout_seconds: float) -> StreamResult:
        """Sends the first request, which finds the request format that the engine answers.

        Raises RequestFailed when the engine answers no format, and when it is busy, which shows nothing about
        a format.
        """
        refused: list[tuple[RequestFormat, RequestFailed]] = []
        answered: RequestBuilder | None = None
        for wording in self._wordings:
            self._requests = self._in(wording)
            size = self._first_input()
            try:
                stream = await self._send_request(size, FIRST_OUTPUT_TOKENS, timeout_seconds, known=False)
            except RequestFailed as error:
                if not (error.answered or (error.broke and self._target.must_answer)):
                    raise
                if error.status in RETRYABLE_STATUSES:
                    raise error.with_message(f"the engine is busy: {error}") from None
                refused.append((wording, error))
                answered = answered or (self._requests if self.answered else None)
                continue
            stream = await self._without_opening(stream, size, timeout_seconds)
            if not wording.token_ids:
                await self._calibrate(timeout_seconds)
            return stream
        self._requests = answered or self._requests  # for a further one: others may be refused
        raise FormatsRefused.of(refused)

    async def further_request(self, timeout_seconds: float) -> StreamResult:
        """Sends another request like the first one, in the format that the engine answered."""
        self._tries = RetryBudget()
        return await self.complete(self._first_input(), FIRST_OUTPUT_TOKENS, timeout_seconds)

    def _first_input(self) -> int:
        """Tokens of the first request's prompt."""
        left = self.max_model_len - 2 * FIRST_OUTPUT_TOKENS
        return max(1, min(FIRST_INPUT_TOKENS, left)) if self.max_model_len else FIRST_INPUT_TOKENS

    async def _without_opening(
        self, stream: StreamResult, input_tokens: int, timeout_seconds: float
    ) -> StreamResult:
        """``stream``, the first answer, without its first event where each begins with one that has no
        token: two of three answers show it.
        """
        if not opens_early(stream, late_ns=BUSY_NS):
            return stream
        early = [opens_early(stream)]
        while len(early) < 2 or (len(early) == 2 and any(early) and not all(early)):
            early.append(opens_early(await self.complete(input_tokens, FIRST_OUTPUT_TOKENS, timeout_seconds)))
        if sum(early) < 2:
            return stream
        self._requests = replace(self.requests, opens_empty=True)
        self._notes.append("each answer begins with an event before its first token, which is left out")
        return replace(stream, tokens=stream.tokens[1:])

    def _in(self, wording: RequestFormat) -> RequestBuilder:
        return RequestBuilder(
            endpoint=self._endpoint, served_name=self._target.served_name, request_format=wording
        )

    async def _calibrate(self, timeout_seconds: float) -> None:
        """Finds the number of tokens per word of the probe's prompts, by requests of two lengths."""
        as_they_are = requests.TextLength(overhead=0.0)
        builder = self.requests
        counted: list[tuple[int, int]] = []
        self._requests = replace(builder, text_length=as_they_are)
        for words in CALIBRATION_WORDS:
            stream = await self.complete(words, 1, timeout_seconds)
            if stream.prompt_tokens is not None:
                counted.append((words, stream.prompt_tokens))
        length = requests.calibrate(counted)
        self._requests = replace(builder, text_length=length)
        fewest, most = LIKELY_PER_WORD
        self.counts_oddly = not fewest <= length.tokens_per_word <= most
        if self.counts_oddly:
            self._notes.append(
                f"the engine counts {length.tokens_per_word:.1f} tokens in a common word, as of bytes or by "
                "guessing: prompts may have another length than the workload's"
            )
        if not length.calibrated:
            self._counts_prompts = False
            self._notes.append("the engine does not count prompt tokens: input lengths are words, not tokens")

    def now_seconds(self) -> float:
        return time.monotonic()

    async def complete(self, input_tokens: int, output_tokens: int, timeout_seconds: float) -> StreamResult:
        """Sends one request and awaits its end; repeats it after a failure that may pass."""
        return await self._send_request(input_tokens, output_tokens, timeout_seconds, known=True)

    async def _send_request(
        self, input_tokens: int, output_tokens: int, timeout_seconds: float, *, known: bool
    ) -> StreamResult:
        self.failed = None
        stream, failed = await self._tries.answered(
            lambda: self._once(input_tokens, output_tokens, timeout_seconds), known=known
        )
        return replace(stream, failed=failed)

    async def _once(self, input_tokens: int, output_tokens: int, timeout_seconds: float) -> StreamResult:
        path = self.requests.request_format.path
        body = self.requests.body(self._rng, input_tokens, output_tokens, counted=True)
        sent = self.requests.stream()
        try:
            raw = await exchange(
                self._endpoint, "POST", path, body, timeout_seconds=timeout_seconds, kind=lambda: sent
            )
        except RequestFailed as error:
            self.failed = error
            raise
        finally:
            self.answered = self.answered or sent.has_answered
        raw.max_tokens = output_tokens
        stream = raw.result(whole=True)
        if stream.error or not stream.tokens:
            what = stream.error or "an answer without a token"
            status = SERVER_ERROR if stream.error else 0
            status = NOT_IMPLEMENTED if raw.is_of_another_api else status
            raise RequestFailed(f"POST {path}: {what}", answered=True, status=status)
        self.pace.learn(1, [stream])
        prompt = body.get("prompt") or body["messages"][0]["content"]
        if not self._counts_prompts:
            return replace(stream, prompt_tokens=None)
        if requests.is_possible(stream.prompt_tokens, prompt):
            return stream
        if IMPOSSIBLE_COUNTS not in self._notes:
            self._notes.append(IMPOSSIBLE_COUNTS)
        return replace(stream, prompt_tokens=None)

    async def steady_loop(self, workload: Workload, *, spread: float) -> SteadyLoop:
        return loops.SocketLoop(self._group(workload, spread), self._setting)

    async def open_loop(
        self, requests_per_second: float, workload: Workload, *, spread: float, seconds: float
    ) -> LoadTrace:
        group = self._group(workload, spread, repeated=False)
        return await loops.run_open_loop(group, self._setting, requests_per_second, seconds=seconds)

    def _group(self, workload: Workload, spread: float, *, repeated: bool = True) -> LoadGroup:
        job = LoadJob(
            origin_ns=time.monotonic_ns(),
            repeated=repeated,
            input_tokens=workload.input_tokens,
            output_tokens=workload.output_tokens,
            spread=spread,
            seed=self._rng.getrandbits(64),
            request_seconds=REQUEST_SECONDS,
        )
        return LoadGroup(self.requests, job, self._pool)

    @property
    def _setting(self) -> loops.LoopSetting:
        return loops.LoopSetting(
            read=self._read_counters,
            pace=self.pace,
            rng=self._rng,
            cpus=self._cpus,
        )

    async def post(self, path: str, body: Mapping[str, Any]) -> tuple[int, Any]:
        """(HTTP status, the answer's document) of a request that is not measured. Raises RequestFailed, or
        ValueError for an answer that is not JSON."""
        stream = await open_stream(self._endpoint, StreamConnection)
        try:
            stream.send(request_bytes(self._endpoint, "POST", path, body))
            with contextlib.suppress(RequestFailed):  # told by the status below
                await stream.wait(POST_SECONDS)
            answer = stream.body() or b"null"
            # What an error says is shown.
            return stream.status, json.loads(
                answer if stream.status == 200 else without(stream.secret, answer)
            )
        finally:
            stream.close()

    async def pause(self, seconds: float) -> None:
        await asyncio.sleep(seconds)

    async def reading(self) -> CounterReading:
        return await self._read_counters(CONTROL_SECONDS)

    async def _read_counters(self, timeout_seconds: float) -> CounterReading:
        """A reading of one engine's counters; where another engine answered, of its requests alone.

        Behind a load balancer the difference of two engines' counters looks like other clients' traffic.
        """
        scraped = await scrape(self._endpoint, timeout_seconds=timeout_seconds)
        port = self._endpoint.port if self.near else None
        forwarded = self._target.may_be_forwarded
        found = await self._first_engine.with_requests(scraped, port, may_be_forwarded=forwarded)
        if found.requests_there is not None:
            return found
        note = self._first_engine.problem(found)
        if not note:
            return found
        if note not in self._notes:
            self._notes.append(note)
        return found.elsewhere()

    async def machine(self, *, calibrate: bool) -> MachineSample:
        sample = while_reading(partial(self._machine, calibrate))
        try:
            return await asyncio.wait_for(sample, SAMPLE_SECONDS)
        except (asyncio.TimeoutError, TimeoutError):  # a driver may never answer
            return timestamp_only(calibrate)
