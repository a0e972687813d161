"""The API says what exists: fields nobody sets yet are reserved words, not promises."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

from pydantic import BaseModel

from tacho_operator.api.base import PLANNED_KEYWORD
from tacho_operator.api.crd.definition import COLUMNS
from tacho_operator.api.crd.schema import structural
from tacho_operator.api.status import measurement, status
from tacho_operator.api.status.status import LLMDeploymentStatus

ROOT = Path(__file__).resolve().parents[3] / "operator" / "tacho_operator"


def models(model: type[BaseModel], planned: bool = False) -> Iterator[tuple[type[BaseModel], str, bool]]:
    """(model, field, planned) of everything below ``model``."""
    for name, field in model.model_fields.items():
        extra = field.json_schema_extra
        mark = planned or (isinstance(extra, dict) and bool(extra.get(PLANNED_KEYWORD)))
        yield model, name, mark
        for inner in nested(field.annotation):
            yield from models(inner, mark)


def nested(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for part in get_args(annotation):
        yield from nested(part)


def leaves(schema: dict[str, Any]) -> Iterator[str]:
    for name, child in schema.get("properties", {}).items():
        yield name
        yield from leaves(child)
        yield from leaves(child.get("items", {}))


def constructed(name: str) -> list[str]:
    """Places of the operator that name this class of the API outside it."""
    return [
        f"{path.relative_to(ROOT)}:{node.lineno}"
        for path in ROOT.rglob("*.py")
        if path.relative_to(ROOT).parts[0] != "api"
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("tacho_operator.api")
        if any(alias.name == name for alias in node.names)
    ]


def test_some_fields_are_planned_and_most_are_not() -> None:
    marks = [mark for _, _, mark in models(LLMDeploymentStatus)]
    assert 20 < sum(marks) < len(marks) / 2


def test_planned_fields_are_neither_in_the_crd_nor_in_a_column() -> None:
    shown = set(leaves(structural(LLMDeploymentStatus)))
    kept = {field.alias or name for m, name, mark in models(LLMDeploymentStatus) if not mark
            for field in [m.model_fields[name]]}  # fmt: skip
    for model, name, mark in models(LLMDeploymentStatus):
        alias = model.model_fields[name].alias or name
        if mark and alias not in kept:
            assert alias not in shown, alias
    paths = [path.rsplit(".", 1)[-1] for _, _, path, _, _ in COLUMNS if path.startswith(".status")]
    assert paths
    assert set(paths) - {"status", "reason"} <= shown


def test_nothing_makes_a_value_that_is_planned() -> None:
    """A class that only planned fields hold is never constructed; a planned field is never passed."""
    used = {m.__name__ for m, _, mark in models(LLMDeploymentStatus) if not mark}
    planned = {m.__name__ for m, _, mark in models(LLMDeploymentStatus) if mark} - used
    assert {"Goodput", "Saturation", "Fit", "KvCache", "Quality", "AutoscalingStatus"} <= planned
    for name in planned:
        assert constructed(name) == [], f"{name} is built now: take its mark away"
    fields = {name for m, name, mark in models(LLMDeploymentStatus) if mark and m.__name__ in used}
    free = {name for _, name, mark in models(LLMDeploymentStatus) if not mark}
    passed = {
        keyword.arg
        for room in ("status", "measurement")  # where status is made
        for path in (ROOT / "core" / room).rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call)
        for keyword in node.keywords
    }
    assert not (fields - free) & passed


def test_every_model_of_the_status_hangs_on_it() -> None:
    """A class that nothing refers to is not part of the API."""
    reached = {m for m, _, _ in models(LLMDeploymentStatus)}
    for module in (measurement, status):
        own = {v for v in vars(module).values() if isinstance(v, type) and v.__module__ == module.__name__}
        assert own <= reached, module.__name__
