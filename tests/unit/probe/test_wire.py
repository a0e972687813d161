"""Responses from their bytes."""

from __future__ import annotations

import pytest

from tacho_runtime.probe.load.wire import (
    Framing,
    WireError,
    WireResponse,
    framing,
    is_truncated as is_cut,
    parse_response,
)

HEAD = (
    b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream; charset=utf-8\r\nTransfer-Encoding: chunked\r\n\r\n"
)
BODY = b'data: {"n":1}\n\ndata: [DONE]\n\n'
STREAM = HEAD + b"d\r\n" + BODY[:13] + b"\r\n%x\r\n" % len(BODY[13:]) + BODY[13:] + b"\r\n0\r\n\r\n"


def test_a_body_in_chunks() -> None:
    assert parse_response(STREAM) == WireResponse(200, BODY, complete=True)


def test_a_cut_stream_gives_what_came() -> None:
    assert parse_response(STREAM[:-9], ended=True) == WireResponse(200, BODY[:-2], complete=False)


def test_a_plain_body() -> None:
    raw = b"HTTP/1.1 404 Not Found\r\nContent-Length: 2\r\n\r\n{}"
    assert parse_response(raw) == WireResponse(404, b"{}", complete=True)
    assert not parse_response(raw[:-1], ended=True).complete


def test_a_body_until_the_connection_closes() -> None:
    raw = b"HTTP/1.0 200 OK\r\nContent-Type: text/plain\r\n\r\nhello"
    assert parse_response(raw, ended=True) == WireResponse(200, b"hello", complete=True)


def test_what_comes_before_the_answer_is_passed_over() -> None:
    assert parse_response(b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n" + STREAM).status == 200


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
    assert parse_response(raw).status == status


_LONG = b"HTTP/1.1 200 OK\r\nContent-Length: " + b"9" * 5000 + b"\r\n\r\n"
"""More digits than Python reads as a number."""


@pytest.mark.parametrize("raw", [b"SSH-2.0-OpenSSH\r\n\r\n", b"HTTP/1.1 ok\r\n\r\n", b"x" * 70_000, _LONG])
def test_what_is_no_answer_is_known_while_it_comes(raw: bytes) -> None:
    with pytest.raises(WireError):
        framing(raw)


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
        parse_response(raw, ended=True)


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
