"""Reads lists of the API server page by page in bounded memory, however long or deeply nested their objects
are.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from itertools import takewhile
from typing import NamedTuple

from tacho_operator.core.types import Manifest
from tacho_operator.shell.bounded_reading import Text, Unreadable, metadata_only, metadata_part, parsed

PAGE = 50
"""Most objects per page of a list; fewer where they are long (bounded_reading.LONGEST_BYTES)."""
METADATA_PAGE = 500
"""Most objects per page, where only metadata is requested."""
CROWD = 8
"""Number of unreadable objects in a namespace after which only metadata is read for the rest of that
namespace.
"""

PageText = Callable[[int, str | None, bool], Awaitable[Text]]
"""Function that reads a page: (number of objects, continue token, whether only metadata) to text."""


class Page(NamedTuple):
    """One page of a list."""

    items: list[Manifest]
    """The objects, with kind and apiVersion added."""
    version: str
    """The list's resourceVersion, from which a watch continues."""
    token: str | None = None
    """Continue token of the next page; None after the last page."""


async def readable_pages(read: PageText, kinds: dict[str, str]) -> AsyncIterator[Page]:
    """The pages of a list. ``kinds``: kind and apiVersion.

    A page that is too long or cannot be parsed is requested again in halves, down to one object. That object
    is read as metadata only, and marked METADATA_ONLY. Pages grow again afterwards. Each such object costs
    two requests, and anyone can create many: after CROWD of them, the rest of their namespace is read as
    metadata only.
    """
    limit, as_metadata, token = PAGE, False, None
    unreadable: Counter[str] = Counter()
    crowded = ""
    while True:
        text = await read(limit, token, as_metadata)
        try:
            page, is_whole = parsed(text), not as_metadata
        except Unreadable:
            if limit > 1 and (text.is_cut or not as_metadata):
                limit //= 2
                continue
            if not as_metadata:
                as_metadata = True
                continue
            page, is_whole = await metadata_part(text), False
        items = _items(kinds, page, whole=is_whole)
        if crowded and (theirs := _beginning(items, crowded)) < len(items):
            # Another namespace begins: what is still theirs is a page of its own, so that a token ends it.
            limit = max(1, theirs)
            as_metadata, crowded = bool(theirs), crowded if theirs else ""
            continue
        metadata = page.get("metadata") or {}
        token = metadata.get("continue")
        yield Page(items, str(metadata.get("resourceVersion", "")), token)
        if not token:
            return
        if is_whole or crowded:
            limit = min(METADATA_PAGE if as_metadata else PAGE, 2 * limit)
            continue
        unreadable.update(_namespace(item) for item in items)
        crowded = next((name for name, count in unreadable.items() if name and count >= CROWD), "")
        unreadable.pop(crowded, None)
        as_metadata, limit = bool(crowded), METADATA_PAGE if crowded else limit


def _items(kinds: dict[str, str], page: Manifest, *, whole: bool) -> list[Manifest]:
    """The objects of a page; only their metadata where ``whole`` is False."""
    found = []
    for item in page.get("items") or ():
        with suppress(Unreadable):  # without a name: nothing of it can be kept
            found.append({**(item if whole else metadata_only(item, "")), **kinds})
    return found


def _namespace(item: Manifest) -> str:
    return str(item["metadata"].get("namespace", ""))


def _beginning(items: list[Manifest], namespace: str) -> int:
    """How many objects at the beginning of ``items`` belong to ``namespace``; lists are sorted by
    namespace.
    """
    return len(list(takewhile(lambda item: _namespace(item) == namespace, items)))
