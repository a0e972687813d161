"""An engine whose answers are written down, for the first and last requests of a probe."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Iterable
from itertools import count
from random import Random
from typing import Any, cast

from tacho_contract.measurement import Measurement
from tacho_runtime.probe.sequence import run_probe
from tests.unit.probe.engines import live, target

COMPLETIONS, CHAT, MODELS = "/v1/completions", "/v1/chat/completions", "/v1/models"
TOKEN = b'data: {"choices":[{"index":0,"text":" w","finish_reason":null}]}\n\n'
STREAM = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n"

Answer = tuple[int, str] | bytes | None
"""(status, body), the bytes that come before the connection ends, or None: nothing for ever."""


class Unended(bytes):
    """Bytes after which the connection stays open."""


class Late(bytes):
    """Bytes that come after two seconds."""


Script = Callable[[str, str], Answer]
"""The answer by path and body."""


@contextlib.asynccontextmanager
async def engine(script: Script, seconds: float = 0) -> AsyncIterator[int]:
    """The port of a server that answers by ``script``, requests to generate after so many seconds."""
    served: list[asyncio.Task[Any]] = []

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        path, lower = head.split()[1], head.lower()
        length = int(lower.split("content-length: ")[1].split()[0]) if "content-length: " in lower else 0
        await asyncio.sleep(seconds if "POST" in head else 0)
        found = script(path, (await reader.readexactly(length)).decode())
        if found is None:
            await reader.read()
        elif isinstance(found, bytes):
            await asyncio.sleep(2 if isinstance(found, Late) else 0)
            writer.write(found)
            if isinstance(found, Unended):
                await reader.read()
        else:
            status, body = found
            head = f"HTTP/1.1 {status} X\r\nContent-Length: {len(body)}\r\n\r\n"
            writer.write((head + body).encode())

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        served.append(cast("asyncio.Task[Any]", asyncio.current_task()))
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            await answer(reader, writer)
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        try:
            yield server.sockets[0].getsockname()[1]
        finally:
            await asyncio.gather(*served)


def always(answer: Answer, models: Answer = (200, '{"data": [{"id": "mock"}]}')) -> Script:
    return lambda path, _: models if path == MODELS else answer


async def asked(
    script: Script, name: str = "custom", *, must: bool = True, seconds: int = 2, **changes: Any
) -> Measurement:
    async with engine(script) as port:
        goal = target(port, must_answer=must, engine=name, **changes)
        return await run_probe(goal, live(timeout=seconds, budget=2), plan_key="plan", rng=Random(1))


def beside_others(answer: Answer, tokens: Iterable[int], running: int) -> Script:
    """An engine that has generated one of ``tokens`` after the other, and has so many requests."""
    made = iter(tokens)

    def script(path: str, body: str) -> Answer:
        if path != "/metrics":
            return always(answer)(path, body)
        return 200, f"vllm:generation_tokens_total {next(made)}\nvllm:num_requests_running {running}\n"

    return script


WHOLE = STREAM + 8 * TOKEN + b"data: [DONE]\n\n"


def broken_after(requests: int, answer: Answer, until: int = 10**9) -> Script:
    """An engine that answers so many requests, then ``answer``, and from the ``until``-th on well again."""
    made = count(1)

    def script(path: str, body: str) -> Answer:
        if not body:
            return always(None)(path, body) if path == MODELS else (404, "")
        return answer if requests < next(made) < until else WHOLE

    return script
