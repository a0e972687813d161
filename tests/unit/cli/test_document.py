"""What a person may write into a manifest, and what they are told about it."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest
import yaml

from tacho_cli.inputs import document
from tacho_cli.problems import CommandError
from tests.unit.cli.commands import SMOLLM2, manifest

POD = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "x"}}


def named(name: str) -> dict[str, object]:
    return {**SMOLLM2, "metadata": {"name": name}}


def stored(folder: Path, *documents: object) -> str:
    path = folder / "all.yaml"
    path.write_text(yaml.safe_dump_all(documents))
    return str(path)


def test_the_one_deployment_is_found_among_other_objects(tmp_path: Path) -> None:
    assert document.read(stored(tmp_path, POD, None, SMOLLM2))["metadata"]["name"] == "smollm2"


def test_lists_as_kubectl_prints_them_are_looked_into(tmp_path: Path) -> None:
    listed = {"apiVersion": "v1", "kind": "List", "items": [POD, named("a"), named("b")]}
    assert document.read(stored(tmp_path, listed), "b")["metadata"]["name"] == "b"


def test_yaml_may_begin_like_json(tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    for text in ("{a: [1]}", '{"a": [1]}', ' {"a": [1,],}'):
        path.write_text(text)
        assert document.load(str(path), "a file") == {"a": [1]}
    path.write_text("{a: ")
    with pytest.raises(CommandError, match="neither JSON nor YAML"):
        document.load(str(path), "a file")


@pytest.mark.parametrize("mark", ["", "\ufeff"])
def test_a_manifest_may_be_json_with_tabs(mark: str, tmp_path: Path) -> None:
    """kubectl takes it."""
    path = tmp_path / "a.json"
    path.write_text(mark + json.dumps(SMOLLM2, indent="\t"))
    assert document.read(str(path)) == SMOLLM2
    assert document.load(str(path), "a file") == SMOLLM2


def test_a_closed_standard_input_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", None)
    with pytest.raises(CommandError, match="-: stdin is closed; name a YAML file"):
        document.read("-")


def test_standard_input_is_a_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO(yaml.safe_dump(SMOLLM2)))
    assert document.read("-")["kind"] == "LLMDeployment"


def test_a_long_standard_input_is_not_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("#" * (document.LIMIT_BYTES + 1)))
    with pytest.raises(CommandError, match="-: larger than 4 MiB"):
        document.read("-")


def test_a_device_is_not_read_to_its_end() -> None:
    with pytest.raises(CommandError, match="/dev/zero: larger than 4 MiB"):
        document.read("/dev/zero")


@pytest.mark.parametrize(
    ("documents", "name", "words"),
    [
        ([named("a"), named("b")], "", "several LLMDeployments (a, b); choose one with --name"),
        (
            [named("a"), named("b")],
            "c",
            "no LLMDeployment named c in it (found: LLMDeployment a, LL",
        ),
        ([POD], "", "no LLMDeployment in it (found: Pod x)"),
        ([None], "", "no LLMDeployment in it (found: nothing)"),
        (
            [{"kind": "LLMDeployment", "metadata": "x"}, named("a")],
            "",
            "several LLMDeployments ((no name), a)",
        ),
    ],
)
def test_which_one_is_meant_must_be_clear(
    tmp_path: Path, documents: list[object], name: str, words: str
) -> None:
    with pytest.raises(CommandError) as refused:
        document.read(stored(tmp_path, *documents), name)
    assert words in str(refused.value)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"a: [", "not YAML"),
        (b"a: b: c", "mapping values are not allowed here"),
        (b"\x80\x81\xff", "not text"),
        (b"x: " + b"[" * 100_000, "not YAML"),
        (b"#" * (document.LIMIT_BYTES + 1), "larger than 4 MiB"),
        (b"when: 2026-99-99", "not YAML"),
        (b'count: !!int ""', "not YAML"),
        (b"when: !!timestamp x", "not YAML"),
        (b"on: !!bool x", "not YAML"),
    ],
)
def test_what_is_no_manifest_is_refused_in_words(tmp_path: Path, content: bytes, words: str) -> None:
    path = tmp_path / "bad.yaml"
    path.write_bytes(content)
    with pytest.raises(CommandError) as refused:
        document.read(str(path))
    assert words in str(refused.value)
    assert "<unicode string>" not in str(refused.value)


def test_a_missing_file_and_a_folder_are_named(tmp_path: Path) -> None:
    for path, why in ((tmp_path / "no.yaml", "No such file"), (tmp_path, "Is a directory")):
        with pytest.raises(CommandError) as refused:
            document.read(str(path))
        assert str(refused.value).startswith(f"{path}: {why}")


def test_every_problem_is_told_with_its_place(tmp_path: Path) -> None:
    file = manifest(tmp_path, context={"maxModelLen": "long", "concurency": 3})
    with pytest.raises(CommandError) as refused:
        document.typed(document.read(file), file)
    text = str(refused.value)
    assert "spec.context.maxModelLen: must be an integer, not 'long'" in text
    assert "spec.context.concurency: unknown field; did you mean concurrency?" in text


def test_what_the_planner_understands_is_taken_and_contradictions_are_not(tmp_path: Path) -> None:
    file = manifest(
        tmp_path, engine={"name": "vllm"}, gpu={"products": ["L4"], "count": 1}, quantization=None
    )
    _, resource = document.typed(document.read(file), file)
    assert resource.metadata.namespace == "default"
    file = manifest(tmp_path, parallelism={"tensor": 3}, gpu={"count": 2})
    with pytest.raises(CommandError):
        document.typed(document.read(file), file)


@pytest.mark.parametrize("last", ["*a8", "&b [*b]", "&b {c: *b}"])
def test_aliases_of_aliases_are_refused(tmp_path: Path, last: str) -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 9)]
    path = tmp_path / "bomb.yaml"
    path.write_text("\n".join(["kind: LLMDeployment", *lines, f"metadata: {last}"]))
    with pytest.raises(CommandError, match="aliases stand for more than"):
        document.read(str(path))


@pytest.mark.parametrize("number", ["0x" + "f" * 50_000, ":".join(["59"] * 1_000_000), "-0x8000000000000001"])
def test_numbers_too_long_to_be_shown_are_refused(tmp_path: Path, number: str) -> None:
    path = tmp_path / "long.yaml"
    path.write_text(yaml.safe_dump(SMOLLM2).replace("spec:", f"spec:\n  replicas: {number}"))
    with pytest.raises(CommandError, match="a number in it has more than 63 bits"):
        document.read(str(path))


def test_merges_of_merges_are_refused(tmp_path: Path) -> None:
    lines = ["a0: &a0 {x: 1, y: 2}"]
    lines += [f"a{n}: &a{n} {{<<: [{', '.join([f'*a{n - 1}'] * 10)}]}}" for n in range(1, 12)]
    path = tmp_path / "bomb.yaml"
    path.write_text("\n".join(["kind: LLMDeployment", *lines]))
    for read in (document.read, lambda file: document.load(file, "a measurement")):
        with pytest.raises(CommandError, match="aliases stand for more than"):
            read(str(path))
    path.write_text("kind: LLMDeployment\na: &a {x: 1}\nb: {<<: [*a, *a], y: 2}\n")
    assert document.read(str(path))["b"] == {"x": 1, "y": 2}


def test_merges_are_counted_together(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each alone is short, and would be copied before the values are counted."""
    monkeypatch.setattr(document, "VALUES_LIMIT", 1000)
    monkeypatch.setattr(document, "beyond", lambda _: "")
    path = tmp_path / "many.yaml"
    base = "b: &b {" + ", ".join(f"k{n}: 1" for n in range(100)) + "}"
    path.write_text("\n".join(["kind: LLMDeployment", base, *(f"m{n}: {{<<: *b}}" for n in range(20))]))
    with pytest.raises(CommandError, match="aliases stand for more than"):
        document.read(str(path))


def test_a_time_that_is_too_long_is_no_error_of_tacho(tmp_path: Path) -> None:
    path = tmp_path / "long.yaml"
    path.write_text("kind: LLMDeployment\nx: " + "1:" * 190 + "1.5\n")
    with pytest.raises(CommandError, match="not YAML"):
        document.read(str(path))


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("kind: LLMDeployment\nspec:\n  a: 1\n  b: 2\n  a: 3\n", "line 5: the key 'a' is there already"),
        ("kind: LLMDeployment\na: [{b: 1, 'b': 2}]", "line 2: the key 'b' is there already"),
        ('{"kind": "LLMDeployment",\n\t"a": [{"b": 1, "b": 2}]}', "line 2: the key 'b' is there already"),
        ('\ufeff{"a":\n\t{"b": "\\u00e4\\/",\n\t"b": 2}}', "line 3: the key 'b' is there already"),
        ("a: {1: x, 0x1: y}", "line 1: the key '0x1' is there already"),
        ("a:\n  yes: x\n  on: y", "line 3: the key 'on' is there already"),
        ("a: {~: x, null: y}", "line 1: the key 'null' is there already"),
    ],
)
def test_a_key_that_comes_twice_is_refused(tmp_path: Path, content: str, words: str) -> None:
    """Which value is meant is not known; kubectl sends the last one."""
    path = tmp_path / "twice.yaml"
    path.write_text(content)
    for read in (document.read, lambda file: document.load(file, "a measurement")):
        with pytest.raises(CommandError) as refused:
            read(str(path))
        assert str(refused.value).startswith(f"{path}: {words}")


def test_the_line_of_a_key_is_not_searched_in_a_long_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """PyYAML takes 40 s for 4 MiB of JSON."""
    monkeypatch.setattr(document.yaml, "load", lambda *_: pytest.fail("parsed again"))
    path = tmp_path / "long.json"
    path.write_text('{"a": 1, "b": "' + "x" * document.LOCATED_LIMIT + '", "a": 2}')
    with pytest.raises(CommandError, match="the key 'a' comes twice"):
        document.load(str(path), "a measurement")


@pytest.mark.parametrize("key", ["!!seq x", "!!omap x", "!!set x", "!!python/name:os.system x", "!!int y"])
def test_a_key_that_cannot_be_read_is_no_error_of_tacho(tmp_path: Path, key: str) -> None:
    path = tmp_path / "odd.yaml"
    path.write_text(f"{{{key}: 1, b: 2}}")
    with pytest.raises(CommandError, match="not YAML"):
        document.read(str(path))


def test_a_key_of_a_merge_may_come_again(tmp_path: Path) -> None:
    path = tmp_path / "merged.yaml"
    path.write_text("a: &a {x: 1, y: 1}\nb: &b {<<: *a, x: 2}\nc: {<<: *b, <<: *a, y: 3}\n")
    assert document.load(str(path), "a file")["c"] == {"x": 1, "y": 3}


def test_few_aliases_are_as_if_written_out(tmp_path: Path) -> None:
    path = tmp_path / "aliases.yaml"
    path.write_text("kind: LLMDeployment\nmetadata: &m {name: demo}\nspec: {a: *m, b: *m}\n")
    assert document.read(str(path))["spec"] == {"a": {"name": "demo"}, "b": {"name": "demo"}}
