"""How many requests begin in one iteration of the event loop, and whose."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

import pytest
from starlette.types import Receive, Scope, Send

from tacho_server import fair_queue
from tacho_server.connections import CONNECTION
from tacho_server.fair_queue import BEGUN_AT_ONCE, FairQueue
from tacho_server.metrics import ServerMetrics
from tests.unit.server.connecting import HEALTH, serving
from tests.unit.server.scripted import Scripted, app_of


class Connection:
    """A request's connection."""

    def __init__(self) -> None:
        self.turn: asyncio.Future[bool] | None = None
        self.is_ended = False

    def end(self) -> None:
        self.is_ended = True
        self.lose()

    def lose(self) -> None:
        if self.turn is not None and not self.turn.done():
            self.turn.set_result(False)


class Begun:
    """An application that notes of which client each request is, and in which iteration of the loop it
    begins.
    """

    def __init__(self) -> None:
        self.clients: list[str] = []
        self.iterations: list[int] = []
        self._iteration = 0

    async def __call__(self, scope: Scope, _receive: Receive, _send: Send) -> None:
        self.clients.append(scope["client"][0])
        self.iterations.append(self._iteration)

    async def count(self) -> None:
        while True:
            await asyncio.sleep(0)
            self._iteration += 1


def request(queue: FairQueue, client: str, connection: Connection | None = None) -> asyncio.Future[None]:
    scope = {"client": (client, 1), "state": {CONNECTION: connection or Connection()}}
    unused: Any = None
    return asyncio.ensure_future(queue(scope, unused, unused))


async def test_few_requests_begin_in_one_iteration_of_the_loop() -> None:
    """900 requests of /metrics at once kept every stream waiting for a second in each iteration."""
    begun = Begun()
    queue = FairQueue(begun)
    counting = asyncio.ensure_future(begun.count())
    await asyncio.gather(*(request(queue, "a") for _ in range(100)))
    counting.cancel()
    of_one = [begun.iterations.count(iteration) for iteration in set(begun.iterations)]
    assert len(begun.clients) == 100
    assert max(of_one) <= BEGUN_AT_ONCE


async def test_the_clients_take_turns() -> None:
    begun = Begun()
    queue = FairQueue(begun)
    crowd = [request(queue, "crowd") for _ in range(100)]
    await asyncio.sleep(0)
    others = [request(queue, "kubelet"), request(queue, "stream"), request(queue, "stream")]
    await asyncio.gather(*others)
    assert len(begun.clients) <= 3 * BEGUN_AT_ONCE, "of the crowd's 100, few began before the others"
    await asyncio.gather(*crowd)
    assert len(begun.clients) == 103


async def test_a_request_whose_connection_is_lost_takes_no_turn() -> None:
    begun = Begun()
    queue = FairQueue(begun)
    connections = [Connection() for _ in range(30)]
    requests = [request(queue, "a", connection) for connection in connections]
    await asyncio.sleep(0)
    for connection in connections[20:]:
        connection.lose()
    await asyncio.gather(*requests)
    assert begun.clients == ["a"] * 20
    assert not queue._waiting
    await request(queue, "a")
    assert len(begun.clients) == 21


async def test_of_too_many_that_wait_the_largest_clients_last_one_ends(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Else connections that ask and never read would fill the memory."""
    monkeypatch.setattr(fair_queue, "WAITING_LIMIT", 20)
    begun = Begun()
    queue = FairQueue(begun)
    crowd, other = [Connection() for _ in range(20)], Connection()
    requests = [request(queue, "crowd", connection) for connection in crowd]
    requests.append(request(queue, "other", other))
    await asyncio.gather(*requests)
    assert [connection.is_ended for connection in (*crowd, other)] == [False] * 19 + [True, False]
    assert sorted(begun.clients) == ["crowd"] * 19 + ["other"]


async def test_another_clients_health_is_answered_beside_a_flood(monkeypatch: pytest.MonkeyPatch) -> None:
    """900 connections that ask for /metrics left /health without an answer for a second and more."""
    pages = 0

    def page(_metrics: ServerMetrics, _now_seconds: float) -> bytes:
        nonlocal pages
        pages += 1
        return b"page"

    async def flood(port: int) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        with contextlib.closing(writer):
            writer.write(100 * b"GET /metrics HTTP/1.1\r\nHost: m\r\n\r\n")
            await reader.read()

    monkeypatch.setattr(ServerMetrics, "page", page)
    async with serving(app_of(Scripted("a"))) as port, asyncio.timeout(60):
        floods = [asyncio.ensure_future(flood(port)) for _ in range(200)]
        while pages < 400:
            await asyncio.sleep(0)
        before = pages
        reader, writer = await asyncio.open_connection("127.0.0.1", port, local_addr=("127.0.0.2", 0))
        writer.write(HEALTH)
        assert b"200" in await reader.readline()
        meanwhile = pages - before
        for task in floods:
            task.cancel()
        await asyncio.gather(*floods, return_exceptions=True)
        writer.close()
    assert meanwhile < 200, "less than a request of each of the flood's connections"


async def test_a_lost_connection_leaves_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Clients may ask and hang up faster than turns are given."""
    monkeypatch.setattr(fair_queue, "BEGUN_AT_ONCE", 0)
    queue = FairQueue(Begun())
    async with serving(queue) as port, asyncio.timeout(20):
        for _ in range(5):
            _reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(HEALTH)
            while not queue._waiting:
                await asyncio.sleep(0.01)
            writer.transport.abort()
            while queue._waiting:
                await asyncio.sleep(0.01)
