"""Limits for request bodies: their size, their time, and the memory that they take once parsed."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator

from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

FLOOR_BYTES = 512 * 1024
"""Request body in bytes that is accepted for any model: several prompts, tools, metadata."""
BODY_SECONDS = 60.0
"""Seconds in which a request's body must arrive, so that slow clients cannot fill the memory."""
ENDING = (408, 413)
"""HTTP statuses after which the connection is closed, as the rest of the body is not read."""
BYTES_PER_TOKEN = 64
"""Bytes of a request body per token of context. Text has about 4 bytes per token (24 with every character
escaped), token ids up to 8.
"""

TEXT_FACTOR = 5
"""Bytes of memory per byte of a body: the body itself, and its text with up to four bytes a character."""
PART_BYTES = {b"{": 1024, b"[": 192, b",": 96}
"""Bytes of memory per object, list and further value of a parsed body. Measured: 1,000 for a chat message of
two texts, 135 for an empty list, 175 for a list of one number.
"""
CHUNK_BYTES = 64 * 1024
"""Bytes of a body that are looked at together, so that this takes no memory of its own."""
FLOOR_MEMORY_BYTES = 16 * 1024**2
MEMORY_PER_TOKEN = 512
"""Bytes of memory per token of context that one parsed body may take, at least FLOOR_MEMORY_BYTES. A token id
counts as about 130.
"""
BODIES = 4
"""Number of the largest bodies that are kept at a time, from their first byte to the end of the answer."""
BODIES_MEMORY_BYTES = 512 * 1024**2
"""Most memory of all bodies; with a context of a million tokens, of the largest one."""
SMALL_MEMORY_BYTES = 64 * 1024
"""Memory up to which a body is accepted, however many others are kept."""


def body_limit_bytes(max_model_len: int) -> int:
    """Maximum bytes of a request body, for a model of ``max_model_len`` tokens."""
    return max(FLOOR_BYTES, BYTES_PER_TOKEN * max_model_len)


def memory_limit_bytes(max_model_len: int) -> int:
    """Maximum bytes of memory of one parsed request body, for a model of ``max_model_len`` tokens."""
    return max(FLOOR_MEMORY_BYTES, MEMORY_PER_TOKEN * max_model_len)


def memory_bytes(body: bytes) -> int:
    """Bytes of memory that the JSON ``body`` takes at most, parsed and validated."""
    counts = dict.fromkeys(PART_BYTES, 0)
    for outside in _outside_strings(body):
        for part in counts:
            counts[part] += outside.count(part)
    return TEXT_FACTOR * len(body) + sum(PART_BYTES[part] * count for part, count in counts.items())


def _outside_strings(body: bytes) -> Iterator[bytes]:
    """The bytes of a JSON document that are not in its strings."""
    text, inside = body.replace(rb"\\", b"").replace(rb"\"", b""), 0
    for begin in range(0, len(text), CHUNK_BYTES):
        pieces = text[begin : begin + CHUNK_BYTES].split(b'"')
        yield b"".join(pieces[inside::2])
        inside ^= (len(pieces) - 1) % 2


class _Held:
    """A request's body: its memory, and the task that reads it while it arrives."""

    def __init__(self) -> None:
        self.memory_bytes = 0
        self.reading: asyncio.Task[bytes | None] | None = None


class BodyLimit:
    """Middleware that limits request bodies. ``max_model_len``: tokens of context; 0: not known yet.

    413 above ``body_limit_bytes`` or ``memory_limit_bytes``, 408 after BODY_SECONDS, 400 for UTF-16.
    429 where all bodies together would take more memory than BODIES of the largest may. Before that, large
    bodies that still arrive are dropped, the oldest first, so that a stopped upload does not block others.
    """

    def __init__(self, app: ASGIApp, max_model_len: Callable[[], int]) -> None:
        self._app, self._max_model_len = app, max_model_len
        self._held: dict[_Held, None] = {}
        """All bodies, oldest first."""
        self._memory_bytes = 0
        """Memory of all bodies. It is not added up for each piece of each: there may be ten thousand."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self._app(scope, receive, send)
        held, is_read = _Held(), False
        length = Headers(scope=scope).get("content-length", "")

        async def whole() -> Message:
            """The body in one message, then what follows it."""
            nonlocal is_read
            if is_read:
                return await receive()
            body = await self._body(held, receive, length)
            if body is None:
                return {"type": "http.disconnect"}
            is_read = True
            return {"type": "http.request", "body": body, "more_body": False}

        self._held[held] = None
        try:
            await self._app(scope, whole, send)
        finally:
            self._set_memory(held, 0)
            del self._held[held]

    async def _body(self, held: _Held, receive: Receive, length: str) -> bytes | None:
        """The body; None: the client has hung up. Raises HTTPException."""
        tokens = self._max_model_len()
        limit, most = body_limit_bytes(tokens), memory_limit_bytes(tokens)
        if length.isdecimal() and (len(length) > 18 or int(length) > limit):
            raise _too_large(limit)
        held.reading = asyncio.ensure_future(
            _read_body(receive, limit, lambda size: self._hold(held, TEXT_FACTOR * size, most))
        )
        try:
            await asyncio.wait({held.reading})
            if held.reading.cancelled():
                raise _too_many()
            body = held.reading.result()
        finally:
            held.reading.cancel()
            held.reading = None
        if body is not None:
            if b"\0" in body:  # UTF-16 or UTF-32, whose values would be counted wrongly
                raise HTTPException(400, "The request is not JSON in UTF-8.")
            self._hold(held, memory_bytes(body), most)
        return body

    def _hold(self, held: _Held, memory: int, most: int) -> None:
        """Counts ``memory`` bytes as those of a body. Raises HTTPException above the limits."""
        if memory > most:
            raise HTTPException(413, f"The request describes more than {most >> 20} MiB of values.")
        self._set_memory(held, memory)
        over = self._memory_bytes - min(BODIES * most, max(most, BODIES_MEMORY_BYTES))
        if memory <= SMALL_MEMORY_BYTES or over <= 0:
            return
        others = [one for one in self._held if one.memory_bytes > SMALL_MEMORY_BYTES and one is not held]
        arriving = [one for one in others if one.reading is not None]
        if sum(one.memory_bytes for one in arriving) < over:
            self._set_memory(held, 0)
            raise _too_many()
        for other in arriving:
            if over > 0 and other.reading is not None:
                other.reading.cancel()
                over -= other.memory_bytes
                self._set_memory(other, 0)

    def _set_memory(self, held: _Held, memory: int) -> None:
        self._memory_bytes += memory - held.memory_bytes
        held.memory_bytes = memory


async def _read_body(receive: Receive, limit: int, hold: Callable[[int], None]) -> bytes | None:
    """The whole body; None: the client has hung up. Raises HTTPException, and what ``hold`` raises of the
    bytes so far."""
    ends, body = asyncio.get_running_loop().time() + BODY_SECONDS, bytearray()
    while True:
        try:
            message = await asyncio.wait_for(receive(), ends - asyncio.get_running_loop().time())
        except (TimeoutError, asyncio.TimeoutError):
            raise HTTPException(408, f"The request took longer than {BODY_SECONDS:.0f} s.") from None
        if message["type"] == "http.disconnect":
            return None
        body += message.get("body", b"")
        if len(body) > limit:
            raise _too_large(limit)
        hold(len(body))
        if not message.get("more_body", False):
            return bytes(body)


def _too_large(limit: int) -> HTTPException:
    return HTTPException(413, f"The request is larger than {limit} bytes, the most that is read.")


def _too_many() -> HTTPException:
    return HTTPException(429, "Too many large requests come at the same time; try again later.")
