"""Finds the events of a stream, as JSON objects, in parts of its bytes. Pure.

An event may have several lines, each with ``data:`` before it (the standard of server-sent events). Lines end
with LF or CRLF. The CR alone that the standard allows, too, is not read: no server is known to send it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

_DATA = re.compile(rb"\n(data:[^\r\n]*(?:\r?\ndata:[^\r\n]*)*)(\r?\n)?")
_LINE = re.compile(rb"(?:^|\r?\n)data:[ \t]*")
"""Matches the beginning of each line of an event."""
_OTHER_LINE = re.compile(rb"(?<=\n)(?::|(?:event|id|retry)\b)[^\r\n]*\r?\n")
"""Matches comments, which proxies send to keep a connection, and other fields: also amid an event's lines."""
_BLANK_LINE = (b"\n", b"\n\r")
"""What is before an event's line end where a blank line, and so nothing of the event, precedes it."""
_CHUNK_EDGE = re.compile(rb"\r\n[0-9a-fA-F]+(?:;[^\r\n]*)?\r\n")
"""Matches the boundary between two HTTP chunks, which may be in the middle of an event."""
_CUT_EDGE = re.compile(rb"\r\n[0-9a-fA-F]*(?:;[^\r\n]*)?\r?\Z")
"""Matches such a boundary at the end of what has arrived."""


def unchunked(data: bytes) -> bytes:
    """``data`` without the boundaries of HTTP chunks."""
    return _CHUNK_EDGE.sub(b"", data)


def events_in(data: bytes, *, cut: bool = False) -> Iterator[tuple[int, dict[str, Any]]]:
    """(number of lines, JSON object) of each complete event of ``data``; {} for ``[DONE]``, an error for
    anything else. ``cut``: the first event may lack its beginning.

    Lines that are objects themselves are events without a blank line between them.
    """
    data = _OTHER_LINE.sub(b"", _CUT_EDGE.sub(b"", unchunked(data)))
    for match in _DATA.finditer(data):
        lines = _LINE.split(match[1])[1:]
        whole = _object(b"\n".join(lines)) if len(lines) > 1 else None
        if whole is not None:
            yield len(lines), whole
            continue
        is_part = cut and not data[: match.start()].endswith(_BLANK_LINE)
        is_part = is_part or (len(lines) > 1 and match.end() == len(data))
        cut = False
        for place, line in enumerate(lines, 1):
            document = _object(line)
            if document is not None:
                yield 1, document
            elif not is_part and (match[2] or place < len(lines)):
                yield 1, {"error": f"not a JSON object: {line[:80]!r}"}


def lines_before(data: bytes) -> Iterator[tuple[int, dict[str, Any]]]:
    """The events of ``data``, each with the number of lines of those before it."""
    before = 0
    for lines, document in events_in(data):
        yield before, document
        before += lines


def _object(line: bytes) -> dict[str, Any] | None:
    """The JSON object in ``line``; {} for ``[DONE]``, None where it is something else."""
    try:
        document = json.loads(line) if line.rstrip(b" \t") != b"[DONE]" else {}
    except (ValueError, RecursionError):
        return None
    return document if isinstance(document, dict) else None
