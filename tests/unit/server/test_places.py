"""Places among the requests, when all are taken."""

from __future__ import annotations

import asyncio
import contextlib
import socket

import pytest

from tacho_server import places
from tacho_server.places import Places
from tests.unit.server.connecting import completion, serving
from tests.unit.server.scripted import Scripted, app_of


class Wire:
    """A connection that was unread for a time."""

    has_place = False

    def __init__(self, unread_seconds: float) -> None:
        self.unread_seconds = unread_seconds
        self.is_ended = False

    def end(self) -> None:
        self.is_ended = True


def ended(most: int, unread: dict[str, list[float]], *, sequences: int = 1, asks: str) -> list[int] | None:
    """How many answers of each client gave way to a request of ``asks``; None: it was refused.

    ``unread``: of each client's answers, for how long they were unread.
    """
    found = Places(most)
    wires = {client: [Wire(seconds) for seconds in times] for client, times in unread.items()}
    with contextlib.ExitStack() as stack:
        for client, ends in wires.items():
            for wire in ends:
                stack.enter_context(found.held(1, client, wire))
        if not found.reserve(sequences, asks):
            assert not any(wire.is_ended for ends in wires.values() for wire in ends)
            return None
        assert found.taken + sequences <= most
        gave_way = [sum(wire.is_ended for wire in ends) for ends in wires.values()]
    assert found.taken == 0
    return gave_way


def test_an_answer_gives_way_only_when_none_is_free() -> None:
    assert ended(4, {"a": [60, 60, 60]}, asks="b") == [0]
    assert ended(3, {"a": [60, 60, 60]}, asks="b") == [1]
    assert ended(3, {"a": [60, 60, 60]}, sequences=2, asks="b") == [2]


def test_it_is_one_of_who_has_most() -> None:
    assert ended(6, {"a": [60, 60], "b": [60, 60, 60], "c": [60]}, asks="d") == [0, 1, 0]


def test_answers_that_are_read_stay() -> None:
    just_below = places.SLOW_SECONDS - 0.1
    assert ended(3, {"a": [0, 0, just_below]}, asks="b") is None
    assert ended(3, {"a": [0, 0, places.SLOW_SECONDS]}, asks="b") == [1]


@pytest.mark.parametrize("held", [1, 2])
def test_who_has_as_much_gets_no_more(held: int) -> None:
    """Behind a proxy all have one address: there nobody's answer gives way."""
    assert ended(4, {"a": [60] * (4 - held), "b": [60] * held}, asks="b") == ([1, 0] if held == 1 else None)
    assert ended(2, {"a": [60, 60]}, asks="a") is None


def test_too_little_that_could_give_way_ends_nothing() -> None:
    assert ended(4, {"a": [60, 0, 0, 0]}, sequences=2, asks="b") is None


async def test_one_clients_slow_answers_do_not_keep_out_another(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(places, "SLOW_SECONDS", 0.3)
    backend = Scripted("a" * 60_000, max_model_len=100_000)

    async def status(port: int, client: str) -> bytes:
        reader, writer = await asyncio.open_connection("127.0.0.1", port, local_addr=(client, 0))
        writer.write(completion(max_tokens=1))
        line = await reader.readline()
        writer.close()
        return line.split()[1]

    async with serving(app_of(backend, max_requests=2)) as port, asyncio.timeout(30):
        with contextlib.ExitStack() as stack:
            for _ in range(2):
                deaf = stack.enter_context(socket.socket())
                deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
                deaf.connect(("127.0.0.1", port))
                deaf.sendall(completion(stream=True, max_tokens=60_000))
            while backend.running < 2:
                await asyncio.sleep(0.01)
            while await status(port, "127.0.0.2") != b"200":
                await asyncio.sleep(0.05)
            while backend.running == 2:  # what gave way generates no more
                await asyncio.sleep(0.01)
            for _ in range(2):
                assert await status(port, "127.0.0.1") == b"200"  # one place is free


def test_a_connection_knows_whether_its_answer_has_a_place() -> None:
    wire = Wire(0)
    with Places(1).held(1, "a", wire):
        assert wire.has_place
    assert not wire.has_place
