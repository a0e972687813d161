"""The HTTP server: for Prometheus, for scalers that read JSON, and for the kubelet."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import json
import threading
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import httpcore
import pytest
from aiohttp import web
from prometheus_client import CollectorRegistry, Gauge
from prometheus_client.openmetrics.parser import text_string_to_metric_families as read_openmetrics
from prometheus_client.parser import text_string_to_metric_families as read_text

from tacho_operator.core.autoscaling.algorithm.types import Decision
from tacho_operator.shell import http_server as module
from tacho_operator.shell.http_server import Answers, http_server
from tacho_operator.shell.series import ResourceSeries
from tacho_operator.shell.workqueue import Key
from tests.unit.autoscaling.fleet import CAPACITY, Fleet
from tests.wiring.http_serving import EMPTY, Served, ended

HOSTILE = 'a"b\\c\nd'
SERIES = [(("ml", "x"), 1.0), (("ml", "y"), 0.0), (("ml", "z"), 1234567.25), (("ml", HOSTILE), -0.5)]
OPENMETRICS = "application/openmetrics-text; version=1.0.0"


@pytest.fixture(scope="module")
def decisions() -> dict[Key, Decision]:
    busy, silent = Fleet(replicas=2), Fleet()
    busy.run(lambda _: 3.0, 100)
    silent.replicas[0].silent = True
    silent.run(lambda _: 3.0, 20)
    return {Key("ml", "busy"): busy.decisions[-1], Key("ml", "silent"): silent.decisions[-1]}


@pytest.fixture
async def served(decisions: dict[Key, Decision]) -> AsyncIterator[Served]:
    registry = CollectorRegistry()
    Gauge("up_and_running", "One.", registry=registry).set(1)
    ResourceSeries(registry, "many", "Of each.", ("namespace", "name"), lambda: SERIES)
    ResourceSeries(registry, "none", "Of no resource.", ("namespace",), list)
    latest = {key: (decision, 2) for key, decision in decisions.items()}
    found = Served()
    answers = Answers(
        registry=registry,
        latest=latest.get,
        scraped=lambda: found.scrapes.append(""),
        hanging=lambda: found.hanging,
        stale=lambda: found.stale,
        leader_address=lambda: found.leader_address,
    )
    async with http_server(answers, (0,)) as (found.port,):
        yield found


@pytest.fixture
async def standby(served: Served) -> AsyncIterator[Served]:
    """A server without any load of its own, which takes ``served`` for the leader."""
    found = Served(leader_address=f"127.0.0.1:{served.port}")
    answers = replace(EMPTY, leader_address=lambda: found.leader_address)
    async with http_server(answers, (0,)) as (found.port,):
        yield found


async def test_prometheus_gets_its_text_and_is_heard(served: Served) -> None:
    assert "up_and_running 1.0" in await served.text("/metrics")
    assert len(served.scrapes) == 1


@pytest.mark.parametrize("zipped", [False, True])
@pytest.mark.parametrize("accepts", ["", "text/plain;version=0.0.4", OPENMETRICS])
async def test_metrics_come_in_the_format_that_is_accepted(
    served: Served, accepts: str, zipped: bool
) -> None:
    headers = {"Accept": accepts, "Accept-Encoding": "gzip" if zipped else "identity"}
    _, body, answered = await served.read("/metrics", **headers)
    assert answered.get("Content-Encoding") == ("gzip" if zipped else None)
    assert answered["Content-Type"].startswith(accepts.partition(";")[0] or "text/plain")
    text = (gzip.decompress(body) if zipped else body).decode()
    families = (read_openmetrics if accepts == OPENMETRICS else read_text)(text)
    by_name = {family.name: family for family in families}
    assert set(by_name) == {"up_and_running", "many", "none"}
    found = {sample.labels["name"]: sample.value for sample in by_name["many"].samples}
    assert found == {values[1]: figure for values, figure in SERIES}


@pytest.mark.parametrize(
    ("query", "heard"),
    [
        ("", True),
        ("?name[]=many", True),
        ("?name[]=tacho_operator_queue_depth&name[]=many", True),
        ("?name[]=tacho_operator_queue_depth", False),
        ("?x=y", True),
    ],
)
async def test_a_scrape_of_the_operator_alone_does_not_have_pods_asked(
    served: Served, query: str, heard: bool
) -> None:
    await served.text(f"/metrics{query}")
    assert bool(served.scrapes) == heard


async def test_one_metric_can_be_asked_for(served: Served) -> None:
    found = await served.text("/metrics?name[]=many")
    assert 'name="x"' in found
    assert "up_and_running" not in found


async def test_a_scaler_gets_numbers(served: Served) -> None:
    found = json.loads(await served.text("/scaling/ml/busy"))
    assert found["demandReplicas"] == pytest.approx(1.5)
    assert found["utilizationRatio"] == pytest.approx(0.75)
    assert (found["servingReplicas"], found["desiredReplicas"]) == (2, 2)
    rate = found["requestsPerSecondPerReplica"]
    assert found["outputTokensPerSecondPerReplica"] == pytest.approx(rate * CAPACITY.output_tokens)
    assert found["prefillTokensPerSecondPerReplica"] == pytest.approx(rate * CAPACITY.input_tokens)
    assert served.scrapes == [], "a scaler of one resource has not read the others"


@pytest.mark.parametrize("path", ["ml/silent", "ml/nobody", "ml", "", "ml/busy/more"])
async def test_what_is_not_known_is_no_number(served: Served, path: str) -> None:
    status, body, _ = await served.read(f"/scaling/{path}")
    assert status == 404
    assert b"Replicas" not in body


@pytest.mark.parametrize("path", ["ml/busy", "ml/silent", "ml/%2e%2e%2fmetrics"])
async def test_a_standby_gives_the_leaders_answer(served: Served, standby: Served, path: str) -> None:
    status, body, _ = await served.read(f"/scaling/{path}")
    assert (await standby.read(f"/scaling/{path}"))[:2] == (status, body)


@pytest.mark.parametrize("address", ["127.0.0.1:9", "[::1", "x" * 70000])
async def test_a_standby_says_that_the_leader_does_not_answer(standby: Served, address: str) -> None:
    standby.leader_address = address
    status, body, _ = await standby.read("/scaling/ml/busy")
    assert status == 503
    assert b"Replicas" not in body


@contextlib.asynccontextmanager
async def endless_leader(part: bytes, pause_seconds: float) -> AsyncIterator[tuple[str, asyncio.Event]]:
    """A leader whose answer has no end: its address, and whether the connection has ended."""

    async def endless(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
        with contextlib.suppress(OSError):
            while not writer.is_closing():
                writer.write(part)
                await writer.drain()
                await asyncio.sleep(pause_seconds)
        await ended(writer)
        left.set()

    left = asyncio.Event()

    async with await asyncio.start_server(endless, "127.0.0.1", 0) as other:
        yield f"127.0.0.1:{other.sockets[0].getsockname()[1]}", left


@pytest.mark.parametrize(
    ("part", "pause_seconds", "limit_seconds"),
    # The first one ends by its length: its time is longer than the test's.
    [(b"x" * 65536, 0.0, 60.0), (b"x", 0.1, 1.0)],
)
async def test_an_answer_without_end_is_none_of_a_leader(
    monkeypatch: pytest.MonkeyPatch, standby: Served, part: bytes, pause_seconds: float, limit_seconds: float
) -> None:
    """Another pod may have the address by now."""
    monkeypatch.setattr(module, "LEADER_SECONDS", limit_seconds)
    async with endless_leader(part, pause_seconds) as (standby.leader_address, left), asyncio.timeout(20):
        assert (await standby.read("/scaling/ml/busy"))[0] == 503
        await left.wait()


async def test_a_connection_ends_where_the_time_ends_while_its_answer_is_closed(
    monkeypatch: pytest.MonkeyPatch, standby: Served
) -> None:
    """httpx lost the connection for ever: one of 600 answers that were too long at the end of their time."""

    async def cancelled_once(connection: httpcore.AsyncHTTP11Connection) -> None:
        if not closings.is_set():
            closings.set()
            await asyncio.sleep(60)
        await close(connection)

    closings, close = asyncio.Event(), httpcore.AsyncHTTP11Connection.aclose
    monkeypatch.setattr(module, "LEADER_SECONDS", 1.0)
    monkeypatch.setattr(httpcore.AsyncHTTP11Connection, "aclose", cancelled_once)
    async with endless_leader(b"x" * 65536, 0.0) as (standby.leader_address, left), asyncio.timeout(20):
        assert (await standby.read("/scaling/ml/busy"))[0] == 503
        assert closings.is_set()
        await left.wait()


async def test_what_is_forwarded_ends_with_its_client(standby: Served) -> None:
    """A client that hung up at once held a connection to the leader for 5 s, and could hold any number."""
    began, left = asyncio.Event(), asyncio.Event()

    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        began.set()
        await reader.read()
        left.set()
        await ended(writer)

    async with await asyncio.start_server(silent, "127.0.0.1", 0) as leader:
        standby.leader_address = f"127.0.0.1:{leader.sockets[0].getsockname()[1]}"
        async with asyncio.timeout(module.LEADER_SECONDS - 1):
            _, writer = await asyncio.open_connection("127.0.0.1", standby.port)
            writer.write(b"GET /scaling/ml/busy HTTP/1.1\r\nHost: x\r\n\r\n")
            await began.wait()
            await ended(writer)
            await left.wait()


async def test_what_is_forwarded_goes_to_no_proxy(
    monkeypatch: pytest.MonkeyPatch, standby: Served, served: Served
) -> None:
    """The operator's environment may name one for the hub."""
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    assert (await standby.read("/scaling/ml/busy"))[0] == (await served.read("/scaling/ml/busy"))[0] == 200


async def test_what_was_forwarded_is_not_forwarded_again(standby: Served) -> None:
    """Two that take each other for the leader, as the Lease changes hands."""
    standby.leader_address = f"127.0.0.1:{standby.port}"
    assert (await standby.read("/scaling/ml/busy"))[0] == 404


async def test_readiness_names_what_hangs_and_what_is_interrupted(served: Served) -> None:
    assert await served.text("/readyz") == "ok\n"
    served.hanging, served.stale = "the workers hang", ["Pod: reconnecting"]
    assert (await served.read("/readyz"))[:2] == (503, b"the workers hang\nPod: reconnecting\n")


async def test_liveness_fails_for_what_a_restart_may_end_alone(served: Served) -> None:
    served.stale = ["Pod: reconnecting"]
    assert await served.text("/healthz") == '{"workers": "ok"}'
    served.hanging = "the workers hang"
    assert (await served.read("/healthz"))[:2] == (500, b"the workers hang\n")


@pytest.mark.parametrize(
    "sent", [b"", b"GET /metrics HTTP/1.1\r\nHost: x\r\n"], ids=["silent", "half a request"]
)
async def test_a_silent_connection_stops_nothing_and_is_ended(
    served: Served, sent: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "CONNECTION_SECONDS", 0.3)
    reader, writer = await asyncio.open_connection("127.0.0.1", served.port)
    writer.write(sent)
    assert "up_and_running" in await served.text("/metrics")
    await served.text("/scaling/ml/busy")
    async with asyncio.timeout(5):
        assert await reader.read() == b""
    await ended(writer)


@pytest.mark.parametrize(
    "line", [b"X: " + b"a" * 1000 + b"\r\n", b"X: " + b"a" * 1_000_000], ids=["many", "long"]
)
async def test_endless_headers_are_cut_off(served: Served, line: bytes) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", served.port)
    writer.write(b"GET /metrics HTTP/1.1\r\nHost: x\r\n")
    with contextlib.suppress(OSError):
        async with asyncio.timeout(10):
            while not reader.at_eof() and not writer.is_closing():
                writer.write(line)
                await writer.drain()
                await asyncio.sleep(0)
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(0.001):
                        await reader.read(4096)
    assert "up_and_running" in await served.text("/metrics")
    await ended(writer)


async def test_slow_readers_hold_a_few_bodies_and_are_ended(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "SCRAPE_SECONDS", 3.0)
    monkeypatch.setattr(module, "SCRAPES_PER_ADDRESS", 2)
    monkeypatch.setattr(
        module, "choose_encoder", lambda _accept: (lambda _registry: b"a" * 2**25, "text/plain")
    )
    slow = []
    for _ in range(2):
        reader, writer = await asyncio.open_connection("127.0.0.1", served.port, limit=1024)
        writer.write(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n")
        slow.append((reader, writer))
    await asyncio.sleep(0.2)
    assert (await served.read("/metrics"))[:2] == (429, b"too many scrapes at once\n")
    assert await served.text("/readyz") == "ok\n"
    monkeypatch.setattr(module, "SCRAPE_SECONDS", 60.0)
    async with asyncio.timeout(60):
        while (found := await served.read("/metrics"))[0] == 429:
            await asyncio.sleep(0.1)
    assert (found[0], len(found[1])) == (200, 2**25)
    for _, writer in slow:
        await ended(writer)


async def test_the_bytes_of_answers_that_are_read_slowly_are_bounded(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Eight slow scrapes of 10,000 resources took 400 MiB."""
    monkeypatch.setattr(module, "MAX_HELD_BYTES", 3 << 24)
    monkeypatch.setattr(
        module, "choose_encoder", lambda _accept: (lambda _registry: b"a" * 2**25, "text/plain")
    )
    _reader, writer = await asyncio.open_connection("127.0.0.1", served.port, limit=1024)
    writer.write(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n")
    await asyncio.sleep(0.2)
    assert (await served.read("/metrics"))[:2] == (429, b"too many bytes of scrapes at once\n")
    writer.transport.abort()
    while (found := await served.read("/metrics"))[0] == 429:
        await asyncio.sleep(0.1)
    assert len(found[1]) == 2**25
    monkeypatch.setattr(module, "MAX_HELD_BYTES", 1)
    while (found := await served.read("/metrics"))[0] == 429:
        await asyncio.sleep(0.1)
    assert len(found[1]) == 2**25, "a single answer may be longer"


async def test_a_scrape_that_takes_too_long_to_render_ends_before_the_next_is_rendered(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its thread goes on when the client's time is over: two took 155 MiB each."""
    go_on, begun = threading.Event(), list[int]()

    def render(_registry: object) -> bytes:
        begun.append(1)
        go_on.wait(30)
        return b"a"

    monkeypatch.setattr(module, "SCRAPE_SECONDS", 0.2)
    monkeypatch.setattr(module, "choose_encoder", lambda _accept: (render, "text/plain"))
    for _ in range(2):
        assert (await served.read("/metrics"))[0] == 504
    assert begun == [1]
    go_on.set()
    while (await served.read("/metrics"))[0] != 200:
        await asyncio.sleep(0.1)


async def test_a_client_that_hangs_up_before_its_answer_is_no_error(
    served: Served, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    sent, rendered = module._sent, asyncio.Event()

    async def sent_to_nobody(request: web.Request, *answer: Any) -> web.StreamResponse:
        rendered.set()
        try:
            while request.transport is not None:
                await asyncio.sleep(0)
        finally:
            monkeypatch.setattr(module, "_sent", sent)
        return await sent(request, *answer)

    monkeypatch.setattr(module, "_sent", sent_to_nobody)
    _, writer = await asyncio.open_connection("127.0.0.1", served.port)
    writer.write(b"GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n")
    await rendered.wait()
    writer.transport.abort()
    while module._sent is not sent:
        await asyncio.sleep(0)
    await served.text("/metrics")
    assert [item.getMessage() for item in caplog.records if item.levelname == "ERROR"] == []


async def test_every_connection_serves_one_request(served: Served) -> None:
    _, _, headers = await served.read("/readyz")
    assert headers["Connection"] == "close"


async def test_a_silent_connection_does_not_hold_up_the_end() -> None:
    started = asyncio.get_running_loop().time()
    async with http_server(EMPTY, (0, 0)) as ports:
        assert len(set(ports)) == 2
        _, writer = await asyncio.open_connection("127.0.0.1", ports[1])
    assert asyncio.get_running_loop().time() - started < 3
    await ended(writer)
