"""Values from a stranger's configuration: the wanted type, or its zero."""

from __future__ import annotations

from typing import Any

NUMBER_LIMIT = 1 << 40
"""No figure of a model's shape is larger; what is, counts as absent."""


def integer(value: Any) -> int:
    """``value`` if it is a whole number of sane size, else 0. An integral float counts (1e6 in JSON is
    one)."""
    if isinstance(value, float) and value.is_integer() and abs(value) < NUMBER_LIMIT:
        return int(value)
    return value if type(value) is int and abs(value) < NUMBER_LIMIT else 0


def number(value: Any) -> float:
    return float(value) if isinstance(value, int | float) and abs(value) < NUMBER_LIMIT else 0.0


def text(value: Any) -> str:
    """``value`` if it is text, without what is not printable: names end up on terminals."""
    return "".join(filter(str.isprintable, value)) if isinstance(value, str) else ""


def mapping(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def sequence(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def first(config: dict[str, Any], *keys: str) -> int:
    """The first of ``keys`` that holds a positive whole number, else 0."""
    return next((n for n in (integer(config.get(key)) for key in keys) if n > 0), 0)
