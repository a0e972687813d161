"""Parses HTTP/1.1 responses from bytes: the framing while they arrive, the rest afterwards with h11. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass

import h11

HEAD_LIMIT_BYTES = 64 * 1024
LENGTH_LIMIT_DIGITS = 18
WITHOUT_BODY = (204, 304)
"""HTTP statuses of responses without a body, whose connection a server may leave open."""
PIECES_LIMIT = 20_000
"""Most chunks of a body. h11 takes 15 us for each, and 4 MiB of one byte each took 10 s."""
CLOSING_BYTES = 2048
"""Bytes at the end of a body in which its last chunk is searched: it may begin at each of their lines."""
LAST_CHUNK = b"\r\n0\r\n\r\n"
"""End of a chunked answer, after a line's end: a comment ``: ping - ...+00:00`` ends in a 0, too."""
INTERIM = (b"100", b"102", b"103")
"""HTTP statuses of responses that another one follows."""
_STATUS_LINE = re.compile(rb"HTTP/1\.\d (\d{3})\b")
_LENGTH = re.compile(rb"\r\ncontent-length:[ \t]*(\d+)[ \t]*\r\n")
_RETRY_AFTER = re.compile(rb"\r\nretry-after:[ \t]*(\d{1,9})[ \t]*\r\n")
_LAST_CHUNK = re.compile(rb"(?:^|\r\n)0+[ \t]*(?:;[^\r\n]*)?\r\n(?:[^\r\n]+\r\n)*\r\n$")
"""Pattern of the last chunk of a chunked body, with optional extensions and trailers."""
_DONE = re.compile(rb"data:[ \t]*\[DONE\]")
_WITH_TRAILERS = re.compile(rb"\r\n0+[ \t]*(?:;[^\r\n]*)?\r\n(?:[^\r\n:]+:[^\r\n]*\r\n)*\r\n$")
"""The same where a line begins for certain: the connection is still open, and more may come."""
_REQUEST = h11.Request(method="GET", target="/", headers=[("Host", "engine")])
"""A request for h11, which parses a response only after one. It does not affect the result."""


class WireError(ValueError):
    """Received bytes that are not an HTTP/1.1 response."""


@dataclass(frozen=True, slots=True)
class Framing:
    """How the end of a response's body is recognized: its length, chunks, or the end of the connection."""

    head_end: int
    status: int
    chunked: bool
    length: int | None


def framing(raw: bytes) -> Framing | None:
    """The framing in the head of ``raw``; None while the head is incomplete. Raises WireError.

    Runs while reads of other streams wait for their time stamp, so it takes a few microseconds only, where
    h11 takes fifty.
    """
    begin, match = 0, None
    while match is None:
        end = raw.find(b"\r\n\r\n", begin)
        if end < 0:
            if len(raw) > HEAD_LIMIT_BYTES:
                raise WireError(f"no end of the response's head in {HEAD_LIMIT_BYTES // 1024} KiB")
            return None
        match = _STATUS_LINE.match(raw, begin)
        if match is None:
            raise WireError(f"not an HTTP/1.1 response: {raw[begin : begin + 80]!r}")
        if match[1] in INTERIM:
            begin, match = end + 4, None
    head = raw[begin : end + 2].lower()
    length = _LENGTH.search(head)
    if length is not None and len(length[1]) > LENGTH_LIMIT_DIGITS:
        raise WireError("the response's Content-Length is not a possible length")
    status, stated = int(match[1]), None if length is None else int(length[1])
    return Framing(
        head_end=end + 4,
        status=status,
        chunked=b"\r\ntransfer-encoding:" in head,
        length=0 if status in WITHOUT_BODY else stated,
    )


def retry_after_seconds(raw: bytes) -> float | None:
    """Seconds in a response's Retry-After; None where there is none, or it is a date."""
    head = framing(raw)
    match = _RETRY_AFTER.search(raw[: head.head_end - 2].lower()) if head else None
    return float(match[1]) if match else None


def has_last_chunk(tail: bytes) -> bool:
    """Whether a chunked answer, whose last bytes so far are ``tail``, has ended, also with trailers."""
    if not tail.endswith(b"\r\n\r\n"):
        return False  # most reads of a stream
    return tail.endswith(LAST_CHUNK) or _WITH_TRAILERS.search(tail[-CLOSING_BYTES:]) is not None


def is_truncated(head: Framing, tail: bytes) -> bool:
    """Whether an answer lacks its end, although its connection has ended. ``tail``: its last bytes.

    A stream with its final ``[DONE]`` event is complete.
    """
    has_length = head.chunked or head.length is not None
    return has_length and not (
        head.chunked and (_DONE.search(tail) or _LAST_CHUNK.search(tail[-CLOSING_BYTES:]))
    )


def body_of(raw: bytes) -> bytes:
    """The bytes of the body in ``raw``, complete or not. Raises WireError."""
    connection = h11.Connection(h11.CLIENT, max_incomplete_event_size=HEAD_LIMIT_BYTES)
    connection.send(_REQUEST)
    connection.send(h11.EndOfMessage())
    pieces: list[bytes] = []
    chunks = 0
    try:
        # In parts: h11 limits what is incomplete, and 4 MiB of trailers at once took 4 s.
        for begin in range(0, max(1, len(raw)), HEAD_LIMIT_BYTES):
            connection.receive_data(raw[begin : begin + HEAD_LIMIT_BYTES])
            while isinstance(event := connection.next_event(), h11.Event):
                if isinstance(event, h11.EndOfMessage):
                    return b"".join(pieces)
                if isinstance(event, h11.Data):
                    pieces.append(event.data)
                    chunks += event.chunk_end  # a part may end within a chunk
                    if chunks > PIECES_LIMIT:
                        raise WireError(f"the answer comes in more than {PIECES_LIMIT} chunks")
    except h11.RemoteProtocolError as error:
        raise WireError(f"not an HTTP/1.1 response: {error}") from None
    return b"".join(pieces)
