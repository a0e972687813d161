"""Heads of very many lines, and how much is read of a connection at a time, over real sockets."""

from __future__ import annotations

import asyncio

import pytest

from tacho_server.connections import HEAD_LINES, READ_BYTES
from tests.unit.server.connecting import HEALTH, called, completion, serving
from tests.unit.server.scripted import Scripted, app_of


async def status(port: int, asked: bytes) -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(asked)
    line = await reader.readline()
    writer.close()
    return line.split()[1]


@pytest.mark.parametrize("line", [b"a:b\r\n", b"a:b\n", b" b\r\n"])
async def test_a_head_of_very_many_lines_is_refused(line: bytes) -> None:
    """3,200 headers take 500 KiB: a thousand such requests that wait for their turn filled the memory."""
    begin = b"GET /health HTTP/1.1\r\nHost: m\r\n"
    async with serving(app_of(Scripted("a"))) as port, asyncio.timeout(20):
        assert await status(port, begin + (HEAD_LINES - 2) * line + b"\r\n" + b"\n" * 200) == b"200"
        assert await status(port, begin + (HEAD_LINES - 1) * line) == b"400", "before its end"
        assert await status(port, begin + 3000 * line + b"\r\n") == b"400"


async def test_very_many_lines_after_a_body_in_chunks_are_refused() -> None:
    begin = completion().replace(b"Content-Length: 15\r\n\r\n", b"Transfer-Encoding: chunked\r\n\r\nf\r\n")
    begin += b"\r\n0\r\n"
    async with serving(app_of(Scripted("a"))) as port, asyncio.timeout(20):
        assert await status(port, begin + 20 * b"a:b\r\n" + b"\r\n") == b"200"
        assert await status(port, begin + 3000 * b"a:b\r\n" + b"\r\n") == b"400"


async def test_little_is_read_of_a_connection_before_others_have_their_turn(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """256 KiB of pieces of each of a thousand connections stopped the others for seconds."""
    received = called(monkeypatch, "data_received")
    async with serving(app_of(Scripted("a"))) as port, asyncio.timeout(20):
        assert await status(port, completion(user="x" * 300_000)) == b"400"
        sizes = [len(data) for _, data in received]
        assert max(sizes) <= READ_BYTES < sum(sizes)


async def test_little_is_read_of_the_requests_after_one_that_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """256 KiB of further requests, once and again, filled the memory: no limit counted them."""
    made = called(monkeypatch, "connection_made")
    backend = Scripted("a")
    backend.gate.clear()
    async with serving(app_of(backend)) as port, asyncio.timeout(20):
        _reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(completion() + 20_000 * HEALTH)
        while not backend.running:
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.2)
        assert 0 < len(made[0][0].conn.trailing_data[0]) <= 6 * READ_BYTES
        writer.transport.abort()
        backend.gate.set()


@pytest.mark.parametrize(
    "sent", [b"\x16\x03\x01\r\n\r\n", HEALTH.replace(b"Host: m", b"Upgrade: a\r\nHost: m")]
)
async def test_what_is_no_request_is_not_logged(sent: bytes, capfd: pytest.CaptureFixture[str]) -> None:
    """The runtime reads a failure's cause from the last lines of the log."""
    async with serving(app_of(Scripted("a"))) as port, asyncio.timeout(20):
        for _ in range(3):
            assert await status(port, sent) in (b"400", b"200")
    assert capfd.readouterr().err == ""
