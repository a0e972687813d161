"""Just enough of an HTTP/1.1 server: a protocol that writes to its socket at once.

A web framework costs more for each streamed chunk than the mock engine does, and its tasks and queues would
be in what the probe measures.
"""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

LONGEST_BODY_BYTES = 64 * 1024 * 1024
LONGEST_LINE_BYTES = 1024
JSON = "application/json"
EVENTS = "text/event-stream; charset=utf-8"
SERVED_BY = f"Served-By: {socket.gethostname()}"
"""Response header with the name of the pod that served a request, which a client cannot know otherwise."""


@dataclass(frozen=True, slots=True)
class Request:
    method: str
    path: str
    headers: Mapping[str, str]
    """Names in lower case."""
    body: bytes

    def json(self) -> Any:
        """The request's body as JSON. Raises ValueError."""
        return json.loads(self.body)


class Reply:
    """The answer to one request, whole or in events. ``on_close`` is called when the client hangs up."""

    __slots__ = ("_close", "_connection", "_transport", "begun", "on_close")

    def __init__(self, connection: Connection, transport: asyncio.Transport, close: bool) -> None:
        self._connection = connection
        self._transport = transport
        self._close = close
        self.begun = False
        self.on_close: Callable[[], None] = lambda: None

    def whole(
        self, body: bytes = b"", *, status: int = 200, kind: str = JSON, headers: Sequence[str] = ()
    ) -> None:
        self._transport.write(self._head(status, kind, f"Content-Length: {len(body)}", *headers) + body)
        self._over()

    def document(self, document: Any, *, status: int = 200, headers: Sequence[str] = ()) -> None:
        self.whole(json.dumps(document).encode(), status=status, headers=headers)

    def events(self, data: bytes, *, last: bool) -> None:
        """One chunk of the transfer; the first brings the head along."""
        if self._transport.is_closing():
            return
        head = b"" if self.begun else self._head(200, EVENTS, "Transfer-Encoding: chunked")
        end = b"\r\n0\r\n\r\n" if last else b"\r\n"
        self.begun = True
        self._transport.write(b"%b%x\r\n%b%b" % (head, len(data), data, end))
        if last:
            self._over()

    def drop(self) -> None:
        """The connection breaks."""
        self._transport.abort()

    def _head(self, status: int, kind: str, *headers: str) -> bytes:
        first = f"HTTP/1.1 {status} {HTTPStatus(status).phrase}"
        lines = [first, f"Content-Type: {kind}", SERVED_BY, *headers]
        lines += ["Connection: close"] if self._close else []
        return "\r\n".join([*lines, "", ""]).encode()

    def _over(self) -> None:
        self.on_close = lambda: None
        self._connection.answered(close=self._close)


class Connection(asyncio.Protocol):
    """One client's connection; its requests are answered one after the other."""

    def __init__(self, handle: Callable[[Request, Reply], None]) -> None:
        self._handle = handle
        self._buffer = bytearray()
        self._reply: Reply | None = None
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        transport.set_write_buffer_limits(high=LONGEST_BODY_BYTES)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        if self._reply is None:
            self._next()

    def connection_lost(self, error: Exception | None) -> None:
        self._transport = None
        if self._reply is not None:
            self._reply.on_close()

    def answered(self, *, close: bool) -> None:
        self._reply = None
        if self._transport is None:
            return
        if close:
            self._transport.close()
        elif self._buffer:
            asyncio.get_running_loop().call_soon(self._next)

    def _next(self) -> None:
        transport = self._transport
        if transport is None or transport.is_closing() or self._reply is not None:
            return None
        head, separator, _ = self._buffer.partition(b"\r\n\r\n")
        if not separator:
            return None
        first, *lines = head.decode("latin-1").split("\r\n")
        fields = (line.partition(":") for line in lines)
        headers = {name.strip().lower(): text.strip() for name, _, text in fields}
        method, target, _ = [*first.split(" "), "", ""][:3]
        length = headers.get("content-length", "0")
        close = headers.get("connection", "").lower() == "close"
        begins = len(head) + 4
        try:
            if headers.get("transfer-encoding", "").lower() == "chunked":
                found = chunked(self._buffer, begins)
            else:
                found = counted(self._buffer, begins, length)
        except ValueError:
            self._reply = Reply(self, transport, True)
            return self._reply.whole(status=400)
        if found is None:
            if headers.pop("expect", "") and len(self._buffer) == begins:
                transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            return None
        body, whole = found
        del self._buffer[:whole]
        self._reply = Reply(self, transport, close)
        self._handle(Request(method, target.partition("?")[0], headers, body), self._reply)
        return None


def counted(buffer: bytearray, begins: int, length: str) -> tuple[bytes, int] | None:
    """(body, where it ends) by its Content-Length; None while it is not all there. Raises ValueError."""
    if not length.isdigit() or int(length) > LONGEST_BODY_BYTES:
        raise ValueError(f"not a length that is taken: {length}")
    ends = begins + int(length)
    return (bytes(buffer[begins:ends]), ends) if len(buffer) >= ends else None


def chunked(buffer: bytearray, begins: int) -> tuple[bytes, int] | None:
    """(body, where it ends) of a body in chunks, as the API server's proxy forwards every body; None while it
    is not all there. Raises ValueError."""
    parts: list[bytes] = []
    place = begins
    while True:
        ends = buffer.find(b"\r\n", place)
        if ends < 0:
            if len(buffer) - place > LONGEST_LINE_BYTES:
                raise ValueError("a chunk without a length")
            return None
        size = int(buffer[place:ends].partition(b";")[0], 16)
        if size < 0 or size + sum(map(len, parts)) > LONGEST_BODY_BYTES:
            raise ValueError(f"not a length that is taken: {size}")
        place = ends + 2
        if len(buffer) < place + size + 2:
            return None
        if buffer[place + size : place + size + 2] != b"\r\n":
            raise ValueError("a chunk that does not end, or trailers")
        parts.append(bytes(buffer[place : place + size]))
        place += size + 2
        if size == 0:
            return b"".join(parts), place
