"""Model pods are untrusted: what they answer is bounded, and no answer means unknown."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
from collections.abc import AsyncIterator

import pytest

from tacho_contract.codec import dumps
from tacho_contract.report import REPORT_LIMIT_BYTES, Report
from tacho_operator.shell import reports

GOOD = dumps(
    Report(
        runtime_version="0.1.0",
        revision="demo-1",
        plan_key="p",
        phase="Serving",
        ready=True,
        engine="llamacpp",
        observed_time="2026-01-01T00:00:00Z",
    )
).encode()


def pod(uid: str = "u1", phase: str = "Running", address: str | None = "127.0.0.1") -> dict[str, object]:
    status = {"phase": phase, **({"podIP": address} if address else {})}
    return {"metadata": {"uid": uid, "namespace": "ns", "name": uid}, "status": status}


@contextlib.asynccontextmanager
async def answering(monkeypatch: pytest.MonkeyPatch, payload: bytes, delay: float = 0) -> AsyncIterator[None]:
    finished = asyncio.Event()

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError, TimeoutError):
            await reader.readuntil(b"\r\n\r\n")
            if delay:
                await asyncio.wait_for(finished.wait(), delay)
            writer.write(payload)
            await writer.drain()
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()

    server = await asyncio.start_server(handle, "127.0.0.1", 0)
    monkeypatch.setattr(reports, "RUNTIME_PORT", server.sockets[0].getsockname()[1])
    async with server:
        yield
        finished.set()
        await asyncio.sleep(0.05)


def ok(body: bytes) -> bytes:
    return b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body


async def read(*pods: dict[str, object]) -> dict[str, Report]:
    async with reports.report_client() as client:
        return await reports.collect(client, pods)


async def test_a_report_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    async with answering(monkeypatch, ok(GOOD)):
        assert (await read(pod()))["u1"].ready


@pytest.mark.parametrize(
    "payload",
    [
        ok(b"x" * (REPORT_LIMIT_BYTES + 1)),
        ok(b"not json"),
        ok(b"{}"),
        ok(b'{"phase": 7}'),
        b"HTTP/1.1 503 Unavailable\r\nContent-Length: 0\r\n\r\n",
        b"not http",
        b"",
    ],
    ids=["too big", "no json", "no fields", "wrong type", "unavailable", "no http", "nothing"],
)
async def test_a_bad_answer_is_no_report(monkeypatch: pytest.MonkeyPatch, payload: bytes) -> None:
    async with answering(monkeypatch, payload):
        assert await read(pod()) == {}


async def test_a_pod_cannot_send_the_operator_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """A redirect is no report, even where a good one is at its end."""
    async with answering(monkeypatch, ok(GOOD)):
        elsewhere = reports.RUNTIME_PORT
        assert (await read(pod()))["u1"].ready, "there is a report to be had"
        payload = b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:%d/report\r\nContent-Length: 0\r\n\r\n"
        async with answering(monkeypatch, payload % elsewhere):
            assert await read(pod()) == {}


async def test_an_answer_is_not_inflated(monkeypatch: pytest.MonkeyPatch) -> None:
    """64 KiB of gzip can hold 64 MiB of zeros, which would count for nothing until they are there."""
    body = gzip.compress(GOOD)
    payload = b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(body) + body
    async with answering(monkeypatch, payload):
        assert await read(pod()) == {}


async def test_a_slow_pod_does_not_hold_up_the_reconcile(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reports, "TIMEOUT_SECONDS", 0.1)
    async with answering(monkeypatch, ok(GOOD), delay=2):
        async with asyncio.timeout(1.5):
            assert await read(pod()) == {}


async def test_pods_without_an_address_are_not_asked() -> None:
    assert reports.report_url(pod(address=None)) is None
    assert reports.report_url(pod(phase="Succeeded")) is None
    assert reports.report_url(pod(address="fd00::1")) == "http://[fd00::1]:9400/report"
