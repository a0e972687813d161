"""The max size of a request's body, checked before it is parsed."""

from __future__ import annotations

from collections.abc import Callable

from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

FLOOR_BYTES = 512 * 1024
"""Admitted whatever the model: several prompts, tools, metadata."""
BYTES_PER_TOKEN = 64
"""Generous: a token of text is about 4 bytes, up to 24 with every character escaped; as a number up to 8."""


def body_limit_bytes(max_model_len: int) -> int:
    """Maximum bytes of a request body, for a model of ``max_model_len`` tokens."""
    return max(FLOOR_BYTES, BYTES_PER_TOKEN * max_model_len)


class BodyLimit:
    """Middleware: a handler that reads a body of more than ``limit()`` bytes gets HTTPException(413)."""

    def __init__(self, app: ASGIApp, limit: Callable[[], int]) -> None:
        self._app, self._limit = app, limit

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            receive = _counted(receive, Headers(scope=scope), self._limit())
        await self._app(scope, receive, send)


def _counted(receive: Receive, headers: Headers, limit: int) -> Receive:
    length = headers.get("content-length", "")
    declared = int(length) if length.isdecimal() else 0
    seen = 0

    async def counted() -> Message:
        nonlocal seen
        if declared <= limit:
            message = await receive()
            seen += len(message.get("body", b""))
            if seen <= limit:
                return message
        raise HTTPException(413, f"The request is larger than {limit} bytes, the most that is read.")

    return counted
