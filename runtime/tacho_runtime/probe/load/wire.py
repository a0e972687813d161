"""HTTP/1.1 responses from the bytes and the times they were read. Pure: runs after the measuring.

h11 takes the framing apart, a read at a time, so that each piece of a body keeps the stamp of the read that
brought it.
"""

from __future__ import annotations

import contextlib
import re
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import h11

Read = tuple[int, bytes]
"""One read of the socket: monotonic nanoseconds when it returned, and what it brought."""

HEAD_LIMIT_BYTES = 64 * 1024
LENGTH_LIMIT_DIGITS = 18
_STATUS_LINE = re.compile(rb"HTTP/1\.\d (\d{3})\b")
_LENGTH = re.compile(rb"\r\ncontent-length:[ \t]*(\d+)[ \t]*\r\n")
_RETRY_AFTER = re.compile(rb"\r\nretry-after:[ \t]*(\d{1,9})[ \t]*\r\n")
_LAST_CHUNK = re.compile(rb"(?:^|\r\n)0+[ \t]*(?:;[^\r\n]*)?\r\n(?:[^\r\n]+\r\n)*\r\n$")
"""Pattern of the last chunk of a chunked body, with optional extensions and trailers."""
_REQUEST = h11.Request(method="GET", target="/", headers=[("Host", "engine")])
"""h11 reads a response only to a request. Ours has no say in how the answer is framed."""


class WireError(ValueError):
    """Received bytes that are not an HTTP/1.1 response."""


@dataclass(frozen=True, slots=True)
class StreamEvent:
    """One server-sent event. Events that came in one read share its stamp."""

    stamp_ns: int
    data: bytes


@dataclass(frozen=True, slots=True)
class WireResponse:
    status: int
    body: bytes
    events: tuple[StreamEvent, ...]
    """Empty unless the body is an event stream."""
    complete: bool
    """False when the connection ended, or was closed here, before the body did."""


@dataclass(frozen=True, slots=True)
class Framing:
    """How the end of a body is known."""

    head_end: int
    status: int
    chunked: bool
    length: int | None


def _connection() -> h11.Connection:
    connection = h11.Connection(h11.CLIENT, max_incomplete_event_size=HEAD_LIMIT_BYTES)
    connection.send(_REQUEST)
    connection.send(h11.EndOfMessage())
    return connection


def _events(connection: h11.Connection, data: bytes) -> Iterator[h11.Event]:
    """What ``data`` completes; b"" says that the peer has closed. Raises WireError."""
    try:
        connection.receive_data(data)
        while isinstance(event := connection.next_event(), h11.Event):
            yield event
            if isinstance(event, h11.EndOfMessage):
                return
    except h11.RemoteProtocolError as error:
        raise WireError(f"not an HTTP/1.1 response: {error}") from None


def framing(raw: bytes) -> Framing | None:
    """The head of ``raw``, None while it is not whole. Raises WireError.

    Runs while other streams' reads are waiting to be stamped, so it takes no more than it must: a few
    microseconds, where h11 takes fifty.
    """
    end = raw.find(b"\r\n\r\n")
    if end < 0:
        if len(raw) > HEAD_LIMIT_BYTES:
            raise WireError(f"no end of the response's head in {HEAD_LIMIT_BYTES // 1024} KiB")
        return None
    match = _STATUS_LINE.match(raw)
    if match is None:
        raise WireError(f"not an HTTP/1.1 response: {raw[:80]!r}")
    head = raw[: end + 2].lower()
    length = _LENGTH.search(head)
    if length is not None and len(length[1]) > LENGTH_LIMIT_DIGITS:
        raise WireError("the response claims a length that no body has")
    return Framing(
        head_end=end + 4,
        status=int(match[1]),
        chunked=b"\r\ntransfer-encoding:" in head,
        length=None if length is None else int(length[1]),
    )


def retry_after_seconds(raw: bytes) -> float | None:
    """What a response asks to be waited; None where it does not say, or gives a date."""
    match = _RETRY_AFTER.search(raw[: raw.find(b"\r\n\r\n") + 2].lower())
    return float(match[1]) if match else None


def is_truncated(head: Framing, tail: bytes) -> bool:
    """Whether an answer whose connection has ended, and that was not whole by then, lacks something.
    ``tail``: its last bytes. A stream that says of itself that it is done is whole."""
    told = head.chunked or head.length is not None
    return told and not (head.chunked and (b"data: [DONE]" in tail or _LAST_CHUNK.search(tail)))


def _find(body: bytes, separator: bytes, at: int, nowhere: int) -> int:
    found = body.find(separator, at)
    return found if found >= 0 else nowhere


def event_spans(body: bytes) -> Iterator[tuple[int, bytes]]:
    """(offset one past the event's last byte, its data) of each whole event. CRLF and LF both end lines."""
    at, nowhere = 0, len(body)
    # Each is looked for again only once it is behind: a separator that the engine does not use would be
    # searched to the end of the body for every event, seconds for a few thousand tokens.
    line_feed = carriage = -1
    while at < len(body):
        if line_feed < at:
            line_feed = _find(body, b"\n\n", at, nowhere)
        if carriage < at:
            carriage = _find(body, b"\r\n\r\n", at, nowhere)
        end, width = (line_feed, 2) if line_feed < carriage else (carriage, 4)
        if end == nowhere:
            return
        lines = [line for line in body[at:end].splitlines() if line.startswith(b"data:")]
        if lines:
            yield end + width, b"\n".join(line[5:].strip() for line in lines)
        at = end + width


def parse_response(reads: Sequence[Read], *, ended: bool = False) -> WireResponse:
    """The response that ``reads`` hold; ``ended``: the peer closed after the last of them.

    An event's stamp is that of the read which brought its last byte. Raises WireError.
    """
    connection = _connection()
    head: h11.Response | None = None
    pieces: list[bytes] = []
    ends: list[int] = []
    """How long the body was after each piece."""
    stamps: list[int] = []
    length, complete = 0, False
    for stamp_ns, data in reads:
        for event in _events(connection, data):
            if isinstance(event, h11.Data):
                length += len(event.data)
                pieces.append(event.data)
                ends.append(length)
                stamps.append(stamp_ns)
            elif isinstance(event, h11.Response):
                head = event
            elif isinstance(event, h11.EndOfMessage):
                complete = True
        if complete:
            break
    if head is None:
        raise WireError("the connection ended within the response's head" if reads else "no answer")
    if ended and not complete:
        with contextlib.suppress(WireError):  # the peer hung up in the middle
            complete = any(isinstance(event, h11.EndOfMessage) for event in _events(connection, b""))
    body = b"".join(pieces)
    events: tuple[StreamEvent, ...] = ()
    content_type = dict(head.headers).get(b"content-type", b"")
    if content_type.lower().startswith(b"text/event-stream"):
        events = tuple(StreamEvent(stamps[bisect_left(ends, end)], data) for end, data in event_spans(body))
    return WireResponse(head.status_code, body, events, complete)
