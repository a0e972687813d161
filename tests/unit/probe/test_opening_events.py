"""What an engine sends before the first token of an answer, and how it ends an answer and counts it."""

from __future__ import annotations

from typing import cast

import pytest

from tacho_runtime.probe.load.requests import COMMON, RequestBuilder, request_formats
from tacho_runtime.probe.load.socket_engine import SocketEngine
from tacho_runtime.probe.load.streams import StreamResult, opens_early
from tacho_runtime.probe.load.timed_client import EngineEndpoint
from tests.unit.probe.test_streams import DONE, HEAD, MS, ROLE, completion, in_chunks, read, received, used


@pytest.mark.parametrize(
    ("first_ms", "text", "early"),
    [(1, "", True), (9, "", True), (11, "", False), (60, "", False), (1, "a", False)],
)
def test_an_event_before_the_prompt_was_computed_is_no_token(first_ms: int, text: str, early: bool) -> None:
    """As text-generation-webui's, with an empty text; a first token without text takes a step."""
    later = [completion(at, "a") for at in range(80, 200, 20)]
    assert opens_early(read(completion(first_ms, text), *later, (200, DONE))) is early
    assert not opens_early(read(completion(first_ms, text), *later[:4], (200, DONE))), (
        "too few to tell a step"
    )


class Answering:
    """A socket engine's answers, whose first events came after so many milliseconds."""

    def __init__(self, *first_ms: int) -> None:
        self.answers = [
            read(completion(first, ""), *(completion(at, "a") for at in range(80, 200, 20)), (200, DONE))
            for first in first_ms
        ]
        self.requests = RequestBuilder(
            endpoint=EngineEndpoint("127.0.0.1", 1, ""),
            served_name="m",
            request_format=request_formats(COMMON, vocabulary=0)[0],
        )
        self._requests, self._notes = self.requests, list[str]()

    async def complete(self, *_: object) -> StreamResult:
        return self.answers.pop(0)


@pytest.mark.parametrize(
    ("first_ms", "left_out", "more_requests"),
    [
        ((1, 1), True, 1),
        ((25, 1, 1), True, 2),
        ((1, 25, 1), True, 2),
        ((1, 25, 25), False, 2),
        ((25, 25), False, 1),
        ((60,), False, 0),
    ],
)
async def test_a_busy_machine_shows_one_of_three_opening_events_too_late(
    first_ms: tuple[int, ...], left_out: bool, more_requests: int
) -> None:
    engine = Answering(*first_ms)
    first = engine.answers.pop(0)
    found = await SocketEngine._without_opening(cast(SocketEngine, engine), first, 8, 5.0)
    assert len(first.tokens) - len(found.tokens) == left_out
    assert engine._requests.opens_empty is left_out
    assert len(first_ms) - 1 - len(engine.answers) == more_requests


def test_the_opening_event_of_an_engine_that_has_one_is_left_out() -> None:
    events = [completion(1, ""), completion(60, ""), completion(80, "a"), (80, DONE)]
    reads = [(at, (b"" if place else HEAD) + in_chunks(data)) for place, (at, data) in enumerate(events)]
    stream = received(*reads, opens_empty=True)
    assert stream.first_token_ns == 60 * MS
    assert stream.result(whole=True).tokens == ((60 * MS, 1), (80 * MS, 1))
    assert received(reads[0], opens_empty=True).first_token_ns is None


def test_a_token_that_comes_in_one_read_with_the_end_is_counted() -> None:
    end = in_chunks(b'{"choices":[{"delta":{"content":"a"},"finish_reason":"length"}]}', DONE)
    assert received((10, HEAD), (20, ROLE), (30, end)).result(whole=True).tokens == ((30 * MS, 1),)


@pytest.mark.parametrize(("done", "reason"), [(True, "length"), (False, "")])
def test_an_answer_without_a_reason_has_ended_where_its_stream_says_so(done: bool, reason: str) -> None:
    events = [completion(10 * n, "a") for n in (1, 2, 3)]
    stream = read(*events, *([(30, DONE)] if done else []))
    assert (stream.finish_reason, stream.output_tokens) == (reason, 3)
    assert read(*events, (30, DONE), whole=False).finish_reason == ""


@pytest.mark.parametrize(
    ("total", "counts"), [(7, [1, 2, 2, 2]), (0, [1, 0, 0, 0])], ids=["at the end", "never"]
)
def test_running_totals_of_zero_count_no_token(total: int, counts: list[int]) -> None:
    events = [completion(10 * n, "a", usage=used(0)) for n in (1, 2, 3)]
    end = completion(40, "a", finish_reason="length", usage=used(total))
    stream = read(*events, end, (50, DONE))
    assert [count for _, count in stream.tokens] == counts
