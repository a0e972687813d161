"""The part of a file that a hub's answer holds, by its status and its Content-Range. Pure."""

from __future__ import annotations

import re
from typing import NamedTuple

COMPLETE_STATUS = (200, 203)
"""HTTP statuses of a complete answer; 203 comes from proxies that change headers."""
PARTIAL_STATUS = 206
CONTENT_RANGE = re.compile(r"bytes (\d{1,18})-(\d{1,18})(?:/(\d{1,18})|/.*)?", re.ASCII | re.IGNORECASE)
"""Matches also what servers and proxies send without a total, or with a total that is no number."""


class SentPart(NamedTuple):
    """Bytes of a file: places of the first and the last, and how many the file has if that is known.

    ``last`` may be one too large, as of a server that counts up to the end.
    """

    first: int
    last: int
    total: int | None

    @property
    def length(self) -> int:
        return self.last - self.first + 1


def sent_part(path: str, start: int, status: int, content_range: str) -> SentPart | None:
    """The part of ``path`` that an answer to a request for the bytes from ``start`` holds; None: all of it.

    Raises ValueError where the answer does not say which bytes it holds, or holds others. Without a
    Content-Range they may be any: a proxy may have dropped the header, or the requested range. A total that
    is missing or impossible is unknown.
    """
    if status in COMPLETE_STATUS:
        return None
    sent = repr(content_range[:80]) if content_range else "no Content-Range"
    match = CONTENT_RANGE.fullmatch(content_range)
    if status != PARTIAL_STATUS or match is None:
        raise ValueError(f"it sent HTTP {status} and {sent} for bytes of {path} from {start} on")
    first, last, total = int(match[1]), int(match[2]), int(match[3] or 0)
    if first != start or last < first:
        raise ValueError(f"it sent {sent} for bytes of {path} from {start} on")
    return SentPart(first, last, total if total > last else None)


def continues(path: str, start: int, status: int, content_range: str) -> bool:
    """Whether an answer to a request for the bytes of ``path`` from ``start`` holds these, and not all."""
    try:
        return sent_part(path, start, status, content_range) is not None
    except ValueError:
        return False


def is_last(part: SentPart | None, received: int) -> bool:
    """Whether the file ends after the ``received`` bytes of ``part``. Raises ValueError where it has fewer.

    Of a whole file all that was requested has arrived.
    """
    if part is None:
        return True
    if received > part.length:
        raise ValueError(f"it sent {received} bytes, where its Content-Range has {part.length}")
    return part.total is not None and part.first + received >= part.total
