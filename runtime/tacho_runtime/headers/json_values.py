"""Reads untrusted JSON: an object or an error, and values of the expected type or zero."""

from __future__ import annotations

import codecs
import json
from typing import Any

from tacho_runtime.headers.source import SMALL_FILE_LIMIT_BYTES, FileEntry, ModelSource, invalid

NUMBER_LIMIT = 1 << 40
"""Upper bound of any number in a model's shape; a larger number counts as absent, and a negative one."""


TEXT_LIMIT = 2000
"""Characters of a text that are read; the longest useful one has a letter for each layer."""


def integer(value: Any) -> int:
    """``value`` if it is a whole number within bounds, else 0. A float without a fraction counts (1e6 in JSON
    is one)."""
    if isinstance(value, float) and 0 <= value < NUMBER_LIMIT and value.is_integer():
        return int(value)
    return value if type(value) is int and 0 <= value < NUMBER_LIMIT else 0


def number(value: Any) -> float:
    return float(value) if isinstance(value, int | float) and 0 <= value < NUMBER_LIMIT else 0.0


def text(value: Any) -> str:
    """``value`` without unprintable characters if it is text, else "": names are shown on terminals.

    Of a long text, the beginning: a family's name is looked at once for each layer.
    """
    return "".join(filter(str.isprintable, value[:TEXT_LIMIT])) if isinstance(value, str) else ""


def mapping(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def sequence(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def first(config: dict[str, Any], *keys: str) -> int:
    """The first positive whole number under one of ``keys``; 0: none."""
    return next((n for n in (integer(config.get(key)) for key in keys) if n > 0), 0)


MEMORY_LIMIT_BYTES = 200_000_000
"""Most bytes of memory for one parsed document. A header of 100,000 tensors takes 130 MB."""
PART_BYTES = {b":": 176, b",": 64, b"[": 96, b"{": 96}
"""Bytes of memory per key, further value, list and object. Measured: 235 for a key of its own with a number,
88 for an empty list.
"""


BYTE_ORDER_MARKS = {codecs.BOM_UTF8: "UTF-8", codecs.BOM_UTF16_LE: "UTF-16", codecs.BOM_UTF16_BE: "UTF-16"}
"""Encodings by the bytes at the beginning of a text; that of UTF-32 begins with one of UTF-16."""


def memory_bytes(text: bytes, *, ascii_only: bool = True) -> int:
    """Bytes of memory that the JSON ``text`` takes at most, with itself, while it is parsed.

    One emoji makes four bytes of each character of the text, and of the string that it is in. Without
    ``ascii_only`` there may be one in what follows the text.
    """
    wide = 1 if ascii_only and text.isascii() else 4
    in_strings = 4 if wide == 4 or b"\\u" in text else 1
    parts = sum(size * text.count(part) for part, size in PART_BYTES.items())
    return len(text) * (1 + wide + in_strings) + parts


def parse_json(text: bytes, what: str, *, by_python: bool = False) -> dict[str, Any]:
    """``text`` as a JSON object; the error names it ``what``.

    NaN and Infinity are not JSON. ``by_python``: Python's json wrote it, and may write them. Configs of
    Mamba-2 have a bare Infinity in ``time_step_limit``. Only UTF-8 without a byte-order mark is read, as
    RFC 8259 has it.
    """
    if memory_bytes(text) > MEMORY_LIMIT_BYTES:
        raise invalid(f"{what} describes more than any real model has.")
    if mark := next((name for start, name in BYTE_ORDER_MARKS.items() if text.startswith(start)), ""):
        raise invalid(
            f"{what} begins with the byte-order mark of {mark}, which JSON must not have.",
            f"Save {what} as UTF-8 without a byte-order mark (BOM).",
        )
    try:
        # Of bytes, json would guess the encoding.
        document = json.loads(text.decode(), parse_constant=None if by_python else _refuse_constant)
    except (ValueError, RecursionError, MemoryError) as error:
        detail = "nested too deep" if isinstance(error, RecursionError) else str(error)[:120]
        raise invalid(f"{what} is not JSON ({detail}).") from None
    if not isinstance(document, dict):
        raise invalid(f"{what} is not a JSON object.")
    return document


def _refuse_constant(name: str) -> float:
    raise ValueError(f"{name} is not JSON")


def read_json(source: ModelSource, entries: tuple[FileEntry, ...], path: str) -> dict[str, Any] | None:
    """The JSON object in the model's file ``path``; None when the model has no such file. Raises FailedError
    for a damaged file."""
    size = next((entry.size_bytes for entry in entries if entry.path == path), None)
    if size is None:
        return None
    if size > SMALL_FILE_LIMIT_BYTES:
        raise invalid(f"{path} has {size} bytes; no real one is larger than {SMALL_FILE_LIMIT_BYTES}.")
    return parse_json(source.read(path, 0, size), path, by_python=True)
