"""Whatever an engine sends, reading it ends."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import json
from collections.abc import AsyncIterator
from random import Random
from typing import cast

import pytest

from tacho_engines.custom.run import Custom
from tacho_runtime.http.metrics import render
from tacho_runtime.probe.load import wire
from tacho_runtime.probe.load.requests import DiscoveredEngine, RetryBudget
from tacho_runtime.probe.load.socket_engine import SocketEngine, timestamp_only
from tacho_runtime.probe.load.timed_client import RequestFailed, StreamConnection
from tacho_runtime.probe.load.token_stream import TokenStream
from tacho_runtime.supervisor import engine_client, process
from tacho_runtime.supervisor.engine_client import EngineClient
from tests.unit.probe.engines import target
from tools.harness.documents import plain_report

HEAD = b"HTTP/1.1 200 OK\r\n"


@contextlib.asynccontextmanager
async def engine(
    begin: bytes, again: bytes = b"", pause: float = 0.0, *, stays: bool = False, api_key: str = ""
) -> AsyncIterator[EngineClient]:
    """Sends ``begin``, then ``again`` without end. ``stays``: it leaves the connection open."""

    served: list[asyncio.Task[None] | None] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        served.append(asyncio.current_task())
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            await reader.readuntil(b"\r\n\r\n")
            writer.write(begin)
            while again:
                writer.write(again)
                await writer.drain()
                await asyncio.sleep(pause)
            if stays:
                await reader.read()
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        client = EngineClient(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", api_key=api_key)
        yield client
        await asyncio.gather(*filter(None, served))


async def test_an_answer_without_end_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(StreamConnection, "limit_bytes", 100_000)
    chunked = HEAD + b"Transfer-Encoding: chunked\r\n\r\n"
    async with engine(chunked, b"1000\r\n" + b"a" * 0x1000 + b"\r\n") as client:
        assert await client.metrics() is None
        assert await client.json("/version") is None
        healthy, why = await client.healthy("/health")
    assert not healthy
    assert "larger than 100000 bytes" in why


async def test_an_engine_that_sends_a_byte_now_and_then_is_not_healthy(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(engine_client, "TIMEOUT_SECONDS", 0.5)
    chunked = HEAD + b"Transfer-Encoding: chunked\r\n\r\n"
    async with engine(chunked, b"1\r\na\r\n", pause=0.02) as client, asyncio.timeout(20):
        healthy, why = await client.healthy("/health")
    assert not healthy
    assert "no full answer within" in why


async def test_an_answer_in_very_many_chunks_is_none() -> None:
    """4 MiB of them took the event loop 10 s."""
    body = b"1\r\na\r\n" * (wire.PIECES_LIMIT + 1) + b"0\r\n\r\n"
    async with engine(HEAD + b"Transfer-Encoding: chunked\r\n\r\n" + body) as client:
        assert await client.metrics() is None
        healthy, why = await client.healthy("/health")
    assert not healthy
    assert "chunks" in why


async def test_an_answer_with_very_many_trailers_is_none() -> None:
    """4 MiB of them took the event loop 4 s. The length says that the answer has ended."""
    body = b"0\r\n" + b"a:b\r\n" * wire.HEAD_LIMIT_BYTES + b"\r\n"
    head = HEAD + b"Transfer-Encoding: chunked\r\nContent-Length: %d\r\n\r\n" % len(body)
    async with engine(head + body, stays=True) as client:
        assert await client.metrics() is None
        healthy, why = await client.healthy("/health")
    assert not healthy
    assert "not an HTTP/1.1 response" in why


async def test_of_an_error_without_end_the_beginning_is_kept() -> None:
    """64 streams that failed so took 1 GB."""
    failed = TokenStream()
    failed.data_received(b"HTTP/1.1 500 No\r\n\r\n")
    for _ in range(100):
        failed.data_received(b"busy" * 16 * 1024)
    failed.connection_lost(None)
    assert sum(len(read) for _, read in failed.reads) < 2 * wire.HEAD_LIMIT_BYTES
    with pytest.raises(RequestFailed, match="HTTP 500: busy"):
        await failed.wait(1)


async def test_an_answer_without_a_body_is_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine_client, "TIMEOUT_SECONDS", 0.5)
    async with engine(b"HTTP/1.1 204 No Content\r\n\r\n", stays=True) as client:
        assert await client.healthy("/health") == (True, "")


async def test_what_is_compressed_is_not_inflated() -> None:
    body = gzip.compress(b"a" * 10_000_000)
    answer = HEAD + b"Content-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(body) + body
    async with engine(answer) as client:
        text = await client.metrics()
    assert text is not None
    assert len(text) <= len(body)


async def test_json_of_any_depth_is_none() -> None:
    body = b"[" * 100_000
    async with engine(HEAD + b"Content-Length: %d\r\n\r\n" % len(body) + body) as client:
        assert await client.json("/version") is None


async def test_work_that_loses_a_cancellation_is_cancelled_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process, "CANCEL_AGAIN_SECONDS", 0.01)

    class Child:
        exit_status: asyncio.Future[int] = asyncio.get_running_loop().create_future()

    async def work() -> None:
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.sleep(3600)
        await asyncio.sleep(3600)

    running = asyncio.ensure_future(process.ended_during(cast(process.EngineProcess, Child()), work()))
    for _ in range(3):
        await asyncio.sleep(0)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running


KEY = "sk-secret"


@pytest.mark.parametrize(
    ("answer", "shown"),
    [
        (b"HTTP/1.1 401 No\r\n\r\nyou sent Bearer sk-secret", "you sent Bearer ***"),
        (b"HTTP/1.1 401 No\r\n\r\n" + b"a" * 295 + b"sk-secret", "a***"),
        (b"Bearer sk-secret\r\n\r\n", "not an HTTP/1.1 response"),
        (b"HTTP/1.1 401 No\r\nBearer sk-secret\r\n\r\n", "illegal header line: bytearray(b'Bearer ***')"),
    ],
)
async def test_an_engine_that_repeats_its_key_does_not_have_it_shown(answer: bytes, shown: str) -> None:
    async with engine(answer, api_key=KEY) as client:
        healthy, why = await client.healthy("/health")
    assert not healthy
    assert why.endswith(shown)
    assert "sk-" not in why


@pytest.mark.parametrize("shown", [r"sk-\"a\\b/&", 'sk-"a\\b/&', "sk-%22a%5Cb%2F%26"])
async def test_a_key_is_hidden_as_json_and_urls_spell_it(shown: str) -> None:
    async with engine(b"HTTP/1.1 401 No\r\n\r\n" + shown.encode(), api_key='sk-"a\\b/&') as client:
        assert await client.healthy("/health") == (False, "GET /health: HTTP 401: ***")


@pytest.mark.parametrize(("status", "shown"), [("400 No", "***"), ("200 OK", KEY)])
async def test_what_a_refused_request_of_the_probe_repeats_is_hidden(status: str, shown: str) -> None:
    """An answer is parsed as it is, since a key may be any word."""
    body = b'{"message": "sk-secret"}'
    head = f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\n\r\n".encode()
    async with engine(head + body, api_key=KEY) as client:
        found = DiscoveredEngine(max_model_len=0, request_formats=())
        asked = target(0, api_key=KEY)
        sent = SocketEngine(asked, client._endpoint, found, Random(1), timestamp_only, 1, RetryBudget())
        answer = await sent.post("/tokenize", {"prompt": "a"})
    assert answer == (int(status[:3]), {"message": shown})


def test_a_stream_that_repeats_the_key_does_not_have_it_shown() -> None:
    """A key may be any word: what is parsed keeps it."""
    stream = TokenStream()
    stream.secret = b"length"
    event = b'data: {"choices":[{"text":"a","finish_reason":"length"}]}\n\ndata: [DONE]\n\n'
    stream.data_received(HEAD + b"\r\n" + event)
    assert stream.result(whole=True).finish_reason == "length"
    failed = TokenStream()
    failed.secret = KEY.encode()
    failed.data_received(HEAD + b'\r\ndata: {"error":"Bearer sk-secret"}\n\n')
    assert failed.result(whole=True).error.endswith("Bearer ***")
    cut = TokenStream()
    cut.secret = KEY.encode()
    chunks = b'1d\r\n\ndata: {"error":"Bearer sk-se\r\n8\r\ncret"}\n\n\r\n0\r\n\r\n'
    cut.data_received(HEAD + b"Transfer-Encoding: chunked\r\n\r\n" + chunks)
    assert cut.result(whole=True).error.endswith("Bearer ***"), "a chunk ends within the key"


@pytest.mark.parametrize(("version", "shown"), [("0.32.0", "0.32.0"), ("\ud800", "\ufffd"), ("a\nb", "a b")])
async def test_a_version_can_be_a_metrics_label(version: str, shown: str) -> None:
    """JSON may hold half of a surrogate pair, which no scrape could encode."""
    async with engine(HEAD + b"\r\n" + json.dumps({"version": version}).encode()) as client:
        found = await client.version(Custom(), "/version")
    assert found == shown
    report = plain_report(engine_version=found)
    assert f'engine_version="{shown}"'.encode() in render(report, ("Serving",))
