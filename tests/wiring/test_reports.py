"""Model pods are untrusted: what they answer is bounded, and no answer means unknown."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import gzip
from collections import Counter
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from tacho_contract.codec import dumps, loads
from tacho_contract.launch import Again, LiveConfig
from tacho_contract.measurement import CurvePoint
from tacho_contract.report import REPORT_LIMIT_BYTES, Report
from tacho_operator.shell import pod_http, reports
from tacho_operator.shell.pod_http import PodClient
from tacho_operator.shell.reports import Reports
from tacho_operator.shell.workqueue import Key
from tools.harness.documents import plain_measurement, plain_report

GOOD = dumps(plain_report(revision="demo-1", ready=True)).encode()


KEY = Key("ns", "demo")
MEASURED = dumps(
    dataclasses.replace(
        loads(Report, GOOD),
        measurement=plain_measurement(probe_seconds=5),
    )
).encode()  # fmt: skip
LIVE = dumps(LiveConfig(measure_key="m"))


def pod(
    uid: str = "u1", phase: str = "Running", address: str | None = "127.0.0.1", restarts: int = 0
) -> dict[str, Any]:
    status = {"phase": phase, **({"podIP": address} if address else {})}
    status["conditions"] = [{"type": "Ready", "status": "True"}]
    status["containerStatuses"] = [{"name": "engine", "restartCount": restarts}]
    labels = {"tacho.dev/revision": "demo-1"}
    return {"metadata": {"uid": uid, "namespace": "ns", "name": uid, "labels": labels}, "status": status}


@contextlib.asynccontextmanager
async def answering(monkeypatch: pytest.MonkeyPatch, payload: bytes, delay: float = 0) -> AsyncIterator[None]:
    finished = asyncio.Event()

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError, TimeoutError):
            await reader.readuntil(b"\r\n\r\n")
            if delay:
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(finished.wait(), delay)
            writer.write(payload)
            await writer.drain()
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()

    server = await asyncio.start_server(handle, "127.0.0.1", 0)
    monkeypatch.setattr(pod_http, "RUNTIME_PORT", server.sockets[0].getsockname()[1])
    async with server:
        yield
        finished.set()
        await asyncio.sleep(0.05)


def ok(body: bytes) -> bytes:
    return b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body


@contextlib.asynccontextmanager
async def asking(
    late: Callable[[Key], None] = lambda key: None,
) -> AsyncIterator[tuple[Reports, Counter[str]]]:
    counted: Counter[str] = Counter()
    async with contextlib.aclosing(PodClient(pod_http.RUNTIME_PORT)) as client:
        yield Reports(client, late=late, counted=lambda result: counted.update([result])), counted


async def read(*pods: dict[str, Any]) -> dict[str, Report]:
    async with asking() as (one, _):
        return await one.collect(KEY, pods, LIVE)


async def test_a_report_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    async with answering(monkeypatch, ok(GOOD)):
        assert (await read(pod()))["u1"].ready


@pytest.mark.parametrize(
    "payload",
    [
        ok(GOOD.replace(b"demo-1", b"other-1")),
        ok(GOOD[:-1] + b',"podUid":"u2"}'),
        ok(b"x" * (REPORT_LIMIT_BYTES + 1)),
        ok(b"not json"),
        ok(b"{}"),
        ok(b'{"phase": 7}'),
        b"HTTP/1.1 503 Unavailable\r\nContent-Length: 0\r\n\r\n",
        b"not http",
        b"",
    ],
    ids=[
        "another revision",
        "a twin of another namespace",
        "too big",
        "no json",
        "no fields",
        "wrong type",
        "unavailable",
        "no http",
        "nothing",
    ],
)
async def test_a_bad_answer_is_no_report(monkeypatch: pytest.MonkeyPatch, payload: bytes) -> None:
    async with answering(monkeypatch, payload):
        assert await read(pod()) == {}


async def test_a_pod_cannot_send_the_operator_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """A redirect is no report, even where a good one is at its end."""
    async with answering(monkeypatch, ok(GOOD)):
        elsewhere = pod_http.RUNTIME_PORT
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
    """It is waited for a moment only; the answer that comes later wakes the resource, and is there then."""
    monkeypatch.setattr(reports, "PATIENCE_SECONDS", 0.01)
    woken = asyncio.Event()
    async with (
        answering(monkeypatch, ok(MEASURED), delay=0.2),
        asking(lambda _: woken.set()) as (one, counted),
    ):
        assert await one.collect(KEY, [pod()], LIVE) == {}
        assert await one.collect(KEY, [pod()], LIVE) == {}
        async with asyncio.timeout(5):
            await woken.wait()
        assert set(await one.collect(KEY, [pod()], LIVE)) == {"u1"}
        assert counted["answered"] == 1, "one request at a time"


class Kept(dict[str, Any]):
    """A manifest that can be referred to weakly."""


async def test_an_answer_that_is_waited_for_again_and_again_wakes_its_resource_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Each reconcile added one callback for each silent pod: of 1,000 pods, 350 KB a second."""
    monkeypatch.setattr(reports, "PATIENCE_SECONDS", 0.0)
    woken: list[Key] = []
    async with answering(monkeypatch, ok(MEASURED), delay=0.2), asking(woken.append) as (one, counted):
        for key in (KEY, KEY, KEY, Key("ns", "other"), KEY):
            assert await one.collect(key, [pod()], LIVE) == {}
        async with asyncio.timeout(5):
            while one._slow:  # the answer is counted before the resources are woken
                await asyncio.sleep(0.01)
        assert counted["answered"] == 1
        assert sorted(woken) == [KEY, Key("ns", "other")]


def full_report() -> Report:
    levels = tuple(
        CurvePoint(**{part.name: float(n) for part in dataclasses.fields(CurvePoint)} | {"flags": ()})
        for n in range(16)
    )
    measured = loads(Report, MEASURED).measurement
    assert measured is not None
    return dataclasses.replace(
        loads(Report, GOOD),
        measurement=dataclasses.replace(measured, curve=levels, message="m" * 1024),
        fallbacks=("f" * 200,) * 8,
    )


async def test_a_pod_that_never_answers_wakes_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reports, "PATIENCE_SECONDS", 0.01)
    monkeypatch.setattr(pod_http, "TIMEOUT_SECONDS", 0.05)
    woken: list[Key] = []
    async with answering(monkeypatch, ok(GOOD), delay=2), asking(woken.append) as (one, counted):
        assert await one.collect(KEY, [pod()], LIVE) == {}
        async with asyncio.timeout(5):
            while one._slow:
                await asyncio.sleep(0.01)
        assert counted["silent"] == 1
        assert woken == []


async def test_what_serves_and_was_measured_is_not_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    async with answering(monkeypatch, ok(MEASURED)), asking() as (one, counted):
        for _ in range(3):
            assert set(await one.collect(KEY, [pod()], LIVE)) == {"u1"}
        assert counted == {"answered": 1, "held": 2}
        await one.collect(KEY, [pod(restarts=1)], LIVE)
        assert counted["answered"] == 2, "a container that began anew may be measured anew"
        await one.collect(KEY, [pod(restarts=1)], dumps(LiveConfig(measure_key="another")))
        assert counted["answered"] == 3, "it is to be measured with another workload"
        again = LiveConfig(measure_key="m", again=Again(request="disrupt-1", hostname="u1"))
        await one.collect(KEY, [pod(restarts=1)], dumps(again))
        assert counted["answered"] == 4, "it is to measure itself again"
        monkeypatch.setattr(reports, "FINAL_SECONDS", 0.0)
        await one.collect(KEY, [pod(restarts=2)], LIVE)
        await one.collect(KEY, [pod(restarts=2)], LIVE)
        assert counted["answered"] == 6, "nothing is held for ever"


async def test_what_is_not_measured_yet_is_asked_each_time(monkeypatch: pytest.MonkeyPatch) -> None:
    async with answering(monkeypatch, ok(GOOD)), asking() as (one, counted):
        for _ in range(2):
            await one.collect(KEY, [pod()], LIVE)
        assert counted == {"answered": 2}


async def test_a_report_goes_with_its_pod(monkeypatch: pytest.MonkeyPatch) -> None:
    async with answering(monkeypatch, ok(MEASURED)), asking() as (one, _):
        assert set(await one.collect(KEY, [pod("u1"), pod("u2")], LIVE)) == {"u1", "u2"}
        assert set(await one.collect(KEY, [pod("u2")], LIVE)) == {"u2"}
        assert set(await one.collect(KEY, [pod("u2", phase="Failed")], LIVE)) == set()
        one.forget(KEY)
        assert not one._cache


async def test_pods_without_an_address_are_not_asked() -> None:
    async with asking() as (one, counted):
        assert await one.collect(KEY, [pod(address=None), pod("u2", phase="Succeeded")], LIVE) == {}
        assert not counted
