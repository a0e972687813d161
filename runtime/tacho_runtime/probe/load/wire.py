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
INTERIM = (b"100", b"102", b"103")
"""HTTP statuses of responses that another one follows."""
_STATUS_LINE = re.compile(rb"HTTP/1\.\d (\d{3})\b")
_LENGTH = re.compile(rb"\r\ncontent-length:[ \t]*(\d+)[ \t]*\r\n")
_RETRY_AFTER = re.compile(rb"\r\nretry-after:[ \t]*(\d{1,9})[ \t]*\r\n")
_HEX = re.compile(rb"[0-9a-fA-F]{1,16}")
_NO_MORE = re.compile(rb"\n\r?\n")
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


class ChunkedBody:
    """Takes the content out of the chunks of a body, as it arrives."""

    __slots__ = ("_left", "_line", "_trailers", "ended")

    def __init__(self) -> None:
        self.ended = self._trailers = False
        self._left = 0
        """Bytes that are still to come of the present chunk."""
        self._line = b""
        """What has come of the line with the next chunk's size, or of the trailers."""

    def content(self, data: bytes) -> bytes:
        """The content in the next bytes of the body. Raises WireError."""
        pieces: list[bytes] = []
        if not self._line and not self._left:
            data = _whole_chunks(data, pieces)
            if not data:  # mostly
                return pieces[0] if len(pieces) == 1 else b"".join(pieces)
        data, at = self._line + data, 0
        while not self._trailers:
            if self._left:
                pieces.append(data[at : at + self._left])
                at += len(pieces[-1])
                self._left -= len(pieces[-1])
            begin = at + 2 if data.startswith(b"\r\n", at) else at  # the end of a chunk
            if (end := data.find(b"\n", begin)) < 0:
                break
            self._left, at = _size(data[begin:end]), end + 1
            if not self._left:
                self._trailers, at = True, end  # with the line's end
        self._line = data[at:]
        if len(self._line) > HEAD_LIMIT_BYTES:
            raise WireError("a chunk's size or the trailers have no end")
        self.ended = self._trailers and _NO_MORE.search(self._line) is not None
        return b"".join(pieces)


def _whole_chunks(data: bytes, pieces: list[bytes]) -> bytes:
    """Adds the content of the chunks at the beginning of ``data`` to ``pieces``; returns the rest."""
    at = 0
    while (end := data.find(b"\r\n", at)) > at and _HEX.fullmatch(data, at, end):
        stop = end + 2 + int(data[at:end], 16)
        if stop == end + 2 or not data.startswith(b"\r\n", stop):
            break  # the last one, or one of which a part is to come
        pieces.append(data[end + 2 : stop])
        at = stop + 2
    return data[at:]


def _size(line: bytes) -> int:
    """The size in the line before a chunk. Raises WireError, without its text, which may be a secret's."""
    size = line.partition(b";")[0].strip()
    if not _HEX.fullmatch(size):
        raise WireError("not the size of a chunk")
    return int(size, 16)


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
