"""Reads untrusted JSON: an object or an error, and values of the expected type or zero."""

from __future__ import annotations

import codecs
import json
from functools import partial
from typing import Any

from tacho_contract.units import file_size
from tacho_runtime.headers.json_scan import JsonScan
from tacho_runtime.headers.source import FileEntry, ModelSource, invalid, pieces

JSON_LIMIT_BYTES = 40_000_000
"""Most bytes of a JSON file that is parsed whole. A config.json with the quantization of each expert has some
8 MB, and 40 MB take up to 300 MB of memory."""

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


BYTE_ORDER_MARKS = {codecs.BOM_UTF8: "UTF-8", codecs.BOM_UTF16_LE: "UTF-16", codecs.BOM_UTF16_BE: "UTF-16"}
"""Encodings by the bytes at the beginning of a text; that of UTF-32 begins with one of UTF-16."""


def parse_json(text: bytes, what: str) -> dict[str, Any]:
    """``text`` as a JSON object; the error names it ``what``.

    NaN and Infinity are read, as Python's json writes them: configs of Mamba-2 have a bare Infinity in
    ``time_step_limit``. Only UTF-8 without a byte-order mark is read, as RFC 8259 has it.
    """
    if mark := next((name for start, name in BYTE_ORDER_MARKS.items() if text.startswith(start)), ""):
        raise invalid(
            f"{what} begins with the byte-order mark of {mark}, which JSON must not have.",
            f"Save {what} as UTF-8 without a byte-order mark (BOM).",
        )
    try:
        document = json.loads(text.decode())  # of bytes, json would guess the encoding
    except (ValueError, RecursionError) as error:
        detail = "nested too deep" if isinstance(error, RecursionError) else str(error)[:120]
        raise invalid(f"{what} is not JSON ({detail}).") from None
    if not isinstance(document, dict):
        raise invalid(f"{what} is not a JSON object.")
    return document


def read_json(source: ModelSource, entries: tuple[FileEntry, ...], path: str) -> dict[str, Any] | None:
    """The JSON object in the model's file ``path``; None when the model has no such file. Raises FailedError
    for a damaged file."""
    size = size_of(entries, path)
    if size is None:
        return None
    if size > JSON_LIMIT_BYTES:
        raise invalid(
            f"{path} has {file_size(size)}; tacho reads at most {file_size(JSON_LIMIT_BYTES)} of it.",
            "Shorten it, as by patterns in place of lists of names.",
        )
    return parse_json(source.read(path, 0, size), path)


def scan_json(source: ModelSource, entries: tuple[FileEntry, ...], path: str) -> JsonScan | None:
    """As ``read_json``, of a file that may be large: the caller reads it entry by entry."""
    size = size_of(entries, path)
    return None if size is None else JsonScan(pieces(partial(source.read, path), 0, size), path)


def size_of(entries: tuple[FileEntry, ...], path: str) -> int | None:
    return next((entry.size_bytes for entry in entries if entry.path == path), None)
