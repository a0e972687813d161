"""How many pods are read at the same time: what is taken for an answer, and when it is not waited for."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from tacho_contract.codec import dumps
from tacho_contract.report import LOAD_LIMIT_BYTES, Load
from tacho_operator.shell import pod_http
from tacho_operator.shell.loads import Loads, TimedLoad, sample_of
from tacho_operator.shell.pod_http import PodClient

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
        assert b"\r\naccept-encoding: identity\r\n" in head.lower()
        if seen is not None:
            seen.append(f"{host} {head.split()[1].decode()}")
        if host != OTHER and first is None:
            await hung.wait()
        with contextlib.suppress(ConnectionError):
            writer.write(said(GOOD) if host == OTHER or first is None else first)
            await writer.drain()
        writer.close()

    server = await asyncio.start_server(answer, "0.0.0.0", 0)
    async with server, contextlib.aclosing(PodClient(server.sockets[0].getsockname()[1])) as client:
        yield Loads(client)
        hung.set()
        await asyncio.sleep(0.05)


async def test_each_pod_is_asked_once_at_its_address() -> None:
    seen: list[str] = []
    async with pods_saying(said(GOOD), seen) as loads:
        found = await loads.read({"127.0.0.1", OTHER})
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
    monkeypatch.setattr(pod_http, "TIMEOUT_SECONDS", 0.5)
    async with pods_saying(None) as loads:
        assert set(await loads.read(["127.0.0.1", OTHER])) == {OTHER}


async def test_few_are_read_at_the_same_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pod_http, "AT_ONCE", 4)
    open_now = most = 0

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal open_now, most
        open_now += 1
        most = max(most, open_now)
        await reader.readuntil(b"\r\n\r\n")
        await asyncio.sleep(0.02)
        open_now -= 1
        writer.write(said(GOOD))
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(answer, "0.0.0.0", 0)
    async with server, contextlib.aclosing(PodClient(server.sockets[0].getsockname()[1])) as client:
        found = await Loads(client).read([f"127.0.1.{number}" for number in range(1, 21)])
    assert len(found) == 20
    assert most == 4


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
