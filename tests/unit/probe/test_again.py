"""Which failures are worth another try, and for how long."""

from __future__ import annotations

import asyncio
from random import Random

import pytest

from tacho_runtime.probe.load import retries
from tacho_runtime.probe.load.retries import MAX_RETRIES, RetryBudget
from tacho_runtime.probe.load.socket_engine import SocketEngine
from tacho_runtime.probe.load.timed_client import RequestFailed
from tacho_runtime.probe.load.wire import retry_after_seconds
from tests.unit.probe.engines import target

BROKE = RequestFailed("the connection broke", broke=True)


def refused(status: int, retry_after: float | None = None) -> RequestFailed:
    return RequestFailed(f"HTTP {status}", answered=True, status=status, retry_after_seconds=retry_after)


@pytest.mark.parametrize(
    ("error", "known", "pause"),
    [
        (BROKE, False, 0.25),
        (refused(429), False, 0.25),
        (refused(503, 2.0), False, 2.0),
        (refused(503, 0.0), True, 0.25),
        (refused(503, 60.0), True, None),
        (refused(500), True, 0.25),
        (refused(500), False, None),
        (refused(400), True, None),
        (refused(404), True, None),
        (RequestFailed("no full answer within 9.0 s"), True, None),
    ],
)
def test_what_may_pass_is_tried_again(error: RequestFailed, known: bool, pause: float | None) -> None:
    assert RetryBudget().pause_after(error, 1, known=known) == pause


def test_pauses_grow_and_end() -> None:
    assert [RetryBudget().pause_after(BROKE, tries, known=True) for tries in (1, 2, 3, 4)] == [
        0.25,
        0.5,
        1.0,
        None,
    ]


def test_all_requests_together_have_so_many_tries() -> None:
    assert RetryBudget(failed=["x"] * MAX_RETRIES).pause_after(BROKE, 1, known=True) is None


def test_all_requests_together_are_waited_for_so_long() -> None:
    tries = RetryBudget(waited_seconds=retries.MAX_WAIT_SECONDS - 5.0)
    assert tries.pause_after(refused(503, 5.0), 1, known=True) == 5.0
    tries.waited_seconds += 1.0
    assert tries.pause_after(refused(503, 5.0), 1, known=True) is None
    assert tries.pause_after(BROKE, 1, known=True) == 0.25


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    found: list[float] = []

    async def sleep(seconds: float) -> None:
        found.append(seconds)

    monkeypatch.setattr(asyncio, "sleep", sleep)
    return found


async def test_the_answer_says_how_often_it_failed_before(pauses: list[float]) -> None:
    errors = [refused(429), BROKE]

    async def send() -> str:
        if errors:
            raise errors.pop(0)
        return "answer"

    tries = RetryBudget()
    assert tries.note() == ""
    assert await tries.answered(send) == ("answer", 2)
    assert pauses == [0.25, 0.5]
    assert tries.waited_seconds == 0.75
    assert tries.note() == "requests were 2 times retried after a failure: the connection broke"


async def test_the_last_failure_is_raised_as_it_was(pauses: list[float]) -> None:
    async def send() -> str:
        raise refused(503, 2.0)

    with pytest.raises(RequestFailed, match=r"^HTTP 503 \(4 times in a row\)$") as caught:
        await RetryBudget().answered(send)
    assert (caught.value.answered, caught.value.status) == (True, 503)
    assert pauses == [2.0, 2.0, 2.0]


@pytest.mark.parametrize("status", [429, 503])
async def test_an_engine_that_is_busy_is_not_asked_in_every_way(status: int, pauses: list[float]) -> None:
    """A wording that was refused before is no reason to take this for a refusal, too."""
    asked: list[str] = []

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        method = (await reader.readline()).decode().split()[0]
        asked.append(method)
        models = method == "GET"
        body = '{"data": [{"id": "mock"}]}' if models else "full"
        first = "200 OK" if models else ("400 Bad" if asked.count("POST") == 1 else f"{status} Busy")
        head = f"HTTP/1.1 {first}\r\nRetry-After: 5\r\nContent-Length: {len(body)}\r\n\r\n"
        writer.write((head + body).encode())
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        engine = await SocketEngine.open(target(server.sockets[0].getsockname()[1]), Random(1))
        said = rf"^the engine is busy: POST /v1/completions: HTTP {status}: full \(4 times in a row\)$"
        with pytest.raises(RequestFailed, match=said):
            await engine.first_request(5)
    assert asked.count("POST") == 5
    assert pauses == [5.0, 5.0, 5.0]


@pytest.mark.parametrize(
    ("head", "seconds"),
    [
        (b"HTTP/1.1 429 Too Many\r\nRetry-After: 7\r\nX: y\r\n\r\n", 7.0),
        (b"HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 429 Too Many\r\nRetry-After: 7\r\n\r\n", 7.0),
        (b"HTTP/1.1 429 Too Many\r\nretry-after:0\r\n\r\n", 0.0),
        (b"HTTP/1.1 429 Too Many\r\nRetry-After: Wed, 21 Oct 2026 07:28:00 GMT\r\n\r\n", None),
        (b"HTTP/1.1 429 Too Many\r\nX: y\r\n\r\nRetry-After: 7\r\n", None),
    ],
)
def test_when_to_come_back_is_read_from_the_head(head: bytes, seconds: float | None) -> None:
    assert retry_after_seconds(head) == seconds


def test_the_longest_pause_is_shorter_than_a_probe() -> None:
    assert retries.MAX_PAUSE_SECONDS * len(retries.PAUSES_SECONDS) < 20
