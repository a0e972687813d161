"""JSON from strangers: an object or a refusal, never another exception."""

from __future__ import annotations

import json
from typing import Any

from tacho_runtime.headers.errors import invalid
from tacho_runtime.headers.source import SMALL_FILE_LIMIT_BYTES, FileEntry, Source

NESTED_LIMIT = 700_000
PARTS_LIMIT = 1_500_000
"""Lists and objects, and commas, that a document may hold: 25 MB of empty lists would take 700 MB of memory.
A header of 200,000 tensors has 600,000 and 1,400,000."""


def parse_json(text: bytes, what: str) -> dict[str, Any]:
    """``text`` as a JSON object. ``what`` names it in the refusal. NaN and Infinity are not JSON."""
    if text.count(b"[") + text.count(b"{") > NESTED_LIMIT or text.count(b",") > PARTS_LIMIT:
        raise invalid(f"{what} describes more than any real model has.")
    try:
        document = json.loads(text, parse_constant=_refuse_constant)
    except (ValueError, RecursionError, MemoryError) as error:
        detail = "nested too deep" if isinstance(error, RecursionError) else str(error)[:120]
        raise invalid(f"{what} is not JSON ({detail}).") from None
    if not isinstance(document, dict):
        raise invalid(f"{what} is not a JSON object.")
    return document


def _refuse_constant(name: str) -> float:
    raise ValueError(f"{name} is not JSON")


def read_json(source: Source, entries: tuple[FileEntry, ...], path: str) -> dict[str, Any] | None:
    """The object in ``path``; None when the model has no such file. Raises FailedError for a damaged one."""
    size = next((entry.size_bytes for entry in entries if entry.path == path), None)
    if size is None:
        return None
    if size > SMALL_FILE_LIMIT_BYTES:
        raise invalid(f"{path} has {size} bytes; no real one is larger than {SMALL_FILE_LIMIT_BYTES}.")
    return parse_json(source.read(path, 0, size), path)
