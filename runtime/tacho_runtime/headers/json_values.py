"""Reads untrusted JSON: an object or an error, and values of the expected type or zero."""

from __future__ import annotations

import json
from typing import Any

from tacho_runtime.headers.source import SMALL_FILE_LIMIT_BYTES, FileEntry, ModelSource, invalid

NUMBER_LIMIT = 1 << 40
"""Upper bound of any number in a model's shape; a larger number counts as absent, and a negative one."""


def integer(value: Any) -> int:
    """``value`` if it is a whole number within bounds, else 0. A float without a fraction counts (1e6 in JSON
    is one)."""
    if isinstance(value, float) and 0 <= value < NUMBER_LIMIT and value.is_integer():
        return int(value)
    return value if type(value) is int and 0 <= value < NUMBER_LIMIT else 0


def number(value: Any) -> float:
    return float(value) if isinstance(value, int | float) and 0 <= value < NUMBER_LIMIT else 0.0


def text(value: Any) -> str:
    """``value`` without unprintable characters if it is text, else "": names are shown on terminals."""
    return "".join(filter(str.isprintable, value)) if isinstance(value, str) else ""


def mapping(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def sequence(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def first(config: dict[str, Any], *keys: str) -> int:
    """The first positive whole number under one of ``keys``; 0: none."""
    return next((n for n in (integer(config.get(key)) for key in keys) if n > 0), 0)


NESTED_LIMIT = 700_000
PARTS_LIMIT = 1_500_000
"""Most brackets and commas of a JSON document; 25 MB of empty lists would need 700 MB of memory. A header of
200,000 tensors has 600,000 brackets and 1,400,000 commas.
"""


def parse_json(text: bytes, what: str) -> dict[str, Any]:
    """``text`` as a JSON object; the error names it ``what``. NaN and Infinity are not JSON."""
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


def read_json(source: ModelSource, entries: tuple[FileEntry, ...], path: str) -> dict[str, Any] | None:
    """The JSON object in the model's file ``path``; None when the model has no such file. Raises FailedError
    for a damaged file."""
    size = next((entry.size_bytes for entry in entries if entry.path == path), None)
    if size is None:
        return None
    if size > SMALL_FILE_LIMIT_BYTES:
        raise invalid(f"{path} has {size} bytes; no real one is larger than {SMALL_FILE_LIMIT_BYTES}.")
    return parse_json(source.read(path, 0, size), path)
