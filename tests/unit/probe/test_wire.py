"""Responses from reads, however the network cut them."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, strategies as st

from tacho_runtime.probe.load.wire import (
    Framing,
    Read,
    StreamEvent,
    WireError,
    WireResponse,
    event_spans,
    framing,
    is_truncated as is_cut,
    parse_response,
)

EVENTS = [b'{"n":1}', b'{"n":"\xe6\x9c\xac"}', b"[DONE]"]
HEAD = (
    b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream; charset=utf-8\r\nTransfer-Encoding: chunked\r\n\r\n"
)


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(data), data)


def stream(*, separator: bytes = b"\n\n") -> bytes:
    return HEAD + b"".join(chunk(b"data: " + event + separator) for event in EVENTS) + b"0\r\n\r\n"


def cut(raw: bytes, places: list[int]) -> list[Read]:
    """``raw`` in reads that end at ``places``; the n-th read has stamp n."""
    edges = sorted({0, len(raw), *(place % len(raw) for place in places)})
    return [(number, raw[low:high]) for number, (low, high) in enumerate(pairwise(edges))]


@given(
    st.lists(st.integers(min_value=0, max_value=10_000), max_size=12), st.sampled_from([b"\n\n", b"\r\n\r\n"])
)
def test_events_do_not_depend_on_where_reads_end(places: list[int], separator: bytes) -> None:
    raw = stream(separator=separator)
    reads = cut(raw, places)
    response = parse_response(reads)
    assert response.complete
    assert [event.data for event in response.events] == EVENTS
    for event in response.events:
        end = raw.index(event.data) + len(event.data) + len(separator)
        brought = next(stamp for stamp, _ in reads if sum(len(data) for _, data in reads[: stamp + 1]) >= end)
        assert event.stamp_ns == brought


def test_several_events_in_one_read_share_its_stamp() -> None:
    response = parse_response([(5, HEAD), (9, stream()[len(HEAD) :])])
    assert response.events == tuple(StreamEvent(9, data) for data in EVENTS)


def test_one_event_over_several_chunks() -> None:
    raw = HEAD + chunk(b"data: {") + chunk(b"}\n") + chunk(b"\ndata: [DO") + chunk(b"NE]\n\n") + b"0\r\n\r\n"
    assert [event.data for event in parse_response([(1, raw)]).events] == [b"{}", b"[DONE]"]


def test_a_cut_stream_gives_what_came() -> None:
    response = parse_response([(1, stream()[:-20])], ended=True)
    assert not response.complete
    assert [event.data for event in response.events] == EVENTS[:2]


def test_a_plain_body() -> None:
    raw = b"HTTP/1.1 404 Not Found\r\nContent-Length: 2\r\n\r\n{}"
    response = parse_response([(1, raw)])
    assert (response.status, response.body, response.events, response.complete) == (404, b"{}", (), True)
    assert not parse_response([(1, raw[:-1])], ended=True).complete


def test_a_body_until_the_connection_closes() -> None:
    raw = b"HTTP/1.0 200 OK\r\nContent-Type: text/event-stream\r\n\r\ndata: {}\n\n"
    assert parse_response([(3, raw)], ended=True).events == (StreamEvent(3, b"{}"),)


def test_a_body_of_known_length_keeps_the_stamps_of_its_reads() -> None:
    body = b"data: 1\n\ndata: 2\n\n"
    head = b"HTTP/1.1 200 OK\r\ncontent-type: Text/Event-Stream\r\ncontent-length: %d\r\n\r\n" % len(body)
    response = parse_response([(1, head[:9]), (2, head[9:] + body[:4]), (3, body[4:12]), (4, body[12:])])
    assert response == WireResponse(200, body, (StreamEvent(3, b"1"), StreamEvent(4, b"2")), complete=True)


def test_what_comes_before_the_answer_is_passed_over() -> None:
    assert parse_response([(1, b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n"), (2, stream())]).status == 200


@pytest.mark.parametrize(
    ("head", "expected"),
    [
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked", (200, True, None)),
        (b"HTTP/1.1 404 Not Found\r\nCONTENT-LENGTH:\t12 \r\nX: y", (404, False, 12)),
        (b"HTTP/1.0 200\r\nX-Content-Length: 3", (200, False, None)),
        (b"HTTP/1.1 200 OK", (200, False, None)),
    ],
)
def test_how_the_end_of_an_answer_is_known_while_it_comes(
    head: bytes, expected: tuple[int, bool, int | None]
) -> None:
    raw = head + b"\r\n\r\n"
    status, chunked, length = expected
    assert framing(raw + b"body") == Framing(head_end=len(raw), status=status, chunked=chunked, length=length)
    assert all(framing(raw[:cut]) is None for cut in range(len(raw)))
    assert parse_response([(1, raw)]).status == status


_LONG = b"HTTP/1.1 200 OK\r\nContent-Length: " + b"9" * 5000 + b"\r\n\r\n"
"""More digits than Python reads as a number."""


@pytest.mark.parametrize("raw", [b"SSH-2.0-OpenSSH\r\n\r\n", b"HTTP/1.1 ok\r\n\r\n", b"x" * 70_000, _LONG])
def test_what_is_no_answer_is_known_while_it_comes(raw: bytes) -> None:
    with pytest.raises(WireError):
        framing(raw)


class _Searched(bytes):
    """Counts the bytes that are looked through."""

    scanned = 0

    def find(self, *wanted: Any) -> int:
        found = super().find(*wanted)
        self.scanned += (found if found >= 0 else len(self)) - wanted[1]
        return found


@pytest.mark.parametrize("separator", [b"\n\n", b"\r\n\r\n"])
def test_a_long_stream_is_searched_once(separator: bytes) -> None:
    body = _Searched((b"data: {}" + separator) * 1000)
    assert len(list(event_spans(body))) == 1000
    assert body.scanned <= 2 * len(body)


def test_both_line_ends_in_one_stream() -> None:
    body = b"data: 1\n\ndata: 2\r\n\r\ndata: 3\n\ndata: 4"
    assert list(event_spans(body)) == [(9, b"1"), (20, b"2"), (29, b"3")]


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"HTTP/1.1 200 OK\r\n",
        b"SSH-2.0-OpenSSH\r\n\r\n",
        HEAD + b"xyz\r\n",
        HEAD + b"-5\r\n",
        b"HTTP/1.1 ok\r\n\r\n",
    ],
)
def test_what_is_not_a_response_is_refused(raw: bytes) -> None:
    with pytest.raises(WireError):
        parse_response([(1, raw)] if raw else [], ended=True)


@pytest.mark.parametrize(
    ("chunked", "length", "tail", "lacking"),
    [
        (True, None, b"data: {}\n\n\r\n", True),
        (True, None, b'data: {"text":"0"}\n\n\r\n1', True),
        (True, None, b"data: {}\n\n\r\n0\r\n\r\n", False),
        # A trailer, an extension, and a server that has said all and does not end its transfer.
        (True, None, b"data: {}\n\n\r\n0\r\nServer-Timing: x\r\n\r\n", False),
        (True, None, b"data: {}\n\n\r\n00;last\r\n\r\n", False),
        (True, None, b"e\r\ndata: [DONE]\n\n\r\n", False),
        (False, 100, b'{"choices": [', True),
        # Told by nothing but the end of the connection.
        (False, None, b"data: {}\n\n", False),
    ],
)
def test_an_answer_whose_connection_ended_lacks_something_or_not(
    chunked: bool, length: int | None, tail: bytes, lacking: bool
) -> None:
    head = Framing(head_end=10, status=200, chunked=chunked, length=length)
    assert is_cut(head, tail) is lacking
