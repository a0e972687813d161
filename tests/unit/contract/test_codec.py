"""Documents to JSON and back; objects whose keys stand among their owner's."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import pytest
from hypothesis import given, strategies as st

from tacho_contract import codec
from tacho_contract.fetch import FetchConfig
from tacho_contract.model import FileSet, InspectConfig, ModelFacts, ModelFiles
from tacho_contract.report import MAX_EDGES, LatencyHistogram, Load
from tacho_contract.uri import HubUri, parse_uri
from tacho_operator.core.planner.types import ModelPlan

WORDS = st.text(max_size=8)
FILES = st.builds(
    ModelFiles,
    commit=WORDS,
    globs=st.lists(WORDS, max_size=3).map(tuple),
    file_count=st.integers(0, 2**31),
    total_bytes=st.integers(0, 2**53),
    files_digest=WORDS,
    digest=WORDS,
    model_file=WORDS,
)
LISTED = {"commit", "files", "fileCount", "totalBytes", "filesDigest"}


def plan(files: ModelFiles) -> ModelPlan:
    return ModelPlan(
        engine="e",
        engine_version="1",
        image="i",
        entrypoint=(),
        quantization_method="none",
        files=files,
        max_model_len=1,
        concurrency=1,
        message="",
    )


URI = HubUri("acme/model")


@given(FILES)
def test_the_facts_of_a_model_keep_their_keys(files: ModelFiles) -> None:
    facts = ModelFacts(uri=URI, files=files, format="gguf")
    data = codec.to_dict(facts)
    assert {*LISTED, "digest", "modelFile"} < set(data)
    assert (data["files"], data["totalBytes"]) == (list(files.globs), files.total_bytes)
    assert codec.from_dict(ModelFacts, data) == facts


@given(FILES)
def test_a_frozen_plan_keeps_its_keys(files: ModelFiles) -> None:
    data = codec.to_dict(plan(files))
    assert {*LISTED, "modelDigest", "modelFile"} < set(data)
    assert "digest" not in data
    assert codec.from_dict(ModelPlan, data) == plan(files)


@given(FILES)
def test_fetch_is_told_what_it_needs_and_no_more(files: ModelFiles) -> None:
    config = FetchConfig(repository="a/b", files=files)
    data = codec.to_dict(config)
    assert set(data) == {*LISTED, "repository", "cacheDir", "endpoint", "stateDir"}
    read = codec.from_dict(FetchConfig, data)
    assert type(read.files) is FileSet
    assert codec.to_dict(read) == data
    assert codec.from_dict(FetchConfig, codec.to_dict(read)) == read


def test_a_plan_that_was_frozen_field_by_field_is_read() -> None:
    data = {
        "engine": "llamacpp",
        "engineVersion": "b10000",
        "image": "registry.example/tacho-llamacpp:1.0.0",
        "entrypoint": ["llama-server"],
        "python": "python3",
        "quantizationMethod": "gguf",
        "commit": "c" * 40,
        "modelDigest": "d" * 64,
        "files": ["*Q4_K_M.gguf"],
        "fileCount": 1,
        "filesDigest": "f" * 64,
        "totalBytes": 96_576_768,
        "modelFile": "a-Q4_K_M.gguf",
        "maxModelLen": 2048,
        "concurrency": 4,
        "predicted": {},
        "message": "",
        "alternatives": [],
    }
    assert codec.from_dict(ModelPlan, data).files == ModelFiles(
        commit="c" * 40,
        digest="d" * 64,
        globs=("*Q4_K_M.gguf",),
        file_count=1,
        total_bytes=96_576_768,
        files_digest="f" * 64,
        model_file="a-Q4_K_M.gguf",
    )


@pytest.mark.parametrize("key", ["digest", "totalBytes", "files"])
def test_a_missing_key_is_named_by_its_owner(key: str) -> None:
    files = ModelFiles(commit="", globs=(), file_count=0, total_bytes=0, files_digest="", digest="d")
    data = codec.to_dict(ModelFacts(uri=URI, files=files, format="gguf"))
    del data[key]
    with pytest.raises(codec.DocumentError, match=r"^ModelFacts: "):
        codec.from_dict(ModelFacts, data)


def test_a_value_of_the_wrong_type_is_named_by_its_key() -> None:
    files = ModelFiles(commit="", globs=(), file_count=0, total_bytes=0, files_digest="", digest="d")
    data = codec.to_dict(plan(files))
    with pytest.raises(codec.DocumentError, match=r"ModelPlan\.modelDigest: expected str"):
        codec.from_dict(ModelPlan, {**data, "modelDigest": 1})


@pytest.mark.parametrize("value", ["NaN", "-Infinity", "1e999", "1" + "0" * 400, str(2**63)])
@pytest.mark.parametrize("key", ["kvCacheUsage", "running"])
def test_a_number_that_cannot_be_written_again_is_refused(key: str, value: str) -> None:
    with pytest.raises(codec.DocumentError, match=rf"^Load\.{key}: "):
        codec.loads(Load, f'{{"{key}": {value}, "observedTime": "t"}}')


def test_half_a_surrogate_pair_is_not_passed_on() -> None:
    """It cannot be encoded: a log line or a screen with it would raise."""
    document = codec.loads(Load, r'{"observedTime": "a\ud800b\u00e9"}')
    assert document.observed_time == "a?bé"


@dataclass(frozen=True, slots=True, kw_only=True)
class Inner:
    first: int
    second: tuple[str, ...] = ()
    third: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Middle:
    inner: Inner = field(metadata=codec.flat(first="one"))
    beside: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Outer:
    middle: Middle = field(metadata=codec.flat())
    many: tuple[Middle, ...] = ()


WHOLE = st.integers(1 - 2**63, 2**63 - 1)
INNER = st.builds(Inner, first=WHOLE, second=st.lists(WORDS, max_size=2).map(tuple), third=st.none() | WORDS)
MIDDLE = st.builds(Middle, inner=INNER, beside=WHOLE)


@given(st.builds(Outer, middle=MIDDLE, many=st.lists(MIDDLE, max_size=2).map(tuple)))
def test_flat_objects_may_stand_in_each_other(document: Outer) -> None:
    data: dict[str, Any] = codec.to_dict(document)
    assert {"middle", "inner", "first"}.isdisjoint(data)
    assert codec.loads(Outer, codec.dumps(document)) == document


@given(MIDDLE)
def test_keys_that_are_not_known_are_ignored(document: Middle) -> None:
    data = codec.to_dict(document)
    assert codec.from_dict(Middle, {**data, "later": 1, "first": "x"}) == document
    del data["beside"]
    assert codec.from_dict(Middle, data) == replace(document, beside=0)


@pytest.mark.parametrize("text", ["hf://acme/model", "pvc://models/llama", "file:///models/llama"])
def test_a_models_uri_travels_as_text(text: str) -> None:
    config = codec.from_dict(InspectConfig, {"uri": text})
    assert config.uri == parse_uri(text)
    assert codec.to_dict(config)["uri"] == text


@pytest.mark.parametrize("data", ["s3://bucket/model", 1, None])
def test_what_is_no_models_uri_is_named(data: object) -> None:
    with pytest.raises(codec.DocumentError, match=r"^InspectConfig\.uri: (?!InspectConfig)"):
        codec.from_dict(InspectConfig, {"uri": data})


@pytest.mark.parametrize(
    ("edges", "counts", "total", "why"),
    [
        ("[0.1,0.2]", "[1]", "1", "2 bucket edges and 1 counts"),
        ("[0.2,0.1]", "[1,1]", "1", "ascending"),
        ("[0.1,0.1]", "[1,1]", "1", "ascending"),
        ("[0.0]", "[1]", "1", "positive"),
        ("[1e999]", "[1]", "1", "finite"),
        ("[NaN]", "[1]", "1", "finite"),
        ("[0.1]", "[1.5]", "2", "expected int, got float"),
        ('["0.1"]', "[1]", "1", "expected float, got str"),
        ("[true]", "[1]", "1", "expected float, got bool"),
        ("[1" + "0" * 400 + "]", "[1]", "1", "more than 63 bits"),
        ("[0.1,0.2]", "[2,1]", "2", "do not ascend"),
        ("[0.1]", "[-1]", "2", "do not ascend"),
        ("[0.1]", "[2]", "1", "do not ascend"),
        ("[0.1]", "[2]", "9" * 17, "beyond"),
        (str([at / 10 + 1 for at in range(MAX_EDGES + 1)]), str([1] * (MAX_EDGES + 1)), "1", "at most"),
    ],
)
def test_what_is_no_histogram_is_refused_with_the_reason(
    edges: str, counts: str, total: str, why: str
) -> None:
    text = f'{{"observedTime":"t","ttft":{{"edgesSeconds":{edges},"counts":{counts},"total":{total}}}}}'
    with pytest.raises(codec.DocumentError, match=why) as caught:
        codec.loads(Load, text)
    assert str(caught.value).startswith("Load.ttft")


def test_a_histogram_travels_and_an_old_runtime_has_none() -> None:
    whole = LatencyHistogram(edges_seconds=(0.01, 2.0), counts=(3, 5), total=6)
    load = Load(observed_time="t", ttft=whole, tpot=LatencyHistogram(total=0))
    assert codec.loads(Load, codec.dumps(load)) == load
    assert codec.loads(Load, '{"observedTime":"t","ttft":{"edgesSeconds":[1],"counts":[1],"total":1}}').ttft
    assert codec.loads(Load, '{"observedTime":"t","running":1}') == Load(observed_time="t", running=1)
