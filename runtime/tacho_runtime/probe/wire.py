"""HTTP/1.1 responses from the bytes and the times they were read. Pure: runs after the measuring."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate

Read = tuple[int, bytes]
"""One read of the socket: monotonic nanoseconds when it returned, and what it brought."""

_SPLIT = b"\r\n"


class WireError(ValueError):
    """What came is not an HTTP/1.1 response."""


@dataclass(frozen=True, slots=True)
class Event:
    """One server-sent event. Events that came in one read share its stamp."""

    stamp_ns: int
    data: bytes


@dataclass(frozen=True, slots=True)
class Response:
    status: int
    body: bytes
    events: tuple[Event, ...]
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
    event_stream: bool


def framing(raw: bytes) -> Framing | None:
    """The head of ``raw``, None while it is not whole. Raises WireError."""
    end = raw.find(b"\r\n\r\n")
    if end < 0:
        if len(raw) > 65536:
            raise WireError("no end of the response's head in 64 KiB")
        return None
    start, *lines = raw[:end].split(_SPLIT)
    parts = start.split(b" ", 2)
    if not parts[0].startswith(b"HTTP/1.") or len(parts) < 2 or not parts[1].isdigit():
        raise WireError(f"not an HTTP/1.1 response: {start[:80]!r}")
    headers = {}
    for line in lines:
        name, _, value = line.partition(b":")
        headers[name.strip().lower()] = value.strip().lower()
    length = headers.get(b"content-length")
    return Framing(
        head_end=end + 4,
        status=int(parts[1]),
        chunked=headers.get(b"transfer-encoding", b"").endswith(b"chunked"),
        length=int(length) if length is not None and length.isdigit() else None,
        event_stream=headers.get(b"content-type", b"").startswith(b"text/event-stream"),
    )


def _dechunk(raw: bytes, at: int) -> tuple[bytes, list[tuple[int, int]], bool]:
    """The body, the places (body offset, raw offset) where its pieces start, and whether it ended."""
    pieces: list[bytes] = []
    places: list[tuple[int, int]] = []
    length = 0
    while (line_end := raw.find(_SPLIT, at)) >= 0:
        try:
            size = int(raw[at:line_end].split(b";")[0], 16)
        except ValueError:
            raise WireError(f"not a chunk size: {raw[at:line_end][:40]!r}") from None
        if size < 0:
            raise WireError(f"not a chunk size: {raw[at:line_end][:40]!r}")
        if size == 0:
            return b"".join(pieces), places, True
        start = line_end + 2
        piece = raw[start : start + size]
        places.append((length, start))
        pieces.append(piece)
        length += len(piece)
        at = start + size + 2
    return b"".join(pieces), places, False


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


def parse_response(reads: Sequence[Read], *, ended: bool = False) -> Response:
    """The response that ``reads`` hold; ``ended``: the peer closed after the last of them.

    An event's stamp is that of the read which brought its last byte. Raises WireError.
    """
    raw = b"".join(data for _, data in reads)
    head = framing(raw)
    if head is None:
        raise WireError("the connection ended within the response's head" if raw else "no answer")
    if head.chunked:
        body, places, complete = _dechunk(raw, head.head_end)
    else:
        body, places = raw[head.head_end :], [(0, head.head_end)]
        complete = ended if head.length is None else len(body) >= head.length
    events: tuple[Event, ...] = ()
    if head.event_stream:
        ends = list(accumulate(len(data) for _, data in reads))
        starts = [place[0] for place in places]

        def stamp(body_end: int) -> int:
            piece = places[bisect_left(starts, body_end) - 1]
            return reads[bisect_left(ends, piece[1] + body_end - piece[0])][0]

        events = tuple(Event(stamp(end), data) for end, data in event_spans(body))
    return Response(head.status, body, events, complete)
