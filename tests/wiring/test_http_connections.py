"""Connections to the operator's HTTP server: nobody shuts out others, and nothing is kept for ever."""

from __future__ import annotations

import asyncio
import contextlib
import os
from dataclasses import replace

import pytest

from tacho_operator.shell import http_server as module
from tacho_operator.shell.http_server import http_server
from tests.wiring.http_serving import EMPTY, Served, ended
from tools.harness.slow_reading import kernel_bytes, read_late, slow_client


def is_open(connection: tuple[asyncio.StreamReader, asyncio.StreamWriter]) -> bool:
    reader, _ = connection
    return not reader.at_eof() and reader.exception() is None


@pytest.mark.parametrize("limit", ["CONNECTIONS_LIMIT", "CONNECTIONS_PER_ADDRESS"])
async def test_connections_are_bounded_and_another_port_stays_free(
    limit: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The newest is answered: a pod in a node's network has the address of its kubelet."""
    monkeypatch.setattr(module, limit, 3)
    monkeypatch.setattr(module, "CONNECTION_SECONDS", 0.5)
    async with http_server(EMPTY, (0, 0)) as (port, other):
        elsewhere = await asyncio.open_connection("127.0.0.1", other)
        silent = [await asyncio.open_connection("127.0.0.1", port) for _ in range(5)]
        await asyncio.sleep(0.05)
        assert list(map(is_open, [elsewhere, *silent])) == [True, False, False, True, True, True]
        assert await Served(port=port).text("/healthz") == '{"workers": "ok"}', "the kubelet's"
        assert list(map(is_open, [elsewhere, *silent])) == [True, False, False, False, True, True]
        await asyncio.sleep(0.6)
        assert not any(map(is_open, [elsewhere, *silent]))
        for _, writer in [elsewhere, *silent]:
            await ended(writer)


async def test_one_clients_connections_leave_room_for_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "CONNECTIONS_PER_ADDRESS", 3)
    async with http_server(EMPTY, (0,)) as (port,):
        silent = [
            await asyncio.open_connection("127.0.0.1", port, local_addr=("127.0.0.2", 0)) for _ in range(5)
        ]
        assert await Served(port=port).text("/readyz") == "ok\n"
        for _, writer in silent:
            await ended(writer)


async def test_clients_with_many_connections_shut_out_none_with_fewer(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "CONNECTIONS_LIMIT", 4)
    async with http_server(EMPTY, (0,)) as (port,):
        silent = [
            await asyncio.open_connection("127.0.0.1", port, local_addr=(f"127.0.0.{2 + number % 2}", 0))
            for number in range(4)
        ]
        await asyncio.sleep(0.05)
        assert await Served(port=port).text("/readyz") == "ok\n"
        async with asyncio.timeout(5):
            with contextlib.suppress(ConnectionError):
                assert await silent[0][0].read() == b"", "the oldest one of a client with most gave way"
        for _, writer in silent:
            await ended(writer)


async def test_a_client_that_never_reads_holds_no_connection_for_ever(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What was written to it would wait for it, though aiohttp had closed the connection."""
    monkeypatch.setattr(module, "SCRAPE_SECONDS", 0.2)
    monkeypatch.setattr(module, "CONNECTION_SECONDS", 1.0)
    monkeypatch.setattr(module, "choose_encoder", lambda _: (lambda _: b"x" * (16 << 20), "text/plain"))
    async with http_server(EMPTY, (0,)) as (port,):
        loop, before = asyncio.get_running_loop(), len(os.listdir("/proc/self/fd"))
        silent = []
        for _ in range(3):
            client = slow_client()
            await loop.sock_connect(client, ("127.0.0.1", port))
            await loop.sock_sendall(client, b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n")
            silent.append(client)
        await asyncio.sleep(2.0)
        assert len(os.listdir("/proc/self/fd")) - before == len(silent), "the clients' own ends alone"
    for client in silent:
        client.close()


async def test_a_client_that_reads_late_causes_no_error(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """asyncio fails to abort a connection that was closed before its last bytes were sent."""
    monkeypatch.setattr(module, "CONNECTION_SECONDS", 0.5)
    at_once = kernel_bytes()
    async with http_server(EMPTY, (0,)) as (port,):
        for late in range(0, 1 << 17, 1 << 14):
            body = bytes(at_once + late)
            monkeypatch.setattr(module, "choose_encoder", lambda _, body=body: (lambda _: body, "text/plain"))
            await read_late(port, b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n")
        await asyncio.sleep(0.6)
    assert caplog.text == ""


@pytest.mark.parametrize("sent", [b"GET /%b\xff HTTP/1.1\r\n\r\n" % (b"a" * 4000), b"\x16\x03\x01\r\n\r\n"])
async def test_what_is_no_request_is_not_logged(sent: bytes, caplog: pytest.LogCaptureFixture) -> None:
    """330 a second took all of the event loop, and 4 MB of the log."""
    async with http_server(EMPTY, (0,)) as (port,):
        for _ in range(3):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(sent)
            assert b" 400 " in await reader.readline()
            await ended(writer)
    assert caplog.records == []


async def test_a_format_that_nobody_has_is_answered_and_hides_no_failure(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with http_server(EMPTY, (0,)) as (port,):
        for accept in ("text/plain;version=a.b", "application/openmetrics-text;version=x"):
            assert (await Served(port=port).read("/metrics", Accept=accept))[0] == 200
    assert caplog.records == []


async def test_an_own_failure_is_logged_once_of_each_kind(caplog: pytest.LogCaptureFixture) -> None:
    def defect() -> str:
        raise ZeroDivisionError

    async with http_server(replace(EMPTY, hanging=defect), (0,)) as (port,):
        for _ in range(3):
            assert (await Served(port=port).read("/healthz"))[0] == 500
    assert [record.message.split(";")[0] for record in caplog.records] == ["/healthz cannot be answered"]


@pytest.mark.parametrize("line", ["GET /nowhere", "POST /healthz", "GET /healthz"])
async def test_each_connection_serves_one_request(line: str) -> None:
    """Requests of paths that there are not were served for 30 s, one behind the other."""
    async with http_server(EMPTY, [0]) as (port,):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(f"{line} HTTP/1.1\r\nHost: x\r\n\r\n".encode() * 50)
        answer = await asyncio.wait_for(reader.read(), 5)
        await ended(writer)
    assert answer.count(b"HTTP/1.1 ") == 1
