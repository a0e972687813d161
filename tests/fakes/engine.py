"""A mock engine: vLLM's OpenAI server in shape, a programmable law in time.

    python -m tests.fakes.engine --port 8000 --ttft-base-ms 20 --itl-base-ms 10 --itl-per-seq-ms 0.5

``GET /_law`` shows the law, ``POST /_law`` changes it while requests run, ``GET /_lateness`` says how well it
was kept on this machine. ``POST /_crash`` ends it after the answer. ``--fail`` makes it go wrong:
crash, oom, kv-cache (at start, with the lines a real engine prints), crash-after:N and errors-after:N
(requests to generate), errors, hang (no answer to them), wedged (no answer at all, health included).
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import dataclasses
import itertools
import json
import os
import selectors
import signal
import sys
import time
from typing import Any

from aiohttp import web

from tests.fakes import engine_wire as wire
from tests.fakes.engine_law import Law, Scheduler, Sequence

VOCABULARY = 32_000
CHAT_TEMPLATE_TOKENS = 8
WORDS = (" one", " two", " three", " four", " five", " six", " seven", " eight")

START_FAILURES = {
    "crash": "(EngineCore pid=7) ERROR RuntimeError: the mock engine was told to crash at its start",
    "oom": (
        "(EngineCore pid=7) ERROR torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB. "
        "GPU 0 has a total capacity of 14.56 GiB of which 1.21 GiB is free."
    ),
    "kv-cache": (
        "(EngineCore pid=7) ERROR ValueError: To serve at least one request with the model's max seq len "
        "(8192), (1.00 GiB KV cache is needed, which is larger than the available KV cache memory (0.50 "
        "GiB). Based on the available memory, the estimated maximum model length is 4096."
    ),
}


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


class Refused(Exception):
    """A request the engine answers with an error document."""

    def __init__(
        self, message: str, param: str | None = None, *, kind: str = "BadRequestError", code: int = 400
    ):
        super().__init__(message)
        self.document = wire.error(message, kind, code, param)
        self.code = code


class Engine:
    """The HTTP side. One per server."""

    def __init__(self, settings: Settings, law: Law) -> None:
        self.settings = settings
        self.scheduler = Scheduler(law, asyncio.get_running_loop().time)
        self.created = int(time.time())
        self.identities = itertools.count(1)
        self.requests = 0

    def app(self) -> web.Application:
        app = web.Application(middlewares=[self._guard], client_max_size=64 * 1024 * 1024)
        app.add_routes(
            [
                web.get("/health", self._health),
                web.get("/v1/models", self._models),
                web.post("/v1/completions", self._completions),
                web.post("/v1/chat/completions", self._chat),
                web.get("/metrics", self._metrics),
                web.get("/_law", self._show_law),
                web.post("/_law", self._change_law),
                web.get("/_lateness", self._lateness),
                web.post("/_crash", self._crash),
            ]
        )

        async def lifetime(_: web.Application) -> Any:
            self.scheduler.start()
            yield
            await self.scheduler.stop()

        app.cleanup_ctx.append(lifetime)
        return app

    @web.middleware
    async def _guard(self, request: web.Request, handler: Any) -> web.StreamResponse:
        if self.settings.fail == "wedged":
            await asyncio.Event().wait()
        key = self.settings.api_key
        if key and request.path.startswith("/v1") and request.headers.get("Authorization") != f"Bearer {key}":
            return web.json_response({"error": "Unauthorized"}, status=401)
        try:
            answer: web.StreamResponse = await handler(request)
        except Refused as refused:
            return web.json_response(refused.document, status=refused.code)
        except web.HTTPNotFound:
            return web.json_response({"detail": "Not Found"}, status=404)
        return answer

    async def _health(self, _: web.Request) -> web.Response:
        return web.Response()

    async def _models(self, _: web.Request) -> web.Response:
        name, length = self.settings.served_name, self.settings.max_model_len
        return web.json_response(wire.models(name, self.created, length))

    async def _metrics(self, _: web.Request) -> web.Response:
        return web.Response(text=wire.metrics(self.scheduler, self.settings.served_name))

    async def _show_law(self, _: web.Request) -> web.Response:
        return web.json_response(dataclasses.asdict(self.scheduler.law))

    async def _change_law(self, request: web.Request) -> web.Response:
        try:
            self.scheduler.law = self.scheduler.law.changed(**await request.json())
        except (TypeError, ValueError) as problem:
            raise Refused(f"not a law: {problem}") from None
        return await self._show_law(request)

    async def _lateness(self, _: web.Request) -> web.Response:
        late = sorted(self.scheduler.totals.late_seconds) or [0.0]
        return web.json_response({"p95_ms": 1000 * late[int(0.95 * (len(late) - 1))]})

    async def _crash(self, _: web.Request) -> web.Response:
        asyncio.get_running_loop().call_later(0.05, _die)
        return web.json_response({})

    async def _completions(self, request: web.Request) -> web.StreamResponse:
        return await self._generate(request, chat=False)

    async def _chat(self, request: web.Request) -> web.StreamResponse:
        return await self._generate(request, chat=True)

    async def _fail(self) -> None:
        self.requests += 1
        mode, _, count = self.settings.fail.partition(":")
        if mode == "hang":
            await asyncio.Event().wait()
        if mode == "crash-after" and self.requests > int(count):
            _die()
        if mode == "errors" or (mode == "errors-after" and self.requests > int(count)):
            raise Refused("the mock engine was told to fail", kind="InternalServerError", code=500)

    async def _generate(self, request: web.Request, *, chat: bool) -> web.StreamResponse:
        arrived = asyncio.get_running_loop().time()
        await self._fail()
        try:
            body = await request.json()
        except ValueError:
            raise Refused(
                "1 validation error:\n  {'type': 'json_invalid'}", "body.1", kind="Bad Request"
            ) from None
        prompt_tokens, prompt_key = self._prompt(body, chat=chat)
        room = self.settings.max_model_len - prompt_tokens
        asked = body.get("max_tokens") or body.get("max_completion_tokens") or (room if chat else 16)
        self._check_lengths(prompt_tokens, asked)
        sequence = self.scheduler.submit(
            prompt_tokens=prompt_tokens,
            prompt_key=prompt_key,
            max_tokens=min(asked, room),
            min_tokens=body.get("min_tokens") or 0,
            ignore_eos=bool(body.get("ignore_eos")),
            arrived=arrived,
        )
        answer = wire.Answer(
            identity=f"{next(self.identities):016x}",
            model=body["model"],
            created=int(time.time()),
            chat=chat,
            prompt_tokens=prompt_tokens,
        )
        try:
            if body.get("stream"):
                return await self._stream(request, body, sequence, answer)
            return await self._whole(sequence, answer)
        finally:
            self.scheduler.abort(sequence)

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

    def _check_lengths(self, prompt_tokens: int, asked: int) -> None:
        longest = self.settings.max_model_len
        if prompt_tokens >= longest:
            raise Refused(
                f"This model's maximum context length is {longest} tokens. However, your prompt contains "
                f"{prompt_tokens} input tokens, which exceeds this limit even without any output tokens. "
                "Please reduce the length of the input prompt. "
                f"(parameter=input_tokens, value={prompt_tokens})",
                "input_tokens",
            )
        if asked > longest:
            raise Refused(
                f"max_tokens={asked} cannot be greater than max_model_len={longest}. Please request fewer "
                f"output tokens. (parameter=max_tokens, value={asked})",
                "max_tokens",
            )

    async def _whole(self, sequence: Sequence, answer: wire.Answer) -> web.Response:
        total, last = 0, False
        while not last:
            count, last = await sequence.chunks.get()
            total += count
        text = "".join(WORDS[index % len(WORDS)] for index in range(total))
        return web.json_response(answer.document(text, total, sequence.finish_reason, self._cached(sequence)))

    def _cached(self, sequence: Sequence) -> int:
        return sequence.cached_tokens if self.settings.prompt_tokens_details else 0

    async def _stream(
        self, request: web.Request, body: dict[str, Any], sequence: Sequence, answer: wire.Answer
    ) -> web.StreamResponse:
        options = body.get("stream_options") or {}
        usage = bool(options.get("include_usage"))
        continuous = usage and self.settings.continuous_usage and bool(options.get("continuous_usage_stats"))
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream; charset=utf-8"})
        response.enable_chunked_encoding()
        await response.prepare(request)
        total, last = 0, False
        try:
            while not last:
                count, last = await sequence.chunks.get()
                events = [answer.role(continuous=continuous)] if answer.chat and total == 0 else []
                text = "".join(WORDS[(total + index) % len(WORDS)] for index in range(count))
                total += count
                reason = sequence.finish_reason if last else None
                closing = last and not usage
                events.append(answer.chunk(text, total, reason, continuous=continuous, closing=closing))
                if last and usage:
                    events.append(answer.closing_usage(total, self._cached(sequence)))
                tail = "data: [DONE]\n\n" if last else ""
                await response.write(
                    ("".join(f"data: {_dumps(event)}\n\n" for event in events) + tail).encode()
                )
        except ConnectionResetError:
            return response
        await response.write_eof()
        return response


def _die() -> None:
    print("(EngineCore pid=7) ERROR the mock engine was told to crash", file=sys.stderr, flush=True)
    os._exit(1)


def _dumps(document: dict[str, Any]) -> str:
    return json.dumps(document, separators=(",", ":"))


def parser() -> argparse.ArgumentParser:
    options = argparse.ArgumentParser(prog="engine", description="A mock engine with a programmable law")
    options.add_argument("--host", default="127.0.0.1")
    options.add_argument("--port", type=int, default=8000, help="0: any free one; it is printed")
    options.add_argument("--startup-seconds", type=float, default=0.0, help="before the port is open")
    for settings in dataclasses.fields(Settings):
        _add_option(options, settings)
    for law in dataclasses.fields(Law):
        _add_option(options, law)
    return options


def _add_option(options: argparse.ArgumentParser, setting: Any) -> None:
    name = "--" + setting.name.replace("_", "-")
    if isinstance(setting.default, bool):
        options.add_argument(name, default=setting.default, action=argparse.BooleanOptionalAction)
    else:
        options.add_argument(name, default=setting.default, type=type(setting.default))


def _picked(kind: type, options: argparse.Namespace) -> dict[str, Any]:
    return {setting.name: getattr(options, setting.name) for setting in dataclasses.fields(kind)}


async def serve(options: argparse.Namespace) -> None:
    """Until cancelled. Prints one line, ``listening on PORT``, once requests are answered."""
    await asyncio.sleep(options.startup_seconds)
    engine = Engine(Settings(**_picked(Settings, options)), Law(**_picked(Law, options)))
    runner = web.AppRunner(engine.app(), handler_cancellation=True, access_log=None)
    await runner.setup()
    try:
        await web.TCPSite(runner, options.host, options.port).start()
        print(f"listening on {runner.addresses[0][1]}", flush=True)
        await asyncio.Event().wait()
    finally:
        await runner.cleanup()


def main() -> None:
    options = parser().parse_args()
    if options.fail in START_FAILURES:
        time.sleep(options.startup_seconds)
        sys.exit(START_FAILURES[options.fail])
    # select() waits to the microsecond where epoll rounds up to the millisecond. It ends at 1024 connections.
    loop = asyncio.SelectorEventLoop(selectors.SelectSelector())
    main_task = loop.create_task(serve(options))
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, main_task.cancel)
    with contextlib.closing(loop), contextlib.suppress(asyncio.CancelledError):
        loop.run_until_complete(main_task)


if __name__ == "__main__":
    main()
