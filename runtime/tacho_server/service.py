"""Handles one HTTP request: validates it, admits it, lets the backend generate, counts it in the metrics."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import json
import time
import uuid
from array import array
from collections.abc import AsyncGenerator, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from tacho_server.answers import AnswerChoice, AnswerFormat, Usage
from tacho_server.backend import Backend, Generation, GenerationError, Sampling, Token
from tacho_server.errors import RequestError, bad
from tacho_server.generating import Piece, merged, pieces
from tacho_server.metrics import ServerMetrics
from tacho_server.options import ServerSettings
from tacho_server.places import Connection, Places
from tacho_server.schema import (
    ChatRequest,
    CompletionRequest,
    GenerationRequest,
    messages_of,
    prompts_of,
    sampling_of,
    template_variables_of,
)
from tacho_server.sequences import SequenceFigures
from tacho_server.threads import TimedThread

TEXT_SECONDS = 10.0
"""Seconds for applying the template and tokenizing one request; a model's own template may loop for ever."""
STUCK_SECONDS = 60.0
"""Seconds beyond TEXT_SECONDS after which the engine counts as failed, as nothing ends the tokenizer."""

LOGPROBS_LIMIT = 250_000
"""Most log-probabilities, or echoed tokens without any, that one answer may have at its end. A
log-probability takes 10 to 20 us of the event loop then."""
LOGPROBS_HELD = 1_000_000
"""Most of them that all answers may have; each takes about 100 bytes until its answer has ended."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GenerationJob:
    """A validated request, ready for the backend."""

    form: AnswerFormat
    generations: tuple[Generation, ...]
    stops: tuple[str, ...]
    echo: bool
    prompt_tokens: int
    include_usage: bool
    continuous_usage: bool
    begin_seconds: float
    """Time of a monotonic clock when the request was admitted, before its text was tokenized."""
    logprobs: int = 0
    """Most log-probabilities, or echoed tokens, that are kept until the end of the answer, or of its first
    chunk."""


class Service:
    """Validates, admits and runs the requests of one backend."""

    def __init__(self, backend: Backend, settings: ServerSettings, metrics: ServerMetrics) -> None:
        self.backend, self._settings, self._metrics = backend, settings, metrics
        self._places = Places(settings.max_requests)
        self._logprobs = 0
        # One thread: not every tokenizer can be used by two, and the CPUs are the engine's.
        self._tokenizing = TimedThread("tokenize", TEXT_SECONDS)

    def problem(self) -> str:
        """Why no request can be answered any more; "" while requests can."""
        if self._tokenizing.stuck_seconds > STUCK_SECONDS:
            return f"the tokenizer has not returned for {TEXT_SECONDS + STUCK_SECONDS:.0f} s"
        return self.backend.problem()

    # --- admission -------------------------------------------------------------------------------
    @contextlib.contextmanager
    def admitted(
        self,
        request: CompletionRequest | ChatRequest,
        client: str = "",
        connection: Connection | None = None,
    ) -> Iterator[None]:
        """Reserves places for the request's sequences, from before its text is parsed until its answer has
        ended. Raises RequestError where no places are free. ``client``: its address."""
        if request.model and request.model != self._settings.served_name:
            message = (
                f"The model {request.model!r} is not served here; this is {self._settings.served_name!r}."
            )
            raise RequestError(404, message, param="model", code="model_not_found")
        if problem := self.problem():
            raise RequestError(503, f"The engine has failed: {problem}")
        count, most = _sequences(request), self._places.most
        if count > most:
            message = (
                f"The request has {count} sequences (prompts times n); at most {most} are admitted at once."
            )
            raise bad(message, "n" if request.n > 1 else "prompt")
        if not self._places.reserve(count, client):
            self._metrics.requests.labels("refused").inc()
            taken = self._places.taken
            message = f"{taken} sequences run or wait of {most} that are admitted; try again later."
            raise RequestError(429, message, code="too_many_requests")
        with self._places.held(count, client, connection):
            yield

    @contextlib.contextmanager
    def holding(self, job: GenerationJob) -> Iterator[None]:
        """Reserves memory for the log-probabilities of an answer. Raises RequestError where too many are
        held."""
        if self._logprobs + job.logprobs > LOGPROBS_HELD:
            self._metrics.requests.labels("refused").inc()
            raise RequestError(429, "Too many log-probabilities or echoes are asked for at the same time.")
        self._logprobs += job.logprobs
        try:
            yield
        finally:
            self._logprobs -= job.logprobs

    # --- checks ----------------------------------------------------------------------------------
    async def job(self, request: CompletionRequest | ChatRequest, size_bytes: int) -> GenerationJob:
        """Validates the request and prepares its generation job before anything is computed. Templates and
        tokenizers run outside the event loop, and have a time limit. Raises RequestError.

        ``size_bytes``: size of the request. Longer ones wait for shorter ones, which many long ones would
        otherwise hold up.
        """
        begin_seconds = time.monotonic()
        work = partial(self._job, request, begin_seconds)
        try:
            with self._metrics.before_batch(_sequences(request)):
                return await self._tokenizing.run(work, size_bytes)
        except asyncio.CancelledError:
            self._metrics.ended("cancelled", begin_seconds)
            raise
        except TimeoutError:
            raise bad(f"the chat template or tokenizer took longer than {TEXT_SECONDS:.0f} s") from None

    def _job(self, request: CompletionRequest | ChatRequest, begin_seconds: float) -> GenerationJob:
        chat = isinstance(request, ChatRequest)
        prompts = [self._chat_prompt(request)] if isinstance(request, ChatRequest) else self._prompts(request)
        top = _top_logprobs(request)
        echo = isinstance(request, CompletionRequest) and request.echo
        abilities = self.backend.abilities
        if echo and top is not None:
            _check_scored(max(map(len, prompts)), abilities.scored_tokens)
        samplings = [sampling_of(request, abilities, len(prompt), top) for prompt in prompts]
        if not echo and any(sampling.max_tokens == 0 for sampling in samplings):
            raise bad("nothing is left to generate: max_tokens is 0 without echo", "max_tokens")
        given = sum(map(len, prompts)) if echo else 0
        made = 0 if request.stream or top is None else sum(sampling.max_tokens for sampling in samplings)
        # Each of n copies of an echo is decoded and sent: 16 texts of 500 KB were an answer of 126 MB.
        logprobs = (given + made) * request.n * (1 if top is None else top + 1)
        _check_logprobs(logprobs, "echo" if top is None else "logprobs")
        identity = ("chatcmpl-" if chat else "cmpl-") + uuid.uuid4().hex
        generations = [
            Generation(identity=f"{identity}-{at}", prompt=prompt, sampling=_seeded(sampling, copy))
            for at, (prompt, sampling, copy) in enumerate(
                (prompt, sampling, copy)
                for prompt, sampling in zip(prompts, samplings, strict=True)
                for copy in range(request.n)
            )
        ]
        stream = request.stream_options
        form = AnswerFormat(
            identity=identity,
            created=int(time.time()),
            model=self._settings.served_name,
            chat=chat,
            logprobs=top is not None,
            name=self.backend.tokenizer.name,
        )
        return GenerationJob(
            form=form,
            generations=tuple(generations),
            stops=request.stops,
            echo=echo,
            prompt_tokens=sum(len(prompt) for prompt in prompts),
            include_usage=bool(stream and stream.include_usage),
            continuous_usage=bool(stream and stream.continuous_usage_stats),
            begin_seconds=begin_seconds,
            logprobs=logprobs,
        )

    def _chat_prompt(self, request: ChatRequest) -> array[int]:
        tokenizer = self.backend.tokenizer
        if tokenizer.chat_problem:
            raise bad(f"This model cannot chat: {tokenizer.chat_problem}. Use /v1/completions.")
        messages, variables = messages_of(request), template_variables_of(request, tokenizer.reserved)
        _check_characters(json.dumps([messages, variables], ensure_ascii=False), "messages")
        try:
            return self._checked(tokenizer.chat(messages, variables), "messages")
        except ValueError as error:
            raise bad(str(error), "messages") from None

    def _checked(self, tokens: Sequence[int], param: str) -> array[int]:
        """``tokens`` as a prompt. Raises RequestError where there is none, or one that the
        model does not know.

        A tokenizer may have more tokens than its model.
        """
        if not tokens:
            raise bad("a prompt is empty: give at least one token", param)
        if max(tokens) >= self.backend.abilities.vocabulary:
            raise bad(f"token {max(tokens)} is not in the vocabulary", param)
        return array("i", tokens)

    def _prompts(self, request: CompletionRequest) -> list[array[int]]:
        found = []
        for prompt in prompts_of(request.prompt):
            if isinstance(prompt, str):
                _check_characters(prompt, "prompt")
            try:
                tokens = self.backend.tokenizer.encode(prompt) if isinstance(prompt, str) else prompt
            except ValueError as error:
                raise bad(str(error), "prompt", "context_length_exceeded") from None
            found.append(self._checked(tokens, "prompt"))
        return found

    # --- answers ---------------------------------------------------------------------------------
    async def whole(self, job: GenerationJob) -> bytes:
        """The whole answer of a request without streaming, as JSON. Raises RequestError."""
        choices = [AnswerChoice() for _ in job.generations]
        usage = Usage(job.prompt_tokens)
        try:
            async with contextlib.aclosing(self._counted(job, usage)) as run:
                async for piece in run:
                    choice = choices[piece.index]
                    choice.text += piece.text
                    choice.finish = piece.finish or choice.finish
                    if job.form.logprobs:
                        choice.tokens += [piece.token] if piece.token else list(piece.scored)
        except GenerationError as error:
            raise RequestError(500, f"The engine failed: {error}") from error
        return await job.form.whole(choices, usage)

    async def events(self, job: GenerationJob) -> AsyncGenerator[bytes, None]:
        """The answer of a streaming request, as server-sent events."""
        usage = Usage(job.prompt_tokens)
        for index in range(len(job.generations)):
            if opening := job.form.opening(index):
                yield _event(_json(opening))
        try:
            async with contextlib.aclosing(self._counted(job, usage)) as run:
                async for piece in run:
                    yield _event(await job.form.chunk(piece, usage if job.continuous_usage else None))
        except GenerationError as error:
            yield _event(_json(RequestError(500, f"The engine failed: {error}").body()))
            return
        if job.include_usage:
            yield _event(_json(job.form.usage_chunk(usage)))
        yield b"data: [DONE]\n\n"

    async def _counted(self, job: GenerationJob, usage: Usage) -> AsyncGenerator[Piece, None]:
        """The pieces of the job, which are counted in ``usage``; its sequences are, in the metrics."""
        outcome, last = "cancelled", None
        figures = [SequenceFigures(self._metrics, each, job.begin_seconds) for each in job.generations]
        try:
            async with contextlib.aclosing(self._pieces(job, figures)) as run:
                async for piece in run:
                    usage.generated += piece.token is not None
                    last = piece.finish
                    yield piece
            outcome = last or "length"
        except (asyncio.CancelledError, GeneratorExit):
            raise
        except BaseException:  # also a panic of a tokenizer
            outcome = "error"
            raise
        finally:
            self._metrics.ended(outcome, job.begin_seconds)
            for each in figures:
                each.end()

    async def _pieces(
        self, job: GenerationJob, figures: Sequence[SequenceFigures]
    ) -> AsyncGenerator[Piece, None]:
        if job.echo:
            echoes = [asyncio.ensure_future(self._echo(job, at, each)) for at, each in enumerate(figures)]
            try:
                found = await asyncio.gather(*echoes)
            finally:
                for echo in echoes:  # if one failed, the others' results are not used
                    echo.cancel()
            for piece in found:
                yield piece
        sources = [
            pieces(self.backend, dataclasses.replace(generation, on_token=counted.made), job.stops, index)
            for index, (generation, counted) in enumerate(zip(job.generations, figures, strict=True))
            if generation.sampling.max_tokens
        ]
        if sources:
            async with contextlib.aclosing(merged(sources)) as run:
                async for piece in run:
                    yield piece

    async def _echo(self, job: GenerationJob, index: int, counted: SequenceFigures) -> Piece:
        generation = job.generations[index]
        scored: Sequence[Token] = ()
        if job.form.logprobs:
            with self._metrics.before_batch(1):
                scored = await self.backend.score(generation.prompt, generation.sampling.top_logprobs or 0)
            counted.scored()
        text = self.backend.tokenizer.decode(generation.prompt)
        finish = None if generation.sampling.max_tokens else "length"
        return Piece(index=index, text=text, scored=scored, finish=finish)


def _sequences(request: CompletionRequest | ChatRequest) -> int:
    prompts = len(prompts_of(request.prompt)) if isinstance(request, CompletionRequest) else 1
    return prompts * request.n


def _json(document: dict[str, Any]) -> bytes:
    return json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode()


def _event(document: bytes) -> bytes:
    return b"data: " + document + b"\n\n"


def _check_scored(tokens: int, most: int) -> None:
    """Raises RequestError for a text that is longer than the memory for its log-probabilities allows."""
    if not most:
        raise bad("this engine gives no log-probabilities of given tokens (echo with logprobs)", "echo")
    if tokens > most:
        message = (
            f"log-probabilities of a given text (echo with logprobs): at most {most} tokens, not {tokens}"
        )
        raise bad(message, "echo")


def _check_logprobs(count: int, param: str) -> None:
    """Raises RequestError where an answer would have more than LOGPROBS_LIMIT log-probabilities or echoed
    tokens at its end.
    """
    if count > LOGPROBS_LIMIT:
        what = f"{count} log-probabilities or echoed tokens, more than {LOGPROBS_LIMIT}"
        step = "send fewer prompts at a time, n=1, no echo, a lower max_tokens, or stream"
        raise bad(f"the answer may have {what}: {step}", param)


def _check_characters(text: str, param: str) -> None:
    """Raises RequestError on half of a surrogate pair, which JSON allows and UTF-8 cannot encode."""
    try:
        text.encode()
    except UnicodeEncodeError:
        raise bad("the text has half of a surrogate pair, which is no character", param) from None


def _top_logprobs(request: GenerationRequest) -> int | None:
    if isinstance(request, CompletionRequest):
        return request.logprobs
    assert isinstance(request, ChatRequest)
    if not request.logprobs:
        if request.top_logprobs:
            raise bad("top_logprobs needs logprobs: true", "top_logprobs")
        return None
    return request.top_logprobs or 0


def _seeded(sampling: Sampling, copy: int) -> Sampling:
    """The sampling settings of one of several copies of a prompt, with a seed by which they differ."""
    if sampling.seed is None or not copy:
        return sampling
    return dataclasses.replace(sampling, seed=sampling.seed + copy)
