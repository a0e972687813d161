"""The converter and the definition: nothing slips through, everything is described and bounded."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
from pydantic import BaseModel, Field

from tacho_operator.api.base import ApiModel
from tacho_operator.api.crd.schema import Schema, UnsupportedKeyword, resource_schema, structural
from tacho_operator.api.rules import RULES
from tools.crd import FILES, LIMIT_BYTES, definition, main, render

REPOSITORY = Path(__file__).parents[3]
SCHEMA = resource_schema(RULES)


class Union(ApiModel):
    value: Annotated[int | str, Field(description="x")]


class Exclusive(ApiModel):
    value: Annotated[int, Field(gt=0, description="x")]


class Pair(ApiModel):
    value: Annotated[tuple[int, str], Field(description="x")]


class Unique(ApiModel):
    value: Annotated[set[int], Field(max_length=3, description="x")]


class Float(ApiModel):
    value: Annotated[float, Field(description="x")]


class Multiple(ApiModel):
    value: Annotated[int, Field(multiple_of=2, description="x")]


class Keys(ApiModel):
    value: Annotated[
        dict[Annotated[str, Field(pattern="^a")], Annotated[str, Field(max_length=3)]],
        Field(max_length=3, description="x"),
    ]


class Forbidding(BaseModel, extra="forbid"):
    value: Annotated[int, Field(description="x")]


class Silent(ApiModel):
    value: int


class EndlessText(ApiModel):
    value: Annotated[str, Field(description="x")]


class EndlessList(ApiModel):
    value: Annotated[list[int], Field(description="x")]


class EndlessMap(ApiModel):
    value: Annotated[dict[str, int], Field(description="x")]


class Anything(ApiModel):
    value: Annotated[Any, Field(description="x")]


@pytest.mark.parametrize(
    "model",
    [
        *(Union, Exclusive, Pair, Unique, Float, Multiple, Keys, Forbidding, Silent),
        *(EndlessText, EndlessList, EndlessMap, Anything),
    ],
)
def test_what_a_structural_schema_cannot_say_is_refused(model: type[BaseModel]) -> None:
    with pytest.raises(UnsupportedKeyword, match=r"value|Forbidding"):
        structural(model)


class Inner(ApiModel):
    """Inner."""

    word: Literal["a"] = "a"
    """A word."""


class Outer(ApiModel):
    inner: Inner | None = None
    """First
    and second line."""


def test_references_are_inlined_and_absent_is_not_null() -> None:
    assert structural(Outer) == {
        "type": "object",
        "properties": {
            "inner": {
                "type": "object",
                "description": "First and second line.",
                "properties": {"word": {"type": "string", "enum": ["a"], "description": "A word."}},
            }
        },
    }


def nodes(schema: Schema, path: str = "") -> Iterator[tuple[str, Schema]]:
    yield path, schema
    for name, child in schema.get("properties", {}).items():
        yield from nodes(child, f"{path}.{name}")
    if "items" in schema:
        yield from nodes(schema["items"], f"{path}[]")


def test_only_what_never_changes_is_stored_as_a_default() -> None:
    assert {path for path, node in nodes(SCHEMA) if "default" in node} == {".spec.replicas", ".status"}


def test_every_field_is_described_in_sentences() -> None:
    for path, node in nodes(SCHEMA):
        if path and not path.endswith("[]") and path != ".metadata":
            assert node["description"].endswith((".", '"', "}]", "]", "}", ")")), path
            assert len(node["description"]) >= 10, path


def test_every_integer_says_its_size_and_every_duration_its_unit() -> None:
    for path, node in nodes(SCHEMA):
        if node.get("type") == "integer":
            assert node["format"] in {"int32", "int64"}, path
        name = path.rsplit(".", 1)[-1].lower()
        if node.get("type") in {"integer", "string"} and ("timeout" in name or "duration" in name):
            assert name.endswith(("seconds", "milliseconds")), path


def test_lists_of_objects_are_maps_or_replaced_whole() -> None:
    for path, node in nodes(SCHEMA):
        if node.get("type") == "array":
            kind = node["x-kubernetes-list-type"]
            assert kind in {"map", "set", "atomic"}, path
            if kind == "map":
                assert set(node["x-kubernetes-list-map-keys"]) <= set(node["items"]["required"]), path


def test_rules_stand_where_they_belong_and_none_is_lost() -> None:
    rendered = [rule for _, node in nodes(SCHEMA) for rule in node.get("x-kubernetes-validations", ())]
    assert len(rendered) == len(RULES)


def test_descriptions_stand_alone() -> None:
    """`kubectl explain` sorts fields by name: "the same" and "that one" would mean another field there."""
    for path, node in nodes(SCHEMA):
        said = node.get("description", "")
        assert not re.match(r"(The same|Of|At the|Its?|Their|That|This) ", said), f"{path}: {said}"
        assert not re.search(r"[a-z]_[a-z]|as the next|that minute", said), f"{path}: {said}"


def test_the_written_files_are_what_the_types_say() -> None:
    assert main(["--check"]) == 0


def _drifted(capsys: pytest.CaptureFixture[str]) -> list[str]:
    shown = capsys.readouterr().out
    return [name for name in FILES if f"{name} has drifted" in shown]


def test_a_stale_file_is_found_and_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--check"], tmp_path) == 1
    assert _drifted(capsys) == list(FILES)
    assert main([], tmp_path) == main(["--check"], tmp_path) == 0
    file = tmp_path / next(iter(FILES))
    file.write_text(file.read_text() + "# edited\n")
    assert main(["--check"], tmp_path) == 1
    assert _drifted(capsys) == [next(iter(FILES))]


def test_the_definition_fits_into_the_annotation_of_a_client_side_apply() -> None:
    as_stored = json.dumps(definition(), separators=(",", ":"))  # kubectl writes no blanks either
    assert len(as_stored) < 128 * 1024
    assert len(render().encode()) < LIMIT_BYTES
