"""Responses from their bytes."""

from __future__ import annotations

import pytest

from tacho_runtime.probe.load.timed_client import RequestFailed, StreamConnection
from tacho_runtime.probe.load.wire import (
    HEAD_LIMIT_BYTES,
    PIECES_LIMIT,
    Framing,
    WireError,
    body_of,
    framing,
    has_last_chunk,
    is_truncated as is_cut,
)

HEAD = (
    b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream; charset=utf-8\r\nTransfer-Encoding: chunked\r\n\r\n"
)
BODY = b'data: {"n":1}\n\ndata: [DONE]\n\n'
STREAM = HEAD + b"d\r\n" + BODY[:13] + b"\r\n%x\r\n" % len(BODY[13:]) + BODY[13:] + b"\r\n0\r\n\r\n"
PIECE = b"a chunk of some length"


@pytest.mark.parametrize(
    ("raw", "body"),
    [
        (STREAM, BODY),
        (STREAM[:-9], BODY[:-2]),
        (b"HTTP/1.1 404 Not Found\r\nContent-Length: 2\r\n\r\n{}", b"{}"),
        (b"HTTP/1.1 404 Not Found\r\nContent-Length: 2\r\n\r\n{", b"{"),
        (b"HTTP/1.0 200 OK\r\nContent-Type: text/plain\r\n\r\nhello", b"hello"),
        (b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n" + STREAM, BODY),
        (b"HTTP/1.1 200 OK\r\n", b""),
    ],
    ids=["chunks", "cut", "length", "short", "until it closes", "hints before", "no head"],
)
def test_what_came_of_a_body(raw: bytes, body: bytes) -> None:
    assert body_of(raw) == body


@pytest.mark.parametrize("seen", [b"", b"e\r\ndata: [DONE]\n\n\r\n"])
async def test_a_chunk_that_ends_in_a_0_is_not_the_last(seen: bytes) -> None:
    """Servers with sse-starlette write such comments while a prompt is computed."""
    ping = b": ping - 2026-10-01 20:00:00+00:00\r\n\r\n"
    stream = StreamConnection()
    stream.data_received(HEAD + b"%x\r\n" % len(ping) + ping)
    with pytest.raises(RequestFailed, match="no full answer"):
        await stream.wait(0.01)
    stream = StreamConnection()
    stream.data_received(HEAD + seen + b"0\r\n\r\n")
    await stream.wait(0.01)


@pytest.mark.parametrize(
    ("head", "expected"),
    [
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked", (200, True, None)),
        (b"HTTP/1.1 404 Not Found\r\nCONTENT-LENGTH:\t12 \r\nX: y", (404, False, 12)),
        (b"HTTP/1.0 200\r\nX-Content-Length: 3", (200, False, None)),
        (b"HTTP/1.1 200 OK", (200, False, None)),
        (b"HTTP/1.1 204 No Content", (204, False, 0)),
        (
            b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nContent-Length: 9\r\n\r\n"
            b"HTTP/1.1 200 OK\r\nContent-Length: 4",
            (200, False, 4),
        ),
    ],
)
def test_how_the_end_of_an_answer_is_known_while_it_comes(
    head: bytes, expected: tuple[int, bool, int | None]
) -> None:
    raw = head + b"\r\n\r\n"
    status, chunked, length = expected
    assert framing(raw + b"body") == Framing(head_end=len(raw), status=status, chunked=chunked, length=length)
    assert all(framing(raw[:cut]) is None for cut in range(len(raw)))


_LONG = b"HTTP/1.1 200 OK\r\nContent-Length: " + b"9" * 5000 + b"\r\n\r\n"
"""More digits than Python reads as a number."""


@pytest.mark.parametrize("raw", [b"SSH-2.0-OpenSSH\r\n\r\n", b"HTTP/1.1 ok\r\n\r\n", b"x" * 70_000, _LONG])
def test_what_is_no_answer_is_known_while_it_comes(raw: bytes) -> None:
    with pytest.raises(WireError):
        framing(raw)


@pytest.mark.parametrize(
    "raw", [b"", b"SSH-2.0-OpenSSH\r\n\r\n", HEAD + b"xyz\r\n", HEAD + b"-5\r\n", b"HTTP/1.1 ok\r\n\r\n"]
)
def test_what_is_not_a_response_is_refused(raw: bytes) -> None:
    with pytest.raises(WireError):
        body_of(raw)


@pytest.mark.parametrize(
    ("tail", "ended"),
    [
        (b"data: {}\n\n\r\n0\r\n\r\n", True),
        (b"data: {}\n\n\r\n0\r\nServer-Timing: x\r\nETag: y\r\n\r\n", True),
        (b"data: {}\n\n\r\n00;last\r\n\r\n", True),
        (b"data: {}\n\n\r\n0\r\nServer-Timing: x\r\n", False),
        # Lines of a body that end like those of a head, a comment that ends in a 0, and a cut chunk's size.
        (b"10\r\ndata: {}\r\n\r\n", False),
        (b": ping - 00:00+00:0\r\n\r\n", False),
        (b"0\r\ndata: {}\r\n\r\n", False),
        (b"\r\n0\r\ntext\r\n\r\n", False),
    ],
)
def test_an_open_connection_has_sent_the_last_chunk_or_not(tail: bytes, ended: bool) -> None:
    assert has_last_chunk(tail) is ended


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
        (True, None, b"d\r\ndata:[DONE]\n\n\r\n", False),
        # Searched in all of a long end, it took 12 s.
        (True, None, b"data: {}\n\n\r\n0\r\n" + b"x: y\r\n" * 400 + b"\r\n", True),
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


def test_a_chunk_that_is_parsed_in_two_parts_counts_once() -> None:
    piece = b"%x\r\n" % len(PIECE) + PIECE + b"\r\n"
    whole = HEAD + PIECES_LIMIT * piece + b"0\r\n\r\n"
    assert len(whole) > 4 * HEAD_LIMIT_BYTES
    assert body_of(whole) == PIECES_LIMIT * PIECE
    with pytest.raises(WireError, match="more than 20000 chunks"):
        body_of(HEAD + piece + whole[len(HEAD) :])
