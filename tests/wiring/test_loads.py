"""How thousands of pods are asked: what is taken for an answer, and when it is not waited for."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import threading
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from types import SimpleNamespace
from typing import cast

import pytest

from tacho_contract.codec import dumps
from tacho_contract.report import LOAD_LIMIT_BYTES, LatencyHistogram, Load
from tacho_operator.shell import loads as loads_module
from tacho_operator.shell.loads import (
    HEAD_LIMIT_BYTES,
    Loads,
    ReadLimits,
    TimedLoad,
    body_of,
    read_many,
    request_bytes,
    sample_of,
)
from tacho_operator.shell.waiting_pods import WaitingPods

LIMIT = 100
LIMITS = ReadLimits(at_once=2, each_seconds=3.0, all_seconds=5.0, limit_bytes=LIMIT)
OK = b"HTTP/1.1 200 OK\r\n"


@contextlib.contextmanager
def saying(
    *answers: bytes, address: str = "127.0.0.1", keep: bool = False
) -> Iterator[tuple[int, list[bytes]]]:
    """A server that gives one answer a connection, in that order; ``keep``: and does not close it."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    asked: list[bytes] = []
    kept = []
    with socket.create_server((address, 0), family=family) as server:

        def serve() -> None:
            for answer in answers:
                connection, _ = server.accept()
                asked.append(connection.recv(4096))
                with contextlib.suppress(OSError):
                    connection.sendall(answer)
                if keep:
                    kept.append(connection)
                else:
                    connection.close()

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield server.getsockname()[1], asked
        thread.join(5)
        for connection in kept:
            connection.close()


def ask(address: str, port: int, each_seconds: float = 3.0) -> bytes | None:
    found = read_many(
        [address], port, "/load", limits=replace(LIMITS, each_seconds=each_seconds), is_needed=lambda: True
    )
    answer = found[address]
    return answer and answer.body


@pytest.mark.parametrize(
    ("answer", "body"),
    [
        (OK + b"Content-Length: 2\r\n\r\n{}", b"{}"),
        (OK + b"content-length:2\r\nServer: s\r\n\r\n{}", b"{}"),
        (b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\n{}", b"{}"),
        (b"HTTP/1.0 200 OK\r\n\r\n{}", None),
        (OK + b"Transfer-Encoding: chunked\r\n\r\n1\r\n{\r\n1\r\n}\r\n0\r\n\r\n", None),
        (OK + b"Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n{}", None),
        (OK + b"Content-Length: 2\r\nContent-Length: 3\r\n\r\n{}", None),
        (OK + b"Content-Length: 3\r\n\r\n{}", None),
        (OK + b"Content-Length: 101\r\n\r\n" + b" " * 101, None),
        (OK + b"Content-Length: " + b"9" * 15 + b"\r\n\r\n{}", None),
        (b"HTTP/1.1 404 Not Found\r\nContent-Length: 2\r\n\r\n{}", None),
        (b"HTTP/1.1 302 Found\r\nLocation: http://a/\r\nContent-Length: 0\r\n\r\n", None),
        (b"x" * (HEAD_LIMIT_BYTES + LIMIT + 1), None),
        (b"", None),
    ],
    ids=range(14),
)
def test_what_is_taken_for_an_answer(answer: bytes, body: bytes | None) -> None:
    with saying(answer) as (port, _):
        assert ask("127.0.0.1", port) == body


def test_it_asks_as_a_client_that_wants_one_short_answer() -> None:
    with saying(OK + b"Content-Length: 2\r\n\r\n{}") as (port, asked):
        ask("127.0.0.1", port)
    expected = f"GET /load HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n"
    assert asked == [f"{expected}Accept-Encoding: identity\r\nConnection: close\r\n\r\n".encode()]
    assert b"\r\nHost: [fd00::1]:9400\r\n" in request_bytes("fd00::1", 9400, "/load")


@pytest.mark.skipif(not socket.has_ipv6, reason="this machine has no IPv6")
def test_an_address_of_ipv6_is_asked_too() -> None:
    try:
        with saying(OK + b"Content-Length: 2\r\n\r\n{}", address="::1") as (port, _):
            assert ask("::1", port) == b"{}"
    except OSError:
        pytest.skip("this machine has no address of IPv6")


def test_who_keeps_the_connection_open_is_not_waited_for() -> None:
    began = time.monotonic()
    with saying(OK + b"Content-Length: 2\r\n\r\n{}", keep=True) as (port, _):
        assert ask("127.0.0.1", port) == b"{}"
    assert time.monotonic() - began < 2


def test_who_says_nothing_is_given_up_and_who_refuses_at_once() -> None:
    began = time.monotonic()
    with saying(b"", keep=True) as (port, _):
        assert ask("127.0.0.1", port, each_seconds=0.3) is None
    assert 0.3 <= time.monotonic() - began < 2
    assert ask("127.0.0.1", port) is None, "nobody listens there any more"
    assert ask("not an address", port) is None


def test_nothing_more_is_asked_when_nobody_wants_to_know() -> None:
    found = read_many(["127.0.0.1"], 9, "/load", limits=LIMITS, is_needed=lambda: False)
    assert found == {}


def test_the_limit_is_the_bodys_alone() -> None:
    head = OK + b"X: " + b"x" * 5000 + b"\r\nContent-Length: 100\r\n\r\n"
    assert body_of(head + b" " * 100, LIMIT) == b" " * 100


# --- answers of pods --------------------------------------------------------------------------------
OTHER = "127.0.0.2"
GOOD = dumps(Load(running=2, observed_time="t"))


def said(text: str, head: str = "HTTP/1.1 200 OK") -> bytes:
    return f"{head}\r\nContent-Length: {len(text)}\r\nConnection: close\r\n\r\n{text}".encode()


@contextlib.asynccontextmanager
async def pods_saying(first: bytes | None, seen: list[str] | None = None) -> AsyncIterator[Loads]:
    """Two pods: the first says that (None: nothing at all), the other all that it should."""
    hung = asyncio.Event()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        host = writer.get_extra_info("sockname")[0]
        head = await reader.readuntil(b"\r\n\r\n")
        if seen is not None:
            seen.append(f"{host} {head.split()[1].decode()}")
        if host != OTHER and first is None:
            await hung.wait()
        with contextlib.suppress(ConnectionError):
            writer.write(said(GOOD) if host == OTHER or first is None else first)
            await writer.drain()
        writer.close()

    server = await asyncio.start_server(answer, "0.0.0.0", 0)
    async with server:
        yield Loads(server.sockets[0].getsockname()[1])
        hung.set()
        await asyncio.sleep(0.05)


async def test_each_pod_is_asked_once_at_its_address() -> None:
    seen: list[str] = []
    async with pods_saying(said(GOOD), seen) as loads:
        found = await loads.read(["127.0.0.1", "127.0.0.1", OTHER])
    loads_found = {address: answer.load for address, answer in found.items()}
    assert loads_found == dict.fromkeys(("127.0.0.1", OTHER), Load(running=2, observed_time="t"))
    assert sorted(seen) == ["127.0.0.1 /load", "127.0.0.2 /load"]


@pytest.mark.parametrize(
    "answer",
    [
        said(GOOD, "HTTP/1.1 503 Service Unavailable"),
        said("{"),
        said(json.dumps({"running": "many", "observedTime": "t"})),
        said(" " * (LOAD_LIMIT_BYTES + 1)),
        said("", "HTTP/1.1 302 Found\r\nLocation: http://127.0.0.2/load"),
        b"not HTTP at all\r\n\r\n",
        b"",
    ],
    ids=["refused", "cut", "of another type", "endless", "elsewhere", "another protocol", "nothing"],
)
async def test_an_answer_that_is_none_is_unknown(answer: bytes) -> None:
    async with pods_saying(answer) as loads:
        assert set(await loads.read(["127.0.0.1", OTHER])) == {OTHER}


async def test_a_pod_that_hangs_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tacho_operator.shell.loads.TIMEOUT_SECONDS", 1.0)
    async with pods_saying(None) as loads:
        assert set(await loads.read(["127.0.0.1", OTHER])) == {OTHER}


async def test_pods_that_hang_do_not_use_up_the_time_of_those_that_answer(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """One place at a time, and time for two that hang: whoever answers is asked before those."""
    monkeypatch.setattr("tacho_operator.shell.loads.AT_ONCE", 1)
    monkeypatch.setattr("tacho_operator.shell.loads.TIMEOUT_SECONDS", 0.4)
    monkeypatch.setattr("tacho_operator.shell.loads.SAMPLE_SECONDS", 1.0)
    hanging = [f"127.0.1.{number}" for number in range(1, 5)]
    asked: list[str] = []
    async with pods_saying(None, asked) as loads:
        assert OTHER not in await loads.read([*hanging, OTHER]), "nobody has been asked in vain yet"
        answered = [OTHER in await loads.read([*hanging, OTHER]) for _ in range(4)]
    assert answered[1:] == [True] * 3, "one more look until those that hang are known"
    assert {line.partition(" ")[0] for line in asked} >= {*hanging}, "and each has its turn again"


async def test_pods_that_hang_are_known_though_another_look_asked_for_others(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What others scale takes turns: each look asks for a part of it."""
    monkeypatch.setattr("tacho_operator.shell.loads.AT_ONCE", 1)
    monkeypatch.setattr("tacho_operator.shell.loads.TIMEOUT_SECONDS", 1.0)
    asked: list[str] = []
    async with pods_saying(None, asked) as loads:
        await loads.read(["127.0.1.1"])
        await loads.read([OTHER])
        asked.clear()
        await loads.read(["127.0.1.1", OTHER])
    assert [line.partition(" ")[0] for line in asked] == [OTHER, "127.0.1.1"]


async def test_hundreds_that_hang_in_one_namespace_put_off_no_pod_of_another_that_hung_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Of pods that did not answer each look asks a few: in the order of their last turn it took minutes."""
    monkeypatch.setattr(loads_module, "AT_ONCE", 4)
    monkeypatch.setattr(loads_module, "TIMEOUT_SECONDS", 0.2)
    monkeypatch.setattr(loads_module, "SAMPLE_SECONDS", 0.5)
    hanging = [f"127.0.1.{number}" for number in range(1, 41)]
    namespaces = {**dict.fromkeys(hanging, "noisy"), OTHER: "victim"}
    async with pods_saying(None) as loads:
        loads._silent = dict.fromkeys([*hanging, OTHER])
        assert OTHER in await loads.read([*hanging, OTHER], namespaces)


def test_figures_that_no_engine_has_are_unknown() -> None:
    wild = Load(
        running=-1,
        waiting=10**9,
        generation_tokens_total=float("nan"),
        kv_cache_usage=7.0,
        observed_time="t",
    )
    found = sample_of(TimedLoad(wild, 5.0))
    assert (found.running, found.waiting, found.generated_tokens, found.kv_cache_usage) == (
        None,
        None,
        None,
        1.0,
    )
    assert replace(found, kv_cache_usage=None).known is False


async def test_slow_pods_of_a_namespace_hold_up_no_other_namespace(monkeypatch: pytest.MonkeyPatch) -> None:
    """They answer each time, and just in time: none of them counts as silent."""
    monkeypatch.setattr(loads_module, "SAMPLE_SECONDS", 2.0)
    monkeypatch.setattr(loads_module, "AT_ONCE", 8)
    slow = [f"127.0.2.{number}" for number in range(1, 41)]
    quick = [f"127.0.3.{number}" for number in range(1, 41)]

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        if writer.get_extra_info("sockname")[0] in slow:
            await asyncio.sleep(0.9)
        body = dumps(Load(observed_time="2026-01-01T00:00:00Z")).encode()
        writer.write(OK + b"Content-Length: %d\r\n\r\n" % len(body) + body)
        writer.close()

    async with await asyncio.start_server(answer, "0.0.0.0", 0) as server:
        loads = Loads(server.sockets[0].getsockname()[1])
        namespaces = {**dict.fromkeys(slow, "noisy"), **dict.fromkeys(quick, "victim")}
        read: list[tuple[str, int]] = []
        for _ in range(2):
            found = await loads.read(
                [*slow, *quick], namespaces, lambda name, answers: read.append((name, len(answers)))
            )
            assert set(quick) <= set(found)
        assert read == [("victim", 40)] * 2, "it is told at once, though reading goes on"
        assert set(await loads.read([*slow[:8], *quick])) >= {*slow[:8], *quick}


def test_an_answer_that_comes_byte_by_byte_is_given_up() -> None:
    """A thread copied and searched what had come for each byte, and other threads waited for it."""
    port_of, ends = socket.socketpair()
    answer = b"HTTP/1.1 200 OK\r\nContent-Length: 4000\r\n\r\n" + b" " * 4000
    for size, whole in ((len(answer), True), (200, True), (1, False)):
        waiting = WaitingPods(["a"], {}, 1)
        with loads_module._OpenConnections(LOAD_LIMIT_BYTES, waiting, lambda *_: None) as connections:
            parts = [answer[at : at + size] for at in range(0, len(answer), size)]
            one = SimpleNamespace(
                socket=SimpleNamespace(
                    recv=lambda _, parts=parts: parts.pop(0), fileno=ends.fileno, close=lambda: None
                ),
                address=waiting.take(),
                got=b"",
                reads=0,
                sent_seconds=0.0,
            )
            connections._open[ends.fileno()] = cast(loads_module.PodConnection, one)
            connections._selector.register(ends.fileno(), 1)
            while connections.count:
                connections._receive(cast(loads_module.PodConnection, one))
            found = connections.found["a"]
            assert (found and found.body) == (answer[-4000:] if whole else None)
        assert len(parts) == 0 if whole else len(parts) > 3000
    port_of.close()
    ends.close()


@pytest.mark.parametrize(("namespaces", "is_kept"), [(("a", "b"), True), (("a", "a"), False)])
async def test_what_a_namespace_s_pods_answer_takes_a_limited_memory(
    monkeypatch: pytest.MonkeyPatch, namespaces: tuple[str, str], is_kept: bool
) -> None:
    """Histograms of 2,000 pods took 185 MiB, of 512."""
    counted = LatencyHistogram(edges_seconds=(0.1, 0.2), counts=(1, 2), total=3)
    load = Load(running=1, ttft=counted, tpot=counted, observed_time="t" * 80, pod_uid="u" * 80)
    body = dumps(load).encode()
    answer = OK + b"Content-Length: %d\r\n\r\n%b" % (len(body), body)
    monkeypatch.setattr(loads_module, "HISTOGRAM_BYTES", 2 * len(body) - 1)
    addresses = ("127.0.0.1", "127.0.0.2")
    with saying(answer, answer, address="0.0.0.0") as (port, _):
        found = await Loads(port).read(addresses, dict(zip(addresses, namespaces, strict=True)))
    kept = load if is_kept else replace(load, ttft=None, tpot=None, observed_time="t" * 64, pod_uid="u" * 64)
    assert [found[address].load for address in addresses] == [kept, kept]
