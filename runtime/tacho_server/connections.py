"""Limits for connections: what a client sends at once, sends never, or does not read."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import Counter
from typing import Any, ClassVar

import h11
from h11._receivebuffer import ReceiveBuffer
from uvicorn import Config
from uvicorn.protocols.http.h11_impl import H11Protocol

HEAD_SECONDS = 20.0
"""Seconds in which a request's head must arrive, from the connection or the last answer on."""
UNREAD_SECONDS = 60.0
"""Seconds for which a client may leave an answer unread. Until then it keeps its place among the requests."""
LEAST_READ_BYTES = 64 * 1024
"""Bytes that must be read in that time, so that slow readers of long answers are not cut off."""


HEAD_LIMIT_BYTES = 16 * 1024
"""Longest head of a request in bytes."""
FREE_PIECES = 200
"""Pieces of a request's body that may be of any size; each takes the event loop about 15 us."""
LEAST_PIECE_BYTES = 256
"""Least mean size in bytes of the further pieces."""
HEAD_LINES = 128
"""Most lines of a request's head, and of what follows a body in chunks. 3,200 headers take the event loop
4 ms and 500 KiB, so that a thousand requests stopped the others and filled the memory.
"""


class HeaderLineLimit(ReceiveBuffer):
    """What a connection received. It refuses a head of many lines before they are parsed.

    h11 has no public limit for lines; its version is locked.
    """

    def maybe_extract_lines(self) -> list[bytearray] | None:
        *lines, _rest = bytes(self._data[:HEAD_LIMIT_BYTES]).split(b"\n", HEAD_LINES + 1)
        if len(lines) > HEAD_LINES and not any(line in (b"", b"\r") for line in lines):
            raise h11.RemoteProtocolError(f"more than {HEAD_LINES} lines")
        return super().maybe_extract_lines()


class BoundedPieces(h11.Connection):
    """A server's connection that refuses a head of many lines, and a body in very many small pieces.

    A chunk of one byte takes as long as one of 64 KiB. Eight clients that sent such chunks kept the others
    waiting for 25 s.
    """

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._receive_buffer = HeaderLineLimit()

    _pieces = _bytes = 0

    def next_event(self) -> Any:
        event = super().next_event()
        if isinstance(event, h11.Request):
            self._pieces = self._bytes = 0
        elif isinstance(event, h11.Data):
            self._pieces, self._bytes = self._pieces + 1, self._bytes + len(event.data)
            if self._pieces > FREE_PIECES + self._bytes / LEAST_PIECE_BYTES:
                raise h11.RemoteProtocolError("the body comes in too small pieces")
        return event


ARRIVING_LIMIT = 512
"""Most connections without a whole request, or with an unread answer that has no place.

A process may have no more than 1,024 files. Beyond it the oldest one that was answered and sent nothing since
is closed, else the oldest of the address that has most.
"""
READ_BYTES = 16 * 1024
"""Bytes that are read of a connection before others have their turn. asyncio's 256 KiB, of each of a
thousand connections, stopped the others for seconds, and filled the memory.
"""
CONNECTION = "connection"
"""Name by which a request's state has its connection."""


class BoundedProtocol(H11Protocol, asyncio.BufferedProtocol):
    """uvicorn's HTTP protocol with time limits for a connection's first request head, and for a head that
    arrives byte by byte. Bodies come in BoundedPieces. Whole requests are limited by their places.
    """

    _received: ClassVar = memoryview(bytearray(READ_BYTES))
    """Where each connection's bytes are put by turns."""

    _arriving: ClassVar[dict[BoundedProtocol, None]] = {}
    """Connections without a whole request, or with an unread answer that has no place, oldest first."""
    _idle: ClassVar[dict[BoundedProtocol, None]] = {}
    """Connections that were answered and have sent nothing since, oldest first. Clients expect that such ones
    are closed, and send their next request by another.
    """

    def __init__(self, config: Config, *arguments: Any, **options: Any) -> None:
        super().__init__(config, *arguments, **options)
        self.conn = BoundedPieces(h11.SERVER, HEAD_LIMIT_BYTES)
        self.app_state = {**self.app_state, CONNECTION: self}
        self._unread_since: float | None = None
        self.has_place = False
        self.turn: asyncio.Future[bool] | None = None

    _head: asyncio.TimerHandle | None = None
    _unread: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # TCP alone
        super().connection_made(transport)
        self._head = self.loop.call_later(HEAD_SECONDS, transport.abort)
        self._arriving[self] = None
        if len(self._idle) + len(self._arriving) > ARRIVING_LIMIT:
            connections = self._idle or self._arriving
            oldest = next(iter(self._idle)) if self._idle else self._oldest_of_most()
            del connections[oldest]
            oldest.transport.abort()

    def _oldest_of_most(self) -> BoundedProtocol:
        """The oldest arriving connection of the address that has most. A thousand that one client opens at
        once would else end those of others before a byte of them is read."""
        shares = Counter(one.address for one in self._arriving)
        most = max(shares, key=lambda address: shares[address])
        return next(one for one in self._arriving if one.address == most)

    @property
    def address(self) -> str:
        return self.client[0] if self.client else ""

    def get_buffer(self, _sizehint: int) -> memoryview:
        return self._received

    def buffer_updated(self, nbytes: int) -> None:
        self.data_received(bytes(self._received[:nbytes]))

    def data_received(self, data: bytes) -> None:
        if self in self._idle:
            del self._idle[self]
            self._arriving[self] = None
        super().data_received(data)

    def handle_events(self) -> None:
        super().handle_events()
        if self.cycle is not None and not (self.cycle.more_body or self.cycle.response_complete):
            if self._unread_since is None:  # else it is the next request of a client that reads nothing
                self._arriving.pop(self, None)
            self._idle.pop(self, None)
        if self._head is not None and self.cycle is not None and not self.cycle.response_complete:
            self._head.cancel()
            self._head = None

    def on_response_complete(self) -> None:
        closing, unread = self.transport.is_closing(), bool(self.transport.get_write_buffer_size())
        if self._head is None and (unread or not closing):
            # A connection that is closed stays until its client has read the rest.
            seconds = UNREAD_SECONDS if closing else HEAD_SECONDS
            self._head = self.loop.call_later(seconds, self.transport.abort)
        if unread or not closing:
            (self._arriving if unread else self._idle)[self] = None
        super().on_response_complete()

    def send_400_response(self, msg: str) -> None:
        # h11 refuses it where the request is answered already, and its text where the method is HEAD.
        with contextlib.suppress(h11.LocalProtocolError):
            super().send_400_response(msg)
        self.transport.close()

    def shutdown(self) -> None:
        # h11 refuses it after such an error, for as long as former answers are not read. Raised here, it
        # would end the process, in the middle of the answers to others.
        with contextlib.suppress(h11.LocalProtocolError):
            super().shutdown()

    def pause_writing(self) -> None:
        super().pause_writing()
        self._unread_since = time.monotonic()
        if not self.has_place:  # such as a refusal, or /metrics: nothing else bounds their number
            self._arriving[self] = None
        self._watch_reading()

    @property
    def unread_seconds(self) -> float:
        """Seconds for which the client has read too little of its answers; 0 while nothing waits for it."""
        return 0.0 if self._unread_since is None else time.monotonic() - self._unread_since

    def end(self) -> None:
        """Ends the connection at once."""
        self.transport.abort()

    def _watch_reading(self) -> None:
        left = self.transport.get_write_buffer_size()
        self._unread = self.loop.call_later(UNREAD_SECONDS, self._check_reading, left)

    def _check_reading(self, before_bytes: int) -> None:
        if before_bytes - self.transport.get_write_buffer_size() < LEAST_READ_BYTES:
            self.transport.abort()
        else:
            self._watch_reading()

    def resume_writing(self) -> None:
        super().resume_writing()
        self._unread_since = None
        if self.cycle is not None and not (self.cycle.more_body or self.cycle.response_complete):
            self._arriving.pop(self, None)
        if self._unread is not None:
            self._unread.cancel()

    def connection_lost(self, exc: Exception | None) -> None:
        self._arriving.pop(self, None)
        self._idle.pop(self, None)
        if self.turn is not None and not self.turn.done():
            self.turn.set_result(False)
        for timer in (self._head, self._unread):
            if timer is not None:
                timer.cancel()
        super().connection_lost(exc)
