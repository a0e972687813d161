"""A value with every field set, made from a schema."""

from __future__ import annotations

from typing import Any

from tacho_operator.api.crd.schema import Schema
from tacho_operator.api.rules.structure import check

STRINGS = (
    *("hf://a/b", "1.5", "Word1", "word-1", "/path", "s3cret", "http://x", "EUR", "2026-11-20T08:49:21Z"),
    *("500m", "tacho.dev/x", "~0.41 USD", "0 8 * * MON-FRI"),
)


def sample(schema: Schema) -> Any:
    """Every property set, every list and map with one entry, every number at its least."""
    kind = schema.get("type")
    if kind == "object" and "properties" in schema:
        return {name: sample(child) for name, child in schema["properties"].items()}
    if kind == "object":
        return {"key": sample(schema["additionalProperties"])}
    if kind == "array":
        return [sample(schema["items"])]
    if kind == "string":
        return _string(schema)
    return True if kind == "boolean" else max(schema.get("minimum", 1), 1)


def _string(schema: Schema) -> str:
    if "enum" in schema:
        return str(schema["enum"][0])
    return next(text for text in STRINGS if not list(check(text, schema, "")))
