"""Offline validation against the schema: types, names and sizes, as the API server checks them.

It reads the schema of the CustomResourceDefinition, so both accept the same documents. Unknown fields are
errors here, as they are for kubectl, and the message has the nearest known name. A JSON Schema library would
be longer: its messages, nulls and two list types would all have to be replaced.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any

from tacho_contract.units import parse_time
from tacho_operator.api.base import QUANTITY_PATTERN
from tacho_operator.api.crd.schema import Schema


@dataclass(frozen=True, slots=True)
class Violation:
    """One error in a document: its path and a message."""

    path: str
    """Path of the invalid field: property names and list positions, for example spec.engine.env[0].name."""
    message: str
    """The violation, and how to correct the document."""
    blocking: bool = True
    """True: rules between fields cannot be evaluated before this violation is corrected (as on the API
    server)."""

    def __str__(self) -> str:
        return f"{self.path}: {self.message}" if self.path else self.message


def check(value: Any, schema: Schema, path: str) -> Iterator[Violation]:
    """Every error of ``value`` against ``schema``, in the document's order."""
    if schema.get("x-kubernetes-int-or-string"):
        schema = {**schema, "type": "string" if isinstance(value, str) else "integer"}
    kind = schema["type"]
    if not _has_type(kind, value):
        article = "an" if kind[0] in "aio" else "a"
        hint = "; put it in quotes" if kind == "string" and isinstance(value, bool | int | float) else ""
        yield Violation(path, f"must be {article} {kind}, not {_shown(value)}{hint}")
        return
    if kind == "object":
        yield from _object(value, schema, path)
    elif kind == "array":
        yield from _array(value, schema, path)
    elif kind == "string":
        yield from _string(value, schema, path)
    elif kind == "integer":
        yield from _integer(value, schema, path)


def _has_type(kind: str, value: Any) -> bool:
    if kind == "integer":
        return isinstance(value, int) and not isinstance(value, bool)
    python = {"object": dict, "array": list, "string": str, "boolean": bool}[kind]
    return isinstance(value, python)


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _object(value: dict[Any, Any], schema: Schema, path: str) -> Iterator[Violation]:
    properties: Schema = schema.get("properties", {})
    rest: Schema | None = schema.get("additionalProperties")
    yield from _size(len(value), schema, path, "Properties", "entries")
    for name in schema.get("required", ()):
        if value.get(name) is None:
            yield Violation(_join(path, name), "is required; set it")
    for name, child in value.items():
        where = _join(path, str(name))
        if not isinstance(name, str):
            yield Violation(where, f"a key must be a string, not {_shown(name)}; put it in quotes")
        elif name in properties:
            if child is not None:  # the API server drops nulls of fields that cannot be null
                yield from check(child, properties[name], where)
        elif rest is not None:
            yield from check(child, rest, where)
        elif properties:
            yield Violation(where, f"unknown field{_nearest(name, properties)}")


def _nearest(name: str, properties: Schema) -> str:
    folded = {known.lower(): known for known in properties}
    near = difflib.get_close_matches(name.lower(), folded, n=1, cutoff=0.6)
    return f"; did you mean {folded[near[0]]}?" if near else f"; known here: {', '.join(sorted(properties))}"


def _array(value: list[Any], schema: Schema, path: str) -> Iterator[Violation]:
    yield from _size(len(value), schema, path, "Items", "items")
    for index, item in enumerate(value):
        yield from check(item, schema["items"], f"{path}[{index}]")
    kind = schema.get("x-kubernetes-list-type")
    if kind == "set":
        identities: list[Any] = list(value)
    elif kind == "map":
        keys = schema["x-kubernetes-list-map-keys"]
        identities = [[item.get(key) for key in keys] if isinstance(item, dict) else None for item in value]
    else:
        return
    for index, identity in enumerate(identities):
        if identity in identities[:index]:
            yield Violation(
                f"{path}[{index}]", f"{_shown(identity)} is a duplicate; remove one", blocking=False
            )


def _string(value: str, schema: Schema, path: str) -> Iterator[Violation]:
    yield from _size(len(value), schema, path, "Length", "characters")
    if "enum" in schema and value not in schema["enum"]:
        yield Violation(
            path,
            f"{_shown(value)} is not one of {', '.join(map(str, schema['enum']))}{_similar(value, schema)}",
        )
    if "pattern" in schema and not _regex(schema["pattern"]).search(value):
        yield Violation(path, f"{_shown(value)} {_pattern_error(value, schema['pattern'])}", blocking=False)
    if schema.get("format") == "date-time" and parse_time(value) is None:
        yield Violation(path, f"{_shown(value)} is not a time such as 2026-11-20T08:49:21Z", blocking=False)


SHORT_FOR = {"int4": "nf4", "4bit": "nf4", "4-bit": "nf4", "8bit": "int8", "8-bit": "int8"}
"""What other tools call a method, and the part of its name here."""


def _similar(value: str, schema: Schema) -> str:
    """The values of an enumeration that contain ``value``, or the nearest one, as a question; "": none."""
    name = value.lower()
    part = SHORT_FOR.get(name, name)
    known = {str(item).lower(): str(item) for item in schema["enum"]}
    near = [known[item] for item in known if part and part in item]
    near = near or [known[item] for item in difflib.get_close_matches(name, known, n=1, cutoff=0.6)]
    return f"; did you mean {' or '.join(near[:3])}?" if near else ""


def _pattern_error(value: str, pattern: str) -> str:
    """What is wrong with a text that does not match ``pattern``."""
    if pattern != QUANTITY_PATTERN:
        return f"does not have the form {pattern}"
    size = re.fullmatch(r"([0-9]+(?:\.[0-9]+)?) ?([kmgtpe])(i?)b?", value, re.IGNORECASE)
    if size is None:
        return "is not a quantity such as 500m, 4 or 8Gi"
    number, prefix = size[1], size[2].upper()
    binary = f"{number}{prefix}i"
    return f"is not a quantity; write {binary if size[3] else f'{number}{prefix} or {binary}'}"


def _integer(value: int, schema: Schema, path: str) -> Iterator[Violation]:
    if value < schema.get("minimum", value):
        yield Violation(path, f"{value} is less than {schema['minimum']}; raise it", blocking=False)
    if value > schema.get("maximum", value):
        yield Violation(path, f"{value} is more than {schema['maximum']}; lower it", blocking=False)


def _size(size: int, schema: Schema, path: str, what: str, unit: str) -> Iterator[Violation]:
    if size < schema.get(f"min{what}", 0):
        yield Violation(
            path, f"has {size} {unit}, at least {schema[f'min{what}']} are needed", blocking=False
        )
    if size > schema.get(f"max{what}", size):
        yield Violation(path, f"has {size} {unit}, at most {schema[f'max{what}']} are allowed")


@cache
def _regex(pattern: str) -> re.Pattern[str]:
    """The pattern as Go interprets it: ASCII character classes, and ``$`` matches only at the end of the
    text.
    """
    return re.compile(re.sub(r"(?<!\\)\$$", r"\\Z", pattern), re.ASCII)


def _join(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name
