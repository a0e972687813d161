"""The text of a stream of events, and in parts of it the events, as JSON objects. Pure.

An event may have several lines, each with ``data:`` before it (the standard of server-sent events).
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

BOM = b"\xef\xbb\xbf"
_DATA = re.compile(
    rb"(?:\n(event: ?error)[ \t]*(?:\n(?!data:|event:)[^\n]+)*)?\n(data:[^\n]*(?:\ndata:[^\n]*)*)(\n)?"
)
_LINE = re.compile(rb"(?:^|\n)data:[ \t]*")
"""Matches the beginning of each line of an event."""


class EventText:
    """The text of a stream of events, from its bytes as they arrive: without a byte order mark, and with one
    line end (LF), also before the first line."""

    __slots__ = ("_after_return", "_begin")

    def __init__(self) -> None:
        self._begin: bytes | None = b""
        self._after_return = False

    def add(self, data: bytes) -> bytes:
        """The text in the next bytes."""
        if self._begin is not None:
            data = self._begin + data
            if len(data) < len(BOM) and BOM.startswith(data):
                self._begin = data
                return b""
            data, self._begin = b"\n" + data.removeprefix(BOM), None
        if self._after_return and data:
            data, self._after_return = data.removeprefix(b"\n"), False
        if b"\r" in data:
            self._after_return = data.endswith(b"\r")
            data = data.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        return data


def events_in(text: bytes, *, cut: bool = False) -> Iterator[tuple[int, dict[str, Any]]]:
    """(number of lines, JSON object) of each complete event of ``text``; {} for ``[DONE]``, an error for
    anything else, and for an event of the type error. ``cut``: the first event may lack its beginning.

    Lines that are objects themselves are events without a blank line between them.
    """
    for match in _DATA.finditer(text):
        lines = _LINE.split(match[2])[1:]
        joined = b"\n".join(lines)
        whole = _object(joined) if len(lines) > 1 or match[1] else None
        if match[1]:
            yield (
                len(lines),
                {"error": (whole or {}).get("error") or joined.decode(errors="replace") or "error"},
            )
            continue
        if whole is not None:
            yield len(lines), whole
            continue
        is_part = cut and not text[: match.start()].endswith(b"\n")
        is_part = is_part or (len(lines) > 1 and match.end() == len(text))
        cut = False
        for place, line in enumerate(lines, 1):
            document = _object(line)
            if document is not None:
                yield 1, document
            elif not is_part and (match[3] or place < len(lines)):
                yield 1, {"error": f"not a JSON object: {line[:80]!r}"}


def lines_before(text: bytes) -> Iterator[tuple[int, dict[str, Any]]]:
    """The events of ``text``, each with the number of lines of those before it."""
    before = 0
    for lines, document in events_in(text):
        yield before, document
        before += lines


def _object(line: bytes) -> dict[str, Any] | None:
    """The JSON object in ``line``; {} for ``[DONE]``, None where it is something else."""
    try:
        document = json.loads(line) if line != b"[DONE]" else {}
    except (ValueError, RecursionError):
        return None
    return document if isinstance(document, dict) else None
