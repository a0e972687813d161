"""Offline validation: the API server's answer to a document, without an API server.

Each rule is declared once (`model.py`, `engines.py`, `service.py`), rendered into the
CustomResourceDefinition for the API server, and evaluated here by a CEL library.

`tacho plan` and `tacho run` check a file with it: a file that passes is accepted by the cluster, and the
messages are the same.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from functools import cache
from importlib import import_module
from importlib.machinery import PathFinder
from importlib.util import find_spec, module_from_spec
from typing import TYPE_CHECKING, Any

from tacho_operator.api import API_VERSION, KIND
from tacho_operator.api.base import nulls_as_empty
from tacho_operator.api.crd.schema import Schema, resource_schema
from tacho_operator.api.rules import RULES
from tacho_operator.api.rules.deny_list import RefusedSetting, refused_arguments, refused_variables
from tacho_operator.api.rules.rule import Rule
from tacho_operator.api.rules.structure import Violation, check

if TYPE_CHECKING:
    from cel import Program

_ENVIRONMENTS = (("engine", "env"), ("model", "hub", "env"))
_TEXT: Schema = {"type": "string"}
_TEXTS: Schema = {"type": "object", "additionalProperties": _TEXT}
_METADATA: Schema = {
    "type": "object",
    "properties": {"name": _TEXT, "namespace": _TEXT, "labels": _TEXTS, "annotations": _TEXTS},
    "required": ["name"],
}
"""Schema of what tacho reads of metadata; a CustomResourceDefinition has none."""


def validate_offline(document: Any, *, cluster: bool = False) -> list[Violation]:
    """Every violation in an LLMDeployment as read from YAML or JSON; empty: the document is valid.

    With ``cluster``, rules that apply only in a cluster (no file:// models) are checked too. As on the API
    server, rules between fields are checked only if types, names and sizes are valid.
    """
    problems = list(_identity(document))
    if problems:
        return problems
    problems.extend(check(document, _schema(), ""))
    if any(problem.blocking for problem in problems):
        return problems
    pruned = _without_nulls(document)
    rules = [rule for rule in RULES if cluster or not rule.cluster_only]
    found = [problem for rule in rules for problem in _violations(rule, pruned)]
    return [*problems, *found, *_bypasses(pruned["spec"])]


def _identity(document: Any) -> Iterator[Violation]:
    if not isinstance(document, dict):
        yield Violation("", f"the document must be an object with apiVersion: {API_VERSION} and kind: {KIND}")
        return
    for name, required in (("apiVersion", API_VERSION), ("kind", KIND)):
        if document.get(name) != required:
            yield Violation(name, f"must be {required}, not {document.get(name)!r}")
    metadata = document.get("metadata")
    given = metadata if isinstance(metadata, dict) else {}
    read = {name: nulls_as_empty(value) for name, value in given.items() if name in _METADATA["properties"]}
    yield from check(read, _METADATA, "metadata")


@cache
def _schema() -> Schema:
    schema = resource_schema(())
    schema["properties"]["apiVersion"]["maxLength"] = 64
    return schema


def _without_nulls(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: _without_nulls(v) for k, v in value.items() if v is not None}
    if isinstance(value, list):
        return [_without_nulls(item) for item in value]
    return value


def _violations(rule: Rule, document: Any) -> Iterator[Violation]:
    steps = rule.path.replace("[]", ".[]").split(".") if rule.path else []
    for path, value in _places(document, steps, ""):
        if _compiled(rule.cel).execute({"self": value}) is not True:
            yield Violation(path, rule.message)


def _places(value: Any, steps: list[str], path: str) -> Iterator[tuple[str, Any]]:
    """(path, value) of each value at a rule's path; empty where a field on the path is absent."""
    if not steps:
        yield path, value
    elif steps[0] == "[]":
        for index, item in enumerate(value):
            yield from _places(item, steps[1:], f"{path}[{index}]")
    elif steps[0] in value:
        yield from _places(value[steps[0]], steps[1:], f"{path}.{steps[0]}" if path else steps[0])


@cache
def _compiled(expression: str) -> Program:
    program: Program = _library().compile(expression)
    return program


@cache
def _library() -> Any:
    """The module of the CEL library. Importing its package would also import a terminal user interface, which
    takes 0.6 s.
    """
    package = find_spec("cel")
    found = PathFinder.find_spec("cel.cel", package.submodule_search_locations) if package else None
    if found is None or found.loader is None:
        return import_module("cel")
    module = sys.modules.get(found.name) or module_from_spec(found)
    if found.name not in sys.modules:
        found.loader.exec_module(module)
        sys.modules[found.name] = module  # shared with every import of the package
    return module


def _bypasses(spec: dict[str, Any]) -> Iterator[Violation]:
    """Refused switches and variables in spellings that CEL cannot detect, one violation each."""
    arguments = spec.get("engine", {}).get("extraArgs", [])
    yield from _refusals("spec.engine.extraArgs", refused_arguments(arguments))
    for steps in _ENVIRONMENTS:
        node: Any = spec
        for step in steps:
            node = node.get(step, {})
        path = ".".join(("spec", *steps))
        yield from _refusals(path, refused_variables([(item["name"], item.get("value")) for item in node]))


def _refusals(path: str, refusals: tuple[RefusedSetting, ...]) -> Iterator[Violation]:
    for refusal in refusals:
        yield Violation(f"{path}[{refusal.index}]", refusal.message)
