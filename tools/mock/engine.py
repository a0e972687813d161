"""A mock engine: vLLM's OpenAI server in shape, a programmable law in time.

    python -m tools.mock.engine --port 8000 --ttft-base-ms 20 --itl-base-ms 10 --itl-per-seq-ms 0.5

``GET /_law`` shows the law, ``POST /_law`` changes it while requests run, ``GET /_lateness`` says how well it
was kept on this machine, ``POST /_foreign {"streams": 4, "seconds": 5}`` adds other clients' traffic. ``POST
/_crash`` ends it after the answer. ``--fail`` makes it go wrong: crash, oom, kv-cache (at start, with the
lines a real engine prints), crash-after:N and errors-after:N (requests to generate), errors, busy-every:N (a
429), away-every:N (a 503 that asks to come back in a second), fault-every:N (a 500), drop-every:N (the
connection ends in the middle of the answer), each of these as busy-at:N for the Nth alone, hang (no answer to
them), wedged (no answer at all, health included). While N requests are in the engine, further ones are
refused (busy-above:N, a 429), get no token (empty-above:N), an eighth of their answer (cut-above:N), the same
and a reason that says so (abort-above:N), half of it without an end (close-above:N), or an end of the model's
own without a token (stop-above:N).
"""

from __future__ import annotations

import asyncio
import dataclasses
import functools
import itertools
import json
import math
import os
import sys
import time
from typing import Any

from tools.mock import engine_metrics, engine_wire as wire
from tools.mock.engine_foreign import Foreign
from tools.mock.engine_http import Connection, Reply, Request
from tools.mock.engine_law import Law
from tools.mock.engine_scheduler import Scheduler, Sequence, Sink

VOCABULARY = 32_000
CHAT_TEMPLATE_TOKENS = 8
MOST_STEPS = 500
"""Tokens between two looks at the sockets: an engine that cannot keep its law still answers."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    served_name: str = "mock"
    max_model_len: int = 4096
    fail: str = ""
    api_key: str = ""
    prompt_tokens_details: bool = True
    token_prompts: bool = True
    """False: a list of token ids is refused, as engines without that form do."""
    continuous_usage: bool = True
    """False: continuous_usage_stats is ignored, as engines without it do."""
    counters: str = "step"
    """step: vLLM's metrics, which advance with each step. request: llama.cpp's, which advance when a request
    ends. none: no metrics."""
    opening_event: bool = False
    """Whether an event with an empty text is sent as a request is accepted, as text-generation-webui does."""
    empty_chunks: int = 0
    """Number of chunks without text before each chunk with text."""
    textless_every: int = 0
    """Every so many tokens, the first among them, one has no text by itself. 0: none."""
    short_share: float = 1.0
    """Of the tokens that were asked for, those that come; they end as if they were all."""
    usage_times: float = 1.0
    """Factor by which the counts of output tokens in answers, not those in metrics, are wrong."""
    moving_start: bool = False
    """Whether each reading of the metrics shows another start of the process."""
    page_seconds: float = 0.0
    """Seconds for which a page of the metrics is kept, as by a proxy's cache."""


class Refused(Exception):
    """A request the engine answers with an error document."""

    def __init__(
        self, message: str, param: str | None = None, *, kind: str = "BadRequestError", code: int = 400
    ):
        super().__init__(message)
        self.document = wire.error(message, kind, code, param)
        self.code = code


class Engine:
    """The HTTP side. One per process."""

    def __init__(self, settings: Settings, law: Law, board: engine_metrics.Board, rank: int) -> None:
        self.settings = settings
        self.loop = asyncio.get_running_loop()
        self.scheduler = Scheduler(law, self.loop.time)
        self.foreign = Foreign(self.scheduler)
        self.created = int(time.time())
        self.identities = itertools.count(1)
        self.requests = 0
        self._board, self._rank = board, rank
        self._page = (-math.inf, "")
        self._timer: asyncio.TimerHandle | None = None
        self._turning = False
        self.scheduler.wake = self._arm
        self._routes = {
            ("GET", "/health"): lambda _, reply: reply.whole(),
            ("GET", "/v1/models"): self._models,
            ("POST", "/v1/completions"): functools.partial(self._generate, chat=False),
            ("POST", "/v1/chat/completions"): functools.partial(self._generate, chat=True),
            ("GET", "/metrics"): self._metrics,
            ("GET", "/_law"): self._show_law,
            ("POST", "/_law"): self._change_law,
            ("POST", "/_foreign"): self._bring_foreign,
            ("GET", "/_lateness"): self._lateness,
            ("POST", "/_crash"): self._crash,
        }
        self._turn()

    def connection(self) -> Connection:
        return Connection(self._handle)

    # --- time ---------------------------------------------------------------------------------------
    def _turn(self) -> None:
        self._turning = True
        self.scheduler.advance(self.loop.time(), MOST_STEPS)
        self._turning = False
        self._board.show(self._rank, engine_metrics.Figures.of(self.scheduler))
        self._timer = None
        self._arm()

    def _arm(self) -> None:
        if self._turning:
            return
        due = self.scheduler.next_due()
        if self._timer is not None:
            if self._timer.when() <= due:
                return
            self._timer.cancel()
        self._timer = self.loop.call_at(due, self._turn) if due < math.inf else None

    # --- requests -----------------------------------------------------------------------------------
    def _handle(self, request: Request, reply: Reply) -> None:
        if self.settings.fail == "wedged":
            return None
        key = self.settings.api_key
        if key and request.path.startswith("/v1") and request.headers.get("authorization") != f"Bearer {key}":
            return reply.document({"error": "Unauthorized"}, status=401)
        route = self._routes.get((request.method, request.path))
        if route is None:
            return reply.document({"detail": "Not Found"}, status=404)
        try:
            return route(request, reply)
        except Refused as refused:
            later = ("Retry-After: 1",) if refused.code == 503 else ()
            return reply.document(refused.document, status=refused.code, headers=later)

    def _models(self, _: Request, reply: Reply) -> None:
        name, length = self.settings.served_name, self.settings.max_model_len
        reply.document(wire.models(name, self.created, length))

    def _metrics(self, _: Request, reply: Reply) -> None:
        if self.settings.counters == "none":
            return reply.document({"detail": "Not Found"}, status=404)
        self._turn()
        if self._page[0] <= self.loop.time() - self.settings.page_seconds:
            self._page = self.loop.time(), self._metrics_page()
        return reply.whole(self._page[1].encode(), kind="text/plain; version=0.0.4; charset=utf-8")

    def _metrics_page(self) -> str:
        ranks, law = self._board.all(), self.scheduler.law
        if self.settings.counters == "request":
            text = engine_metrics.by_request(ranks)
        else:
            text = engine_metrics.by_step(ranks, law, self.settings.served_name)
        moving = f"process_start_time_seconds {time.time()}\n" if self.settings.moving_start else ""
        return text + moving

    def _show_law(self, _: Request, reply: Reply) -> None:
        reply.document(dataclasses.asdict(self.scheduler.law))

    def _change_law(self, request: Request, reply: Reply) -> None:
        self._turn()
        try:
            self.scheduler.law = self.scheduler.law.changed(**request.json())
        except (TypeError, ValueError) as problem:
            raise Refused(f"not a law: {problem}") from None
        self._turn()
        self._show_law(request, reply)

    def _bring_foreign(self, request: Request, reply: Reply) -> None:
        try:
            document = request.json()
            streams, seconds = int(document["streams"]), float(document["seconds"])
        except (KeyError, TypeError, ValueError) as problem:
            raise Refused(f"not foreign traffic: {problem!r}") from None
        self.foreign.come(self.loop.time(), streams, seconds)
        reply.document({})

    def _lateness(self, _: Request, reply: Reply) -> None:
        late = sorted(self.scheduler.totals.late_seconds) or [0.0]
        reply.document({"p95_ms": 1000 * late[int(0.95 * (len(late) - 1))]})

    def _crash(self, _: Request, reply: Reply) -> None:
        self.loop.call_later(0.05, _die)
        reply.document({})

    def _fails(self) -> bool:
        """Whether this request to generate gets no answer."""
        self.requests += 1
        mode, _, count = self.settings.fail.partition(":")
        if mode == "crash-after" and self.requests > int(count):
            _die()
        if mode == "errors" or (mode == "errors-after" and self.requests > int(count)):
            raise Refused("the mock engine was told to fail", kind="InternalServerError", code=500)
        if self._wrong("busy") or self._over("busy"):
            raise Refused("the mock engine was told to be busy", kind="RateLimitError", code=429)
        if self._wrong("away"):
            raise Refused("the mock engine was told to be away", kind="ServiceUnavailable", code=503)
        if self._wrong("fault"):
            raise Refused("the mock engine was told to fail", kind="InternalServerError", code=500)
        return mode == "hang"

    def _wrong(self, what: str) -> bool:
        """Whether this request is to go wrong so."""
        mode, _, count = self.settings.fail.partition(":")
        every = mode == f"{what}-every" and self.requests % int(count) == 0
        return every or (mode == f"{what}-at" and self.requests == int(count))

    def _over(self, what: str) -> bool:
        """Whether so many requests are in the engine that further ones go wrong so."""
        mode, _, count = self.settings.fail.partition(":")
        within = len(self.scheduler.running) + len(self.scheduler.waiting)
        return mode == f"{what}-above" and within >= int(count)

    def _without_token(self, reply: Reply, answer: wire.Answer) -> bool:
        """Whether the request is answered at once, without a token."""
        if self._over("empty"):
            reply.events(b"data: [DONE]\n\n", last=True)
        elif self._over("stop"):
            end = answer.chunk("", 0, "stop", continuous=True, closing=False)
            reply.events(wire.event(end) + b"data: [DONE]\n\n", last=True)
        else:
            return False
        return True

    def _generate(self, request: Request, reply: Reply, *, chat: bool) -> None:
        arrived = self.loop.time()
        if self._fails():
            return
        try:
            body = request.json()
        except ValueError:
            raise Refused(
                "1 validation error:\n  {'type': 'json_invalid'}", "body.1", kind="Bad Request"
            ) from None
        prompt_tokens, prompt_key = self._prompt(body, chat=chat)
        room = self.settings.max_model_len - prompt_tokens
        output_tokens = body.get("max_tokens") or body.get("max_completion_tokens") or (room if chat else 16)
        self._check_lengths(prompt_tokens, output_tokens)
        answer = wire.Answer(
            identity=f"{next(self.identities):016x}",
            model=body["model"],
            created=int(time.time()),
            chat=chat,
            prompt_tokens=prompt_tokens,
            usage_times=self.settings.usage_times,
        )
        if self._without_token(reply, answer):
            return
        aborts = self._over("abort")
        share = 1 / 8 if aborts or self._over("cut") else self.settings.short_share
        streamed = bool(body.get("stream"))
        sending = self._stream(body, reply, answer) if streamed else self._whole(reply, answer)
        sequence = self.scheduler.submit(
            prompt_tokens=prompt_tokens,
            prompt_key=prompt_key,
            max_tokens=max(1, round(share * min(output_tokens, room))),
            min_tokens=body.get("min_tokens") or 0,
            ignore_eos=bool(body.get("ignore_eos")),
            arrived=arrived,
            sink=sending,
            streamed=streamed,
        )
        sequence.finish_reason = "abort" if aborts else sequence.finish_reason
        reply.on_close = lambda: self.scheduler.abort(sequence, self.loop.time())

    def _prompt(self, body: dict[str, Any], *, chat: bool) -> tuple[int, int]:
        """(tokens, a key that equal prompts share). Text counts its words. Raises Refused."""
        key = "messages" if chat else "prompt"
        if not body.get(key):
            raise Refused(
                f"1 validation error:\n  {{'type': 'missing', 'loc': 'body.{key}'}}",
                f"body.{key}",
                kind="Bad Request",
            )
        name = body.get("model")
        if name != self.settings.served_name:
            message = f"The model `{name}` does not exist. Valid aliases: {self.settings.served_name}."
            raise Refused(message, "model", kind="NotFoundError", code=404)
        prompt = body[key]
        identity = hash((json.dumps(prompt), body.get("cache_salt")))
        if chat:
            words = sum(len(str(message.get("content") or "").split()) for message in prompt)
            return words + CHAT_TEMPLATE_TOKENS * len(prompt), identity
        if isinstance(prompt, str):
            return 1 + len(prompt.split()), identity
        if not self.settings.token_prompts:
            raise Refused("prompt: a string is wanted", "prompt")
        outside = next((token for token in prompt if not 0 <= token < VOCABULARY), None)
        if outside is not None:
            raise Refused(f"Token id {outside} is out of vocabulary")
        return len(prompt), identity

    def _check_lengths(self, prompt_tokens: int, output_tokens: int) -> None:
        longest = self.settings.max_model_len
        if prompt_tokens >= longest:
            raise Refused(
                f"This model's maximum context length is {longest} tokens. However, your prompt contains "
                f"{prompt_tokens} input tokens, which exceeds this limit even without any output tokens. "
                "Please reduce the length of the input prompt. "
                f"(parameter=input_tokens, value={prompt_tokens})",
                "input_tokens",
            )
        if output_tokens > longest:
            raise Refused(
                f"max_tokens={output_tokens} cannot be greater than max_model_len={longest}. Please request "
                f"fewer output tokens. (parameter=max_tokens, value={output_tokens})",
                "max_tokens",
            )

    def _whole(self, reply: Reply, answer: wire.Answer) -> Sink:
        total = 0

        def send(_: float, tokens: int, last: bool, sequence: Sequence) -> None:
            nonlocal total
            total += tokens
            if last:
                text = wire.text_of(0, total)
                document = answer.document(text, total, sequence.finish_reason, self._cached(sequence))
                reply.whole(wire.dumps(document))

        return send

    def _cached(self, sequence: Sequence) -> int:
        return sequence.cached_tokens if self.settings.prompt_tokens_details else 0

    def _stream(self, body: dict[str, Any], reply: Reply, answer: wire.Answer) -> Sink:
        options = body.get("stream_options") or {}
        usage = bool(options.get("include_usage"))
        continuous = usage and self.settings.continuous_usage and bool(options.get("continuous_usage_stats"))
        middle = answer.middle(continuous=continuous)
        dropped = self._wrong("drop")
        closed = self._over("close")
        total = 0
        if self.settings.opening_event:
            opening = answer.chunk("", 0, None, continuous=False, closing=False)
            reply.events(wire.event(opening), last=False)

        def send(_: float, tokens: int, last: bool, sequence: Sequence) -> None:
            nonlocal total
            if dropped and total >= sequence.output_tokens / 2:
                return reply.drop()
            if closed and total >= sequence.output_tokens / 2:
                return reply.events(b": the server closes\n\n", last=True)
            for _ in range(self.settings.empty_chunks):
                empty = answer.chunk("", total, None, continuous=continuous, closing=False)
                reply.events(wire.event(empty), last=False)
            if total and not last and not self.settings.textless_every:
                data = middle(total, tokens)
                total += tokens
                return reply.events(data, last=False)
            events = [answer.role(continuous=continuous)] if answer.chat and total == 0 else []
            text = wire.text_of(total, tokens, self.settings.textless_every)
            total += tokens
            reason = sequence.finish_reason if last else None
            closing = last and not usage
            events.append(answer.chunk(text, total, reason, continuous=continuous, closing=closing))
            if last and usage:
                events.append(answer.closing_usage(total, self._cached(sequence)))
            tail = b"data: [DONE]\n\n" if last else b""
            return reply.events(b"".join(map(wire.event, events)) + tail, last=last)

        return send


def _die() -> None:
    print("(EngineCore pid=7) ERROR the mock engine was told to crash", file=sys.stderr, flush=True)
    os._exit(1)


if __name__ == "__main__":
    from tools.mock.engine_start import main

    main()
