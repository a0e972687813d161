"""Makes the API server's answers safe for kopf's parser before kopf reads them.

kopf holds a line of any length and parses it with a bare json.loads. It ends at the first object that is
nested too deep or has an integer of too many digits, and the watch of every LLMDeployment ends with it.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

from tacho_operator.shell.api_errors import EXPIRED
from tacho_operator.shell.bounded_reading import (
    METADATA_ONLY,
    NESTED,
    Text,
    Unreadable,
    body,
    is_deep,
    lines,
    metadata_only,
    metadata_part,
    parsed,
    readable_event,
)
from tacho_operator.shell.kube import Page

LIST_ANEW = {"type": "ERROR", "object": {"kind": "Status", "code": EXPIRED}}
MetadataPage = Callable[[], Awaitable[Page]]
"""Reads the page of the same request as metadata alone."""


class ReadableContent:
    """Takes the place of a response's content, so that kopf can parse everything that it reads."""

    def __init__(self, content: Any, metadata_page: MetadataPage) -> None:
        self._content, self._metadata_page = content, metadata_page

    def __getattr__(self, name: str) -> Any:
        return getattr(self._content, name)

    async def iter_chunked(self, _size: int) -> AsyncIterator[bytes]:
        """The events of a watch, one in each chunk.

        A line whose end never arrived is left out: kopf then watches again from the event before.
        """
        async for line in lines(self._content):
            if line.ended:
                yield await readable_line(line) + b"\n"

    async def read(self) -> bytes:
        """One page of a list, as bytes that kopf can parse."""
        text = await body(self._content)
        try:
            if not is_deep(parsed(text)):
                return text.start
        except Unreadable:
            pass
        if not text.is_cut:
            return _dumped(await metadata_part(text))
        page = await self._metadata_page()
        metadata = {"resourceVersion": page.version, "continue": page.token or ""}
        return _dumped({"metadata": metadata, "items": page.items})


async def readable_line(line: Text) -> bytes:
    """``line`` itself, or an event with metadata only where kopf could not parse the line."""
    try:
        event = await readable_event(line)
    except Unreadable:
        return json.dumps(LIST_ANEW).encode()
    if METADATA_ONLY in event["object"]:
        return json.dumps(event).encode()
    if is_deep(event):
        return json.dumps({**event, "object": metadata_only(event["object"], NESTED)}).encode()
    return line.start


def _dumped(page: dict[str, Any]) -> bytes:
    items = [metadata_only(item, "") for item in page.get("items") or ()]
    return json.dumps({**page, "items": items}).encode()
