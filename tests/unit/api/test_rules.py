"""The accept/reject table, judged offline, and what a rule may be made of."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import cel
import pytest
import yaml
from hypothesis import given, strategies as st

from tacho_contract.pod import LIVE_DIR, MODEL_DIR, RUNTIME_PORT, TACHO_DIR
from tacho_operator.api.crd.schema import at, resource_schema
from tacho_operator.api.rules import RULES
from tacho_operator.api.rules.offline import validate_offline
from tacho_operator.api.rules.rule import Rule
from tacho_operator.api.types import LLMDeployment
from tests.unit.api.leaves import LEAVES, WRONG, shown, wrong_at
from tests.unit.api.rows import CUSTOM, LLAMACPP, Row
from tests.unit.api.table import TABLE

RULE_MESSAGES = {rule.message for rule in RULES}
EXAMPLES = Path(__file__).parents[3] / "examples"
UNDERSTOOD = {
    *("size", "matches", "startsWith", "endsWith", "contains"),
    *("!_", "-_", "@in", "@not_strictly_false", "_!=_", "_%_", "_&&_", "_*_", "_+_", "_<=_", "_==_", "_>_"),
    *("_?_:_", "_||_", "_>=_", "_<_", "_-_"),
}
"""What the API server's evaluator and the offline one are known to understand alike."""


@pytest.mark.parametrize("row", TABLE, ids=lambda row: row.name)
def test_offline_says_of_each_row_what_the_table_says(row: Row) -> None:
    problems = validate_offline(row.document(), cluster=True)
    assert {problem.message for problem in problems} & RULE_MESSAGES == row.messages()
    assert bool(problems) == bool(row.messages() or row.malformed)
    if row.malformed:
        assert row.malformed in [problem.path for problem in problems]


@pytest.mark.parametrize("row", [row for row in TABLE if not row.offline_too], ids=lambda row: row.name)
def test_rules_of_a_cluster_do_not_hold_offline(row: Row) -> None:
    assert validate_offline(row.document()) == []


@pytest.mark.parametrize(
    "row", [row for row in TABLE if not row.malformed and not row.refused], ids=lambda row: row.name
)
def test_what_is_accepted_can_be_read_and_written_back(row: Row) -> None:
    read = LLMDeployment.read(row.document())
    assert LLMDeployment.read(read.to_wire()) == read


def patterns(schema: dict[str, Any]) -> list[str]:
    """Every pattern in a schema."""
    found = [schema["pattern"]] if isinstance(schema.get("pattern"), str) else []
    inner = [*schema.get("properties", {}).values(), schema.get("items"), schema.get("additionalProperties")]
    return found + [one for item in inner if isinstance(item, dict) for one in patterns(item)]


def test_a_pattern_means_the_same_to_the_api_server_and_to_pydantic() -> None:
    """Classes such as digits and blanks are those of ASCII for the one, and of Unicode for the other."""
    found = patterns(resource_schema(()))
    assert len(found) > 30
    assert [one for one in found if re.search(r"\\[sSdDwWbB]", one)] == []


@pytest.mark.parametrize("blank", ["\u00a0", "\u2003", "\u0085"])
def test_other_blanks_are_accepted_and_read(blank: str) -> None:
    image = f"registry.example/a{blank}b"
    engine = {"name": "custom", "image": image, "custom": {"command": ["a"], "port": 80}}
    document = {**TABLE[0].document(), "spec": {"model": {"uri": "pvc://models/a"}, "engine": engine}}
    assert validate_offline(document) == []
    found = LLMDeployment.read(document).spec.engine
    assert found is not None
    assert found.image == image


def test_the_table_is_complete() -> None:
    assert len(TABLE) >= 60
    assert len({row.name for row in TABLE}) == len(TABLE)
    refusing = {name for row in TABLE for name in row.refused}
    assert {rule.name for rule in RULES} - refusing == set(), "each rule is shown by a row"


def test_every_leaf_of_spec_has_a_wrong_value() -> None:
    assert WRONG.keys() == set(LEAVES)


def test_offline_names_each_leaf_that_is_wrong() -> None:
    found = {path: [item.path for item in validate_offline(wrong_at(path), cluster=True)] for path in WRONG}
    unnamed = {
        path: paths
        for path, paths in found.items()
        if not any(each.startswith(shown(path)) for each in paths)
    }
    assert unnamed == {}


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.name)
def test_a_rule_is_of_what_both_evaluators_understand(rule: Rule) -> None:
    assert set(cel.compile(rule.cel).functions()) <= UNDERSTOOD
    assert at(resource_schema(()), rule.path)["type"] in {"string", "array", "object"}
    assert "\n" not in rule.message
    assert len(rule.message) <= 2048
    assert re.search(
        r"remove|set |choose|must|needs?|use |write|change|raise|lower|shorten|go(es)? with|serves GGUF"
        r"|take|let |add |has either",
        rule.message,
    ), "a message says what to do"


def test_rules_have_names_of_their_own() -> None:
    assert len({rule.name for rule in RULES}) == len(RULES)


@pytest.mark.parametrize(
    ("document", "path"),
    [
        (None, ""),
        ([], ""),
        ("text", ""),
        ({}, "apiVersion"),
        ({"apiVersion": "tacho.dev/v1alpha1", "kind": "Deployment"}, "kind"),
        ({"apiVersion": "tacho.dev/v1alpha1", "kind": "LLMDeployment", "metadata": {}}, "metadata.name"),
        (
            {"apiVersion": "tacho.dev/v1alpha1", "kind": "LLMDeployment", "metadata": {"name": 7}},
            "metadata.name",
        ),
        ({"apiVersion": "tacho.dev/v1alpha1", "kind": "LLMDeployment", "metadata": {"name": "a"}}, "spec"),
    ],
)
def test_documents_that_are_something_else(document: Any, path: str) -> None:
    assert path in [problem.path for problem in validate_offline(document)]


@pytest.mark.parametrize(
    ("metadata", "path"),
    [
        ({"labels": {"prod": True}}, "metadata.labels.prod"),
        ({"annotations": {"revision": 7}}, "metadata.annotations.revision"),
        ({"annotations": {7: "x"}}, "metadata.annotations.7"),
        ({"namespace": 7}, "metadata.namespace"),
        ({"name": 7}, "metadata.name"),
    ],
)
def test_metadata_that_is_no_text_is_to_be_put_in_quotes(metadata: dict[str, Any], path: str) -> None:
    """As the API server refuses it. Elsewhere it ended the command as an internal error."""
    document = Row(name="x").document()
    (problem,) = validate_offline({**document, "metadata": {**document["metadata"], **metadata}})
    assert (problem.path, "put it in quotes" in problem.message) == (path, True)


@pytest.mark.parametrize("of", ["labels", "annotations"])
def test_null_in_metadata_is_an_empty_text(of: str) -> None:
    """As the API server reads it."""
    document = Row(name="x").document()
    given = {**document, "metadata": {**document["metadata"], of: {"a": None}}}
    assert validate_offline(given) == []
    assert getattr(LLMDeployment.read(given).metadata, of)["a"] == ""


def test_an_unknown_field_names_its_neighbour() -> None:
    document = Row(name="x", change={"engine.extraargs": ["-v"], "probe": {"timeout": 3}}).document()
    said = {problem.path: problem.message for problem in validate_offline(document)}
    assert said["spec.engine.extraargs"] == "unknown field; did you mean extraArgs?"
    assert "timeoutSeconds" in said["spec.probe.timeout"]


@pytest.mark.parametrize(
    ("method", "meant"),
    [
        ("nf4", "bnb-nf4"),
        ("NF4", "bnb-nf4"),
        ("int4", "bnb-nf4"),
        ("4bit", "bnb-nf4"),
        ("int8", "bnb-int8 or ct2-int8 or ct2-int8-float16"),
        ("bnb_nf4", "bnb-nf4"),
        ("AWQ", "awq"),
    ],
)
def test_a_method_by_another_tools_name_names_the_one_here(method: str, meant: str) -> None:
    document = Row(name="x", change={"quantization.method": method}).document()
    said = {problem.path: problem.message for problem in validate_offline(document)}
    assert said["spec.quantization.method"].endswith(f"; did you mean {meant}?")


def test_a_method_that_is_like_none_here_names_them_all() -> None:
    document = Row(name="x", change={"quantization.method": "exl2"}).document()
    said = {problem.path: problem.message for problem in validate_offline(document)}
    assert said["spec.quantization.method"].endswith("ct2-int8-float16")


@pytest.mark.parametrize(
    ("size", "words"),
    [
        ("16GB", "write 16G or 16Gi"),
        ("16 gb", "write 16G or 16Gi"),
        ("1.5gib", "write 1.5Gi"),
        ("much", "such as 500m, 4 or 8Gi"),
    ],
)
def test_a_quantity_in_another_form_names_those_that_are_read(size: str, words: str) -> None:
    document = Row(name="x", change={"engine.resources": {"limits": {"memory": size}}}).document()
    said = {problem.path: problem.message for problem in validate_offline(document)}
    message = said["spec.engine.resources.limits.memory"]
    assert message.startswith(f"'{size}' is not a quantity")
    assert message.endswith(words)


def test_keys_that_yaml_does_not_read_as_text() -> None:
    document = Row(name="x", change={"podTemplate": {"spec": {"nodeSelector": {True: "x"}}}}).document()
    assert ["quotes" in problem.message for problem in validate_offline(document)] == [True]


def test_spellings_that_cel_does_not_see_are_found() -> None:
    arguments = ['--hf-overrides={"trust_remote_code": true}', "--trust-remote", "--threads=2"]
    problems = validate_offline(Row(name="x", change={"engine.extraArgs": arguments}).document())
    assert [problem.path for problem in problems] == ["spec.engine.extraArgs[0]", "spec.engine.extraArgs[1]"]
    assert all("model.trustRemoteCode" in problem.message for problem in problems)


@pytest.mark.parametrize("folder", [TACHO_DIR, MODEL_DIR, LIVE_DIR, "/dev/shm"])
def test_the_folders_of_the_runtime_are_taken(folder: str) -> None:
    change = {
        "engine.volumeMounts": [{"name": "v", "mountPath": folder}],
        "podTemplate": {"spec": {"volumes": [{"name": "v", "emptyDir": {}}]}},
    }
    problems = validate_offline(Row(name="x", change=change).document())
    assert [problem.path for problem in problems] == ["spec.engine.volumeMounts"]


def test_the_port_of_the_runtime_is_taken() -> None:
    change = {"engine.custom.port": RUNTIME_PORT}
    problems = validate_offline(Row(name="x", base=CUSTOM, change=change).document())
    assert [problem.path for problem in problems] == ["spec.engine.custom"]


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


@given(field=st.sampled_from(sorted({"model", "engine", "gpu", "probe", "podTemplate", "replicas", "cache"})),
       value=JSON)  # fmt: skip
def test_nonsense_is_told_never_raised(field: str, value: Any) -> None:
    document = Row(name="x", change={field: value}).document()
    for problem in validate_offline(document):
        assert problem.message


@given(document=JSON)
def test_any_document_is_answered(document: Any) -> None:
    assert validate_offline(document)


def test_the_base_is_what_a_person_would_write() -> None:
    text = yaml.safe_dump(Row(name="x", base=LLAMACPP).document())
    assert validate_offline(yaml.safe_load(text), cluster=True) == []


@pytest.mark.parametrize("example", sorted(EXAMPLES.glob("*.yaml")), ids=lambda path: path.name)
def test_every_example_is_accepted(example: Path) -> None:
    documents = [
        document
        for document in yaml.safe_load_all(example.read_text())
        if document["apiVersion"].startswith("tacho.dev/")
    ]
    assert documents
    for document in documents:
        assert validate_offline(document, cluster=True) == []
