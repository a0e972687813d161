"""The structural OpenAPI v3 schema of an LLMDeployment, from the pydantic models and the dataclasses in them.

Only known keywords are converted; any other raises an error, as the API server might reject it or interpret
it differently.
"""

from __future__ import annotations

import ast
import dataclasses
import inspect
import textwrap
from collections.abc import Iterator
from functools import cache
from itertools import pairwise
from typing import Any

from pydantic import BaseModel
from pydantic.alias_generators import to_camel
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue
from pydantic_core import core_schema

from tacho_operator.api import API_VERSION, KIND
from tacho_operator.api.base import DECIMAL_LENGTH, DECIMAL_PATTERN, StatusModel
from tacho_operator.api.rules.rule import Rule
from tacho_operator.api.status.status import EPOCH, LLMDeploymentStatus
from tacho_operator.api.types import LLMDeploymentSpec

Schema = dict[str, Any]

COPIED = frozenset(
    {
        "type",
        "format",
        "enum",
        "pattern",
        "minimum",
        "maximum",
        "minLength",
        "maxLength",
        "minItems",
        "maxItems",
        "minProperties",
        "maxProperties",
        "required",
        "x-kubernetes-list-type",
        "x-kubernetes-list-map-keys",
        "x-kubernetes-int-or-string",
    }
)
DROPPED = frozenset({"title", "examples", "$defs"})
"""Keywords that are left out: the API server ignores them, or the description already contains them."""
BOUNDS = {"string": "maxLength", "array": "maxItems", "object": "maxProperties"}


class UnsupportedKeyword(ValueError):
    """A model uses a keyword that a structural schema does not support. The message names the field and the
    keyword."""


class _Generator(GenerateJsonSchema):
    """Generates a schema in which ``X | None`` means that the field may be absent; null is never a valid
    value.
    """

    def nullable_schema(self, schema: core_schema.NullableSchema) -> JsonSchemaValue:
        return self.generate_inner(schema["schema"])


class _StatusGenerator(_Generator):
    """Generates the schema of status, which the operator writes: no field of a dataclass is required."""

    def float_schema(self, _schema: core_schema.FloatSchema) -> JsonSchemaValue:
        return {"type": "string", "pattern": DECIMAL_PATTERN, "maxLength": DECIMAL_LENGTH}

    def dataclass_schema(self, schema: core_schema.DataclassSchema) -> JsonSchemaValue:
        """The schema of a dataclass, with the docstrings of inherited fields, which pydantic does not
        read."""
        found = super().dataclass_schema(schema)
        for base in schema["cls"].__mro__[1:]:
            for name, text in _docstrings(base) if dataclasses.is_dataclass(base) else ():
                child = found["properties"].get(to_camel(name), {})
                child.setdefault("description", text)
        return found


def _docstrings(cls: type) -> Iterator[tuple[str, str]]:
    """(name, docstring) of the fields that the class itself declares."""
    (declared,) = ast.parse(textwrap.dedent(inspect.getsource(cls))).body
    body = declared.body if isinstance(declared, ast.ClassDef) else []
    for item, following in pairwise(body):
        if isinstance(item, ast.AnnAssign) and isinstance(item.target, ast.Name):
            match following:
                case ast.Expr(value=ast.Constant(value=str(text))):
                    yield item.target.id, text


def structural(model: type[BaseModel]) -> Schema:
    """The structural schema of a model: inlined, described, bounded.

    Raises UnsupportedKeyword for anything outside the whitelist, an undescribed property or an unbounded
    string, list or map.
    """
    generator = _StatusGenerator if issubclass(model, StatusModel) else _Generator
    raw = model.model_json_schema(by_alias=True, schema_generator=generator, mode="validation")
    return _convert(raw, definitions=raw.get("$defs", {}), where=model.__name__)


def _convert(node: Schema, *, definitions: dict[str, Schema], where: str) -> Schema:
    if "$ref" in node:
        target = definitions[node["$ref"].removeprefix("#/$defs/")]
        node = {**target, **{k: v for k, v in node.items() if k != "$ref"}}
    result: Schema = {}
    for keyword, value in node.items():
        if keyword in COPIED:
            result[keyword] = value
        elif keyword == "description":
            result[keyword] = " ".join(inspect.cleandoc(value).split())
        elif keyword == "const":
            result["enum"] = [value]
        elif keyword == "properties":
            result[keyword] = {
                name: _property(child, definitions=definitions, where=f"{where}.{name}")
                for name, child in value.items()
            }
        elif keyword == "items":
            result[keyword] = _convert(value, definitions=definitions, where=f"{where}[]")
        elif keyword == "additionalProperties" and isinstance(value, dict):
            result[keyword] = _convert(value, definitions=definitions, where=f"{where}{{}}")
        elif keyword == "default":
            continue  # the API server writes it into stored objects: resource.py adds the few that stay
        elif keyword not in DROPPED:
            raise UnsupportedKeyword(f"{where}: {keyword!r} is unknown to structural schemas")
    _check(result, where=where)
    return result


def _property(node: Schema, *, definitions: dict[str, Schema], where: str) -> Schema:
    result = _convert(node, definitions=definitions, where=where)
    if not result.get("description"):
        raise UnsupportedKeyword(f"{where}: every field is described, with its unit")
    return result


def _check(node: Schema, *, where: str) -> None:
    kind = node.get("type", "string" if node.get("x-kubernetes-int-or-string") else None)
    if kind not in {"string", "integer", "boolean", "array", "object"}:
        raise UnsupportedKeyword(f"{where}: type {kind!r} is not one of the API's")
    if kind == "object" and "properties" in node:
        return
    bound = BOUNDS.get(kind)
    if bound is not None and bound not in node and "enum" not in node:
        raise UnsupportedKeyword(f"{where}: a {kind} without {bound}: CEL rules could not be priced")


WAITING = {
    "type": "Ready",
    "status": "Unknown",
    "reason": "WaitingForOperator",
    "message": (
        "No operator has reconciled this resource yet; if this lasts, check that the tacho operator runs."
    ),
    "lastTransitionTime": EPOCH,
}
"""The initial condition of a resource: without it, kstatus and `helm --wait` treat an empty status as
done."""


@cache
def resource_schema(rules: tuple[Rule, ...]) -> Schema:
    """The structural schema of a whole LLMDeployment, with its rules. It is cached: callers must not change
    it."""
    spec, status = structural(LLMDeploymentSpec), structural(LLMDeploymentStatus)
    spec["properties"]["replicas"]["default"] = 1  # GET /scale answers 500 without it
    status["default"] = {"conditions": [WAITING]}
    schema: Schema = {
        "type": "object",
        "description": "LLMDeployment is an LLM server that tacho plans, launches and measures.",
        "properties": {
            "apiVersion": {"type": "string", "description": f"Version of the API: {API_VERSION}."},
            "kind": {"type": "string", "description": f"Kind of the object: {KIND}."},
            "metadata": {"type": "object"},
            "spec": spec,
            "status": status,
        },
        "required": ["spec"],
    }
    for rule in rules:
        rendered = {"rule": rule.cel, "message": rule.message}
        at(schema, rule.path).setdefault("x-kubernetes-validations", []).append(rendered)
    return schema


def at(schema: Schema, path: str) -> Schema:
    """The part of a schema at a path like `spec.engine.env[]`; KeyError where the schema has no such path."""
    node = schema
    for step in path.replace("[]", ".[]").split(".") if path else ():
        node = node["items"] if step == "[]" else node["properties"][step]
    return node
