"""Clients that send no request, or read no answer, over real sockets."""

from __future__ import annotations

import asyncio
import contextlib
import socket

import h11
import pytest
from fastapi import FastAPI, Request, Response

from tacho_server import connections
from tacho_server.connections import BoundedProtocol
from tests.unit.server.connecting import HEALTH, called, completion, serving
from tests.unit.server.scripted import Scripted, app_of

Ends = tuple[asyncio.StreamReader, asyncio.StreamWriter]


async def _ended(ends: Ends, *, dribbles: bool) -> None:
    """Waits until the server has ended the connection."""
    reader, writer = ends
    with contextlib.suppress(ConnectionError):
        reading = asyncio.ensure_future(reader.read())
        while not reading.done():
            if dribbles:
                writer.write(b"x")
            await asyncio.wait({reading}, timeout=0.05)
        await reading
    writer.close()


@pytest.mark.parametrize("dribbles", [False, True])
@pytest.mark.parametrize("answered", [False, True])
async def test_a_connection_without_a_request_ends(
    monkeypatch: pytest.MonkeyPatch, dribbles: bool, answered: bool
) -> None:
    monkeypatch.setattr(connections, "HEAD_SECONDS", 0.3)
    async with serving(app_of(Scripted("a"))) as port, asyncio.timeout(20):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        if answered:
            writer.write(HEALTH)
            assert b"200" in await reader.readline()
        if dribbles:
            writer.write(b"GET /")
        await _ended((reader, writer), dribbles=dribbles)


@pytest.mark.parametrize("begun", [b"", b"GET /", completion()[:-1]])
async def test_connections_without_a_whole_request_are_few(
    monkeypatch: pytest.MonkeyPatch, begun: bytes
) -> None:
    """1,024 of them were all files that a process may have: nobody else was answered."""
    monkeypatch.setattr(connections, "ARRIVING_LIMIT", 3)
    backend = Scripted("a")
    backend.gate.clear()
    async with serving(app_of(backend)) as port, asyncio.timeout(20):
        whole, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(completion())
        while not backend.running:
            await asyncio.sleep(0.01)
        idle = []
        for _ in range(5):
            idle.append(await asyncio.open_connection("127.0.0.1", port))
            idle[-1][1].write(begun)
        for ends in idle[:2]:
            await _ended(ends, dribbles=False)
        reader, asking = await asyncio.open_connection("127.0.0.1", port)
        asking.write(HEALTH)
        assert b"200" in await reader.readline()
        await _ended(idle[2], dribbles=False)
        backend.gate.set()
        assert b"200" in await whole.readline()
        for end in (writer, asking, idle[3][1], idle[4][1]):
            end.close()
    assert not connections.BoundedProtocol._arriving


async def test_connections_of_one_client_do_not_end_those_of_others(monkeypatch: pytest.MonkeyPatch) -> None:
    """A thousand at once ended the health checks of others, before a byte of them was read."""
    monkeypatch.setattr(connections, "ARRIVING_LIMIT", 3)
    async with serving(app_of(Scripted("a"))) as port, asyncio.timeout(20):
        reader, writer = await asyncio.open_connection("127.0.0.1", port, local_addr=("127.0.0.2", 0))
        crowd = [await asyncio.open_connection("127.0.0.1", port) for _ in range(8)]
        for ends in crowd[:6]:
            await _ended(ends, dribbles=False)
        writer.write(HEALTH)
        assert b"200" in await reader.readline()
        for one in (writer, *(end for _, end in crowd)):
            one.close()


async def test_idle_connections_give_way_to_those_that_send(monkeypatch: pytest.MonkeyPatch) -> None:
    """A pool of idle connections must not end a request that arrives slowly."""
    monkeypatch.setattr(connections, "ARRIVING_LIMIT", 3)
    asked = completion()
    async with serving(app_of(Scripted("a"))) as port, asyncio.timeout(20):
        slow, sending = await asyncio.open_connection("127.0.0.1", port)
        sending.write(asked[:-1])
        pool = []
        for _ in range(4):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(HEALTH)
            assert b"200" in (await reader.readuntil(b"\r\n\r\n"))
            await reader.readuntil(b"}")
            pool.append((reader, writer))
        for reader, _ in pool[:2]:
            assert await reader.read() == b""
        sending.write(asked[-1:])
        assert b"200" in await slow.readline()
        pool[3][1].write(HEALTH)
        assert b"200" in await pool[3][0].readline()
        for writer in (sending, *(one for _, one in pool)):
            writer.close()
    assert not connections.BoundedProtocol._idle


async def test_an_answer_may_take_longer_than_a_head(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "HEAD_SECONDS", 0.2)
    backend = Scripted("a")
    backend.gate.clear()
    async with serving(app_of(backend)) as port, asyncio.timeout(20):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(completion())
        asyncio.get_running_loop().call_later(0.6, backend.gate.set)
        assert b"200" in await reader.readline()
        writer.close()


async def test_a_client_that_never_reads_gives_its_place_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "UNREAD_SECONDS", 0.3)
    backend = Scripted("a" * 60_000, max_model_len=100_000)
    async with serving(app_of(backend, max_requests=1)) as port, asyncio.timeout(30):
        deaf = socket.socket()
        deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        deaf.connect(("127.0.0.1", port))
        deaf.sendall(completion(stream=True, max_tokens=60_000))
        while not backend.running:
            await asyncio.sleep(0.01)
        while backend.running:
            await asyncio.sleep(0.05)
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(completion(max_tokens=1))
        assert b"200" in await reader.readline()
        writer.close()
        deaf.close()
    assert backend.seen[0].sampling.max_tokens == 60_000


@pytest.mark.parametrize("api_key", ["", "k"])
async def test_an_answer_that_nobody_reads_keeps_its_place(
    monkeypatch: pytest.MonkeyPatch, api_key: str
) -> None:
    """Else a client fills the memory with answers that it does not read."""
    backend = Scripted("a")
    monkeypatch.setattr(backend.tokenizer, "decode", lambda tokens: "x" * 600_000 * len(tokens))

    async def status(port: int) -> bytes:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(asked)
        line = await reader.readline()
        writer.close()
        return line.split()[1]

    asked = completion(max_tokens=1)
    asked = asked.replace(b"Host: m", f"Host: m\r\nAuthorization: Bearer {api_key}".encode())
    async with serving(app_of(backend, max_requests=1, api_key=api_key)) as port, asyncio.timeout(30):
        deaf = socket.socket()
        deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        deaf.connect(("127.0.0.1", port))
        deaf.sendall(asked)
        while not backend.seen or backend.running:
            await asyncio.sleep(0.01)
        assert [await status(port) for _ in range(3)] == [b"429"] * 3
        deaf.close()
        while await status(port) != b"200":
            await asyncio.sleep(0.01)


async def test_a_long_answer_may_be_read_for_longer(monkeypatch: pytest.MonkeyPatch) -> None:
    """One answer of megabytes is in the buffers at once; a slow link takes minutes for it."""
    monkeypatch.setattr(connections, "UNREAD_SECONDS", 0.5)
    app, size = FastAPI(), 2_000_000

    @app.get("/")
    async def answer() -> Response:
        return Response(bytes(size))

    async with serving(app) as port, asyncio.timeout(30):
        with socket.socket() as slow:
            slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
            slow.connect(("127.0.0.1", port))
            slow.setblocking(False)
            loop, read = asyncio.get_running_loop(), 0
            await loop.sock_sendall(slow, b"GET / HTTP/1.1\r\nHost: m\r\n\r\n")
            while read < size:
                found = await loop.sock_recv(slow, 50_000)
                assert found, f"ended after {read} bytes"
                read += len(found)
                await asyncio.sleep(len(found) / 1e6)


@pytest.mark.parametrize(("size", "status"), [(1, b"400"), (300, b"200")])
async def test_a_body_in_very_many_small_pieces_is_refused(size: int, status: bytes) -> None:
    """Each takes the event loop as long as a large one."""
    body = b'{"prompt": "x"' + b" " * 1200 * size + b"}"
    pieces = [body[at : at + size] for at in range(0, len(body), size)]
    chunks = b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in [*pieces, b""])
    head = b"POST /v1/completions HTTP/1.1\r\nHost: m\r\nContent-Type: application/json\r\n"
    async with serving(app_of(Scripted("a"))) as port, asyncio.timeout(30):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(head + b"Transfer-Encoding: chunked\r\n\r\n" + chunks)
        assert (await reader.readuntil(b"\r\n\r\n")).split()[1] == status
        writer.close()


async def test_each_request_of_a_connection_has_pieces_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "FREE_PIECES", 2)
    async with serving(app_of(Scripted("a"))) as port, asyncio.timeout(30):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        for _ in range(5):
            writer.write(completion())
            assert (await reader.readuntil(b"\r\n\r\n")).split()[1] == b"200"
            await reader.readuntil(b"}}")
        writer.close()


@pytest.mark.parametrize(
    ("method", "status", "rest"),
    [(b"POST", b"401", b"1\r\n \r\n" * 2 * connections.FREE_PIECES), (b"HEAD", b"400", b"")],
    ids=["after its answer", "of a request without an answer's body"],
)
async def test_a_body_that_is_not_to_be_read_is_no_error_of_the_server(
    caplog: pytest.LogCaptureFixture, method: bytes, status: bytes, rest: bytes
) -> None:
    head = method + b" /v1/completions HTTP/1.1\r\nHost: m\r\nTransfer-Encoding: chunked\r\n\r\n"
    async with serving(app_of(Scripted("a"), api_key="k")) as port, asyncio.timeout(30):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(head if rest else head + b"no chunk\r\n")
        assert status in await reader.readline()
        writer.write(rest)
        with contextlib.suppress(ConnectionError):
            await reader.read()
        writer.close()
    assert [record.message for record in caplog.records if record.levelname == "ERROR"] == []


def sized() -> FastAPI:
    """An app that answers with as many bytes as the path says, which have no place among the requests."""
    app = FastAPI()

    @app.get("/{size}")
    async def answer(size: int) -> Response:
        return Response(bytes(size))

    return app


def deaf(port: int, asked: bytes) -> socket.socket:
    """A client that never reads."""
    made = socket.socket()
    made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    made.connect(("127.0.0.1", port))
    made.sendall(asked)
    return made


async def test_a_closed_connection_whose_rest_is_not_read_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    """Closing waits for the rest to be read, for ever: each took one of the process's 1,024 files."""
    monkeypatch.setattr(connections, "UNREAD_SECONDS", 0.3)
    lost, sizes = called(monkeypatch, "connection_lost"), range(60_000, 1_200_000, 30_000)
    async with serving(sized()) as port, asyncio.timeout(30):
        clients = [deaf(port, b"GET /%d HTTP/1.0\r\nHost: m\r\n\r\n" % size) for size in sizes]
        while len(lost) < len(clients):
            await asyncio.sleep(0.05)
        for client in clients:
            client.close()
    assert not BoundedProtocol._arriving


async def test_a_connection_that_cannot_be_closed_in_order_does_not_keep_others_from_their_answers(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A protocol error behind an unread answer ended a process that was to stop, with all streams."""
    monkeypatch.setattr(connections, "UNREAD_SECONDS", 1.0)
    monkeypatch.setattr(connections, "HEAD_SECONDS", 1.0)
    made = called(monkeypatch, "connection_made")
    refused = b"POST /1 HTTP/1.1\r\nHost: m\r\nTransfer-Encoding: chunked\r\n\r\n"
    async with asyncio.timeout(30), serving(sized()) as port:
        sizes = range(60_000, 1_200_000, 30_000)
        clients = [deaf(port, b"GET /%d HTTP/1.1\r\nHost: m\r\n\r\n" % size + refused) for size in sizes]
        await asyncio.sleep(0.3)
        for client in clients:
            client.sendall(b"no chunk\r\n")
        while not any(one.conn.our_state is h11.ERROR for one, _ in made):
            await asyncio.sleep(0.01)
    for client in clients:
        client.close()


async def test_a_request_that_arrives_behind_an_answer_is_one_of_the_arriving() -> None:
    """Once the answer was read, nothing limited the number of such requests that never end."""
    begun = b"POST /1 HTTP/1.1\r\nHost: m\r\nContent-Length: 9\r\n\r\n"
    app = sized()

    @app.post("/1")
    async def take(request: Request) -> Response:
        return Response(await request.body())

    async with serving(app) as port, asyncio.timeout(30):
        client = deaf(port, b"GET /3000000 HTTP/1.1\r\nHost: m\r\n\r\n" + begun)
        client.setblocking(False)
        await asyncio.sleep(0.2)
        read = 0
        while read < 3_000_000:
            read += len(await asyncio.get_running_loop().sock_recv(client, 1 << 20))
        await asyncio.sleep(0.2)
        assert len(BoundedProtocol._arriving) == 1
        await asyncio.get_running_loop().sock_sendall(client, b"123456789")
        assert b"200" in await asyncio.get_running_loop().sock_recv(client, 1 << 20)
        client.close()


async def test_unread_answers_without_a_place_are_few(monkeypatch: pytest.MonkeyPatch) -> None:
    """Such as refusals and /metrics: 1,024 of them were all files that a process may have."""
    monkeypatch.setattr(connections, "ARRIVING_LIMIT", 3)
    lost = called(monkeypatch, "connection_lost")
    async with serving(sized()) as port, asyncio.timeout(30):
        clients = []
        for _ in range(6):
            clients.append(deaf(port, 2 * b"GET /3000000 HTTP/1.1\r\nHost: m\r\n\r\n"))
            await asyncio.sleep(0.05)
        while len(lost) < 3:
            await asyncio.sleep(0.05)
        for client in clients:
            client.close()
