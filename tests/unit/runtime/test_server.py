"""The runtime's HTTP, spoken to by hand: what a kubelet sends, and what nobody should."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator

import httpx
import pytest

from tacho_runtime.http import server
from tacho_runtime.http.server import JSON, HttpAnswer, HttpServer
from tools.harness.slow_reading import kernel_bytes, read_late, slow_client


@contextlib.asynccontextmanager
async def serving() -> AsyncIterator[HttpServer]:
    async def fine() -> HttpAnswer:
        return HttpAnswer(body=b"{}", content_type=JSON)

    async def ill() -> HttpAnswer:
        return HttpAnswer(status=503, body=b"not yet\n")

    async def slow() -> HttpAnswer:
        await asyncio.sleep(3600)
        raise AssertionError("never here")

    async def broken() -> HttpAnswer:
        return HttpAnswer(body="half of a pair: \ud800".encode())

    running = HttpServer({"/fine": fine, "/ill": ill, "/slow": slow, "/broken": broken})
    await running.start("127.0.0.1", 0)
    try:
        yield running
    finally:
        await running.close()


async def exchange(port: int, sent: bytes) -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(sent)
        return await reader.read()
    finally:
        writer.close()
        await writer.wait_closed()


async def test_a_client_that_never_reads_holds_no_connection_for_ever(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(server, "REQUEST_SECONDS", 0.3)

    async def long() -> HttpAnswer:
        return HttpAnswer(body=bytes(16 << 20))

    running = HttpServer({"/long": long})
    await running.start("127.0.0.1", 0)
    before = len(os.listdir("/proc/self/fd"))
    opened = [await asyncio.open_connection("127.0.0.1", running.port, limit=1024) for _ in range(3)]
    for _, writer in opened:
        writer.write(b"GET /long HTTP/1.1\r\nHost: x\r\n\r\n")
    await asyncio.sleep(1.0)
    assert len(os.listdir("/proc/self/fd")) - before == len(opened), "the clients' own ends alone"
    for _, writer in opened:
        writer.close()
    await running.close()


async def test_connections_of_clients_that_never_read_count_among_the_open_ones(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What asyncio holds itself, up to 64 KiB, is no longer waited for: the answer counted as sent."""
    monkeypatch.setattr(server, "CONNECTION_LIMIT", 3)
    body = bytes(kernel_bytes() + (40 << 10))

    async def long() -> HttpAnswer:
        return HttpAnswer(body=body)

    running = HttpServer({"/long": long})
    await running.start("127.0.0.1", 0)
    loop, before = asyncio.get_running_loop(), len(os.listdir("/proc/self/fd"))
    silent = [slow_client() for _ in range(8)]
    for client in silent:
        await loop.sock_connect(client, ("127.0.0.1", running.port))
        await loop.sock_sendall(client, b"GET /long HTTP/1.1\r\nHost: x\r\n\r\n")
        await asyncio.sleep(0.05)
    assert len(os.listdir("/proc/self/fd")) - before - len(silent) == 3
    await running.close()
    await asyncio.sleep(0.05)
    for client in silent:
        client.close()
    assert len(os.listdir("/proc/self/fd")) < before


async def test_a_client_that_reads_late_causes_no_error(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """asyncio fails to abort a connection that was closed before its last bytes were sent."""
    monkeypatch.setattr(server, "REQUEST_SECONDS", 0.3)
    sizes = [kernel_bytes() + late for late in range(0, 1 << 17, 1 << 14)]
    left = iter(sizes)

    async def long() -> HttpAnswer:
        return HttpAnswer(body=bytes(next(left)))

    running = HttpServer({"/long": long})
    await running.start("127.0.0.1", 0)
    for _ in sizes:
        await read_late(running.port, b"GET /long HTTP/1.1\r\nHost: x\r\n\r\n")
    await asyncio.sleep(0.4)
    await running.close()
    assert caplog.text == ""


async def test_answers_an_ordinary_client() -> None:
    async with serving() as running, httpx.AsyncClient(trust_env=False) as client:
        base = f"http://127.0.0.1:{running.port}"
        fine = await client.get(f"{base}/fine?verbose=1")
        assert (fine.status_code, fine.text, fine.headers["content-type"]) == (200, "{}", JSON)
        ill = await client.get(f"{base}/ill")
        assert (ill.status_code, ill.text) == (503, "not yet\n")
        assert (await client.get(f"{base}/other")).status_code == 404
        posted = await client.post(f"{base}/fine", content=b"x")
        assert (posted.status_code, posted.headers["allow"]) == (405, "GET")
        assert (await client.head(f"{base}/fine")).status_code == 405


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (b"GET /fine HTTP/1.1\r\nHost: x\r\n\r\n", b"200"),
        (b"GET /fine HTTP/1.0\r\n\r\n", b"200"),
        (b"GET /fine HTTP/1.1\r\n\r\n", b"400"),
        (b"\x16\x03\x01\x02\x00\x01\x00", b"400"),
        (b"nonsense\r\n\r\n", b"400"),
        (b"GET /" + b"a" * 40_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n", b"431"),
        (b"GET /fine HTTP/1.1\r\nHost: x\r\n" + b"A: b\r\n" * 10_000 + b"\r\n", b"431"),
    ],
    ids=["whole", "old", "no host", "TLS", "nonsense", "long path", "many headers"],
)
async def test_every_head_gets_its_status(sent: bytes, status: bytes) -> None:
    async with serving() as running:
        answer = await exchange(running.port, sent)
    assert answer.split(b" ")[1] == status
    assert b"Connection: close" in answer


async def test_a_client_that_says_nothing_is_let_go(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "REQUEST_SECONDS", 0.1)
    async with serving() as running:
        assert await exchange(running.port, b"GET /fine") == b""


async def test_an_answer_that_does_not_come_is_a_timeout(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "REQUEST_SECONDS", 0.1)
    async with serving() as running:
        answer = await exchange(running.port, b"GET /slow HTTP/1.1\r\nHost: x\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 504 ")


async def test_idle_connections_do_not_keep_the_kubelet_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "CONNECTION_LIMIT", 2)
    async with serving() as running:
        held = [await asyncio.open_connection("127.0.0.1", running.port) for _ in range(5)]
        answer = await exchange(running.port, b"GET /fine HTTP/1.1\r\nHost: x\r\n\r\n")
        assert answer.startswith(b"HTTP/1.1 200 ")
        for reader, _ in held[:4]:
            with contextlib.suppress(ConnectionResetError):
                assert await reader.read() == b""
        for _, writer in held:
            writer.close()


async def test_closing_does_not_wait_for_clients() -> None:
    async with serving() as running:
        reader, writer = await asyncio.open_connection("127.0.0.1", running.port)
        writer.write(b"GET /slow HTTP/1.1\r\nHost: x\r\n\r\n")
        await asyncio.sleep(0.05)
    assert await reader.read() == b""
    writer.close()
    await writer.wait_closed()


async def test_a_taken_port_is_an_error() -> None:
    async with serving() as running:
        with pytest.raises(OSError, match="in use"):
            await HttpServer({}).start("127.0.0.1", running.port)


async def test_an_answer_that_cannot_be_made_is_an_error() -> None:
    """An engine may name any text as its version."""
    async with serving() as running:
        assert b" 500 " in await exchange(running.port, b"GET /broken HTTP/1.1\r\nHost: m\r\n\r\n")
        assert b" 200 " in await exchange(running.port, b"GET /fine HTTP/1.1\r\nHost: m\r\n\r\n")
