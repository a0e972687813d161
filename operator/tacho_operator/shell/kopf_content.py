"""Reduces LLMDeployments for kopf to names and versions, so that nothing that a user writes reaches kopf.

kopf reads lines of any length and parses them without limits. It keeps records in annotations and finalizers,
which every user may change, and then delivers no events of that object.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from typing import Any

import aiohttp

from tacho_operator.shell.bounded_reading import (
    EVENT_BYTES,
    Unreadable,
    body,
    lines,
    metadata_part,
    readable_event,
)
from tacho_operator.shell.kube import KINDS, ONLY_METADATA

OK = 200
WATCH_PAUSE_SECONDS = 1.0
"""Seconds before each watch. kopf restarts a watch at once, even if a broken proxy ends each one
immediately.
"""
WATCHED_METADATA = ONLY_METADATA.replace("MetadataList", "Metadata")
READ = ("namespace", "name", "uid", "resourceVersion")


async def names_only(
    request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType
) -> aiohttp.ClientResponse:
    """Middleware of kopf's HTTP client: requests only the metadata of LLMDeployments, and passes on names and
    versions.
    """
    if not request.url.path.endswith(f"/{KINDS['LLMDeployment'][1]}"):
        return await handler(request)
    is_watch = "watch" in request.url.query
    request.headers["Accept"] = WATCHED_METADATA if is_watch else ONLY_METADATA
    if is_watch:
        await asyncio.sleep(WATCH_PAUSE_SECONDS)
    response = await handler(request)
    if response.status == OK:
        content: Any = NamesOnly(response.content)
        response.content = content
    return response


class NamesOnly:
    """Replaces the content of a response to kopf by names and versions."""

    def __init__(self, content: Any) -> None:
        self._content = content

    def __getattr__(self, name: str) -> Any:
        return getattr(self._content, name)

    async def read(self) -> bytes:
        """A list without objects; kopf's watch then starts at the list's version."""
        page = await metadata_part(await body(self._content))
        version = (page.get("metadata") or {}).get("resourceVersion")
        return json.dumps({"metadata": {"resourceVersion": version}, "items": []}).encode()

    async def iter_chunked(self, _size: int) -> AsyncIterator[bytes]:
        """The events of a watch, one per chunk; events without a readable name are left out."""
        async for line in lines(self._content):
            with contextlib.suppress(Unreadable):
                event = await readable_event(line, EVENT_BYTES)
                found = event["object"]
                metadata = {key: found["metadata"][key] for key in READ if key in found["metadata"]}
                kept = {"code": found.get("code"), "metadata": metadata}
                yield json.dumps({"type": event["type"], "object": kept}).encode() + b"\n"
