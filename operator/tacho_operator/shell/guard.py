"""The guard: an object or line that is too long or nested too deep is skipped, counted and logged.

One such object would end every watch and list that it is in, as Python's parser recurses.
"""

from __future__ import annotations

import gc
import json
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, NamedTuple, Protocol

from tacho_operator.core.types import Manifest

LONGEST_BYTES = 4 << 20
"""Longest object, or page of a list, in bytes of JSON. etcd takes 1.5 MiB; resources are stored as sent."""
HEAD_BYTES = 64 << 10
"""What is read of a list of metadata whose first object is skipped: it begins with the list's own."""
DEEPEST = 100
"""Deepest nesting of objects and lists that is read. Kubernetes' own kinds have about 20."""
PAGE = 50
"""Most objects in a page of a list; fewer where a page is too long."""
NESTED = "it is nested too deep"
TOO_LONG = f"it is longer than {LONGEST_BYTES >> 20} MiB as JSON"
_LIST_HEAD = re.compile(rb'"metadata":\s*(\{[^{}]*\})')
"""Matches the metadata of a list of objects' metadata, which precedes the objects."""
_FIRST_NAME = re.compile(rb'"items":\s*\[\{.{0,200}?"name":\s*"([^"]{1,253})"', re.DOTALL)

Skipped = Callable[[str, str, str], None]
"""Callback with the kind, the name ("?": unknown) and the reason of a skipped object."""


class Chunks(Protocol):
    async def readany(self) -> bytes:
        """The next bytes of a response body; b"": the end."""


class Unreadable(ValueError):
    """A text that is not JSON, or JSON that is too long or nested too deep."""


class Cut(Exception):
    """A stream that ended in the middle of a line."""


async def lines(content: Chunks) -> AsyncIterator[bytes | None]:
    """The lines of a response without empty ones; None for one that is too long. Raises Cut."""
    held, is_long = bytearray(), False
    while chunk := await content.readany():
        *ended, rest = chunk.split(b"\n")
        for part in ended:
            held += part
            if held or is_long:
                yield None if is_long or len(held) > LONGEST_BYTES else bytes(held)
            held, is_long = bytearray(), False
        held += rest
        if len(held) > LONGEST_BYTES:
            held, is_long = bytearray(), True
    if held or is_long:
        raise Cut


async def body(content: Chunks) -> bytes:
    """The body of a response. Raises Unreadable where it is too long; its rest is not read."""
    held = await beginning(content, LONGEST_BYTES + 1)
    if len(held) > LONGEST_BYTES:
        raise Unreadable(TOO_LONG)
    return held


async def beginning(content: Chunks, most_bytes: int = HEAD_BYTES) -> bytes:
    """The first bytes of a response."""
    held = bytearray()
    while len(held) < most_bytes and (chunk := await content.readany()):
        held += chunk
    return bytes(held)


def parsed(text: bytes) -> Any:
    """The JSON document in ``text``. Raises Unreadable."""
    collects = gc.isenabled()
    gc.disable()  # it would look at the new objects again and again, for nine tenths of the time
    try:
        document = json.loads(text)
    except RecursionError:
        raise Unreadable(NESTED) from None
    except ValueError as error:  # an integer of thousands of digits too
        raise Unreadable(f"it is not valid JSON: {error}") from None
    finally:
        if collects:
            gc.enable()
    if _is_deep(document):
        raise Unreadable(NESTED)
    return document


def _is_deep(document: Any) -> bool:
    level = [document] if isinstance(document, dict | list) else []
    for _ in range(DEEPEST):
        values = (item.values() if isinstance(item, dict) else item for item in level)
        level = [inner for inside in values for inner in inside if isinstance(inner, dict | list)]
    return bool(level)


PageText = Callable[[int, str | None, bool], Awaitable[bytes]]
"""Function that reads a page: (number of objects, continue token, whether only where its metadata begins)."""


class Page(NamedTuple):
    """One page of a list: the objects, and the list's resourceVersion, from which a watch continues."""

    items: list[Manifest]
    version: str


async def pages(read: PageText, kinds: dict[str, str], skipped: Skipped) -> AsyncIterator[Page]:
    """The pages of a list. ``kinds``: kind and apiVersion.

    A page that cannot be read is requested again in halves, down to the one object, which is skipped. Raises
    Unreadable where an answer is no list.
    """
    limit, token = PAGE, None
    while True:
        try:
            page = parsed(await read(limit, token, False))
        except Unreadable as error:
            if limit > 1:
                limit //= 2
                continue
            metadata, name = list_head(await read(1, token, True))
            items: list[Manifest] = []
            if metadata:
                skipped(kinds["kind"], name, str(error))
        else:
            metadata = (page.get("metadata") if isinstance(page, dict) else None) or {}
            items = [{**item, **kinds} for item in page.get("items") or ()] if metadata else []
            limit = min(PAGE, 2 * limit)
        if not metadata.get("resourceVersion"):  # a proxy's page: as an empty list it would end all
            raise Unreadable("an answer that is no list")
        token = metadata.get("continue")
        yield Page(items, str(metadata["resourceVersion"]))
        if not token:
            return


def list_head(text: bytes) -> tuple[Manifest, str]:
    """The metadata of a list of objects' metadata, and the first one's name; the objects are not parsed."""
    found, name = _LIST_HEAD.search(text), _FIRST_NAME.search(text)
    return parsed(found[1]) if found else {}, name[1].decode() if name else "?"
