# ruff: noqa: E501 - tables, a row each
from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import assume, given, strategies as st

from tacho_contract.failure import FailedError, FailureClass
from tacho_engines.run_parts import ALL_FILES, loadable_files
from tacho_runtime.headers.source import FileEntry
from tacho_runtime.hub.select import Selection, matches, select

COMPANIONS = ("config.json", "tokenizer.json", "tokenizer_config.json")


def entries(*paths: str) -> tuple[FileEntry, ...]:
    return tuple(FileEntry(path, 1000 + n) for n, path in enumerate(sorted(paths)))


def chosen(*paths: str, globs: tuple[str, ...] = (), engine: str = "vllm") -> Selection:
    everything = entries(*paths)
    selection = select(everything, globs, loadable_files(engine))
    # What the plan carries selects exactly the same again.
    assert tuple(e for e in everything if matches(e.path, selection.globs)) == selection.files
    return selection


def refused(*paths: str, globs: tuple[str, ...] = (), engine: str = "vllm") -> FailedError:
    with pytest.raises(FailedError) as caught:
        select(entries(*paths), globs, loadable_files(engine))
    assert caught.value.failure.next_step
    return caught.value


def paths(selection: Selection) -> set[str]:
    return {entry.path for entry in selection.files}


def test_safetensors_without_duplicate_formats() -> None:
    selection = chosen(
        *COMPANIONS, "model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors",
        "consolidated.safetensors", "params.json", "original/params.json", "original/consolidated.00.pth",
        "model.fp16.safetensors", "pytorch_model.bin", "README.md", "LICENSE.txt", ".gitattributes", "onnx/m.onnx",
        "model.q4.gguf", "merges.txt", "images/a.png", "adapter_model.safetensors", "metal/model.bin",
    )  # fmt: skip
    assert paths(selection) == {
        *COMPANIONS, "params.json", "merges.txt", "model-00001-of-00002.safetensors",
        "model-00002-of-00002.safetensors",
    }  # fmt: skip
    assert selection.format == "safetensors"
    assert len(selection.weights) == 2


def test_vllm_gets_the_configuration_beside_a_gguf_file() -> None:
    assert paths(chosen(*COMPANIONS, "README.md", "m.gguf")) == {*COMPANIONS, "m.gguf"}
    assert paths(chosen(*COMPANIONS, "m.gguf", engine="")) == {*COMPANIONS, "m.gguf"}
    assert paths(chosen(*COMPANIONS, "m.gguf", engine="llamacpp")) == {"m.gguf"}
    assert paths(chosen(*COMPANIONS, "sub/m.gguf")) == {"sub/m.gguf"}


def test_of_the_indexes_the_one_of_the_weights() -> None:
    indexes = ("model.safetensors.index.json", "pytorch_model.bin.index.json")
    shards = [f"model-0000{n}-of-00002.safetensors" for n in (1, 2)]
    pickles = [f"pytorch_model-0000{n}-of-00002.bin" for n in (1, 2)]
    assert paths(chosen(*COMPANIONS, *indexes, *shards, *pickles)) == {*COMPANIONS, *shards, indexes[0]}
    assert paths(chosen(*COMPANIONS, *indexes, *pickles)) == {*COMPANIONS, *pickles, indexes[1]}


def test_single_file_wins_over_variants() -> None:
    selection = chosen(*COMPANIONS, "model.safetensors", "model.fp16.safetensors", "model.int8.safetensors")
    assert [e.path for e in selection.weights] == ["model.safetensors"]


def test_consolidated_only() -> None:
    assert chosen("config.json", "consolidated.safetensors").weights[0].path == "consolidated.safetensors"


def test_index_decides() -> None:
    everything = entries("config.json", "a.safetensors", "b.safetensors", "z.safetensors")
    selection = select(everything, (), loadable_files("vllm"), frozenset({"a.safetensors", "b.safetensors"}))
    assert [e.path for e in selection.weights] == ["a.safetensors", "b.safetensors"]
    with pytest.raises(FailedError, match=r"not there: c\.safetensors"):
        select(everything, (), loadable_files("vllm"), frozenset({"c.safetensors"}))


def test_missing_shard() -> None:
    refusal = refused("config.json", "model-00001-of-00003.safetensors", "model-00003-of-00003.safetensors")
    assert "2 of 3 parts" in refusal.failure.message
    refused("config.json", "m-00001-of-00002.gguf", engine="llamacpp")


def test_one_gguf() -> None:
    selection = chosen("m.Q4_K_M.gguf", "mmproj-f16.gguf", "README.md", "config.json", engine="llamacpp")
    assert (paths(selection), selection.model_file) == ({"m.Q4_K_M.gguf"}, "m.Q4_K_M.gguf")


def test_several_ggufs_are_listed_with_sizes() -> None:
    refusal = refused("m.Q4_K_M.gguf", "m.Q8_0.gguf", "big-00001-of-00002.gguf", "big-00002-of-00002.gguf",
                      engine="llamacpp")  # fmt: skip
    assert refusal.failure.failure_class == FailureClass.MODEL_INVALID
    assert "3 GGUF models" in refusal.failure.message
    assert "m.Q8_0.gguf (1.0 kB)" in refusal.failure.message
    assert "spec.model.files" in refusal.failure.next_step


@pytest.mark.parametrize("globs", [("*Q4_K_M.gguf",), ("m.Q4_K_M.gguf",), ("*Q4*",)])
def test_glob_picks_one(globs: tuple[str, ...]) -> None:
    selection = chosen("m.Q4_K_M.gguf", "m.Q8_0.gguf", globs=globs, engine="llamacpp")
    assert selection.model_file == "m.Q4_K_M.gguf"


def test_sharded_gguf_in_a_folder() -> None:
    shards = [f"Q4/m-0000{n}-of-00003.gguf" for n in (1, 2, 3)]
    selection = chosen(*shards, "Q8/m.gguf", globs=("Q4/*",), engine="llamacpp")
    assert selection.model_file == shards[0]
    assert [e.path for e in selection.weights] == shards


def test_glob_without_a_match_names_what_is_there() -> None:
    refusal = refused("m.Q8_0.gguf", "README.md", globs=("*Q4*",), engine="llamacpp")
    assert refusal.failure.failure_class == FailureClass.MODEL_NOT_FOUND
    assert "'*Q4*'" in refusal.failure.message
    assert "m.Q8_0.gguf" in refusal.failure.message


def test_every_glob_has_to_match() -> None:
    assert "'*.txt'" in refused("m.gguf", globs=("*.gguf", "*.txt"), engine="llamacpp").failure.message


def test_globs_that_match_several_models() -> None:
    assert refused("a.gguf", "b.gguf", globs=("*.gguf",), engine="llamacpp").failure.failure_class == (
        FailureClass.MODEL_INVALID
    )


def test_weights_without_configuration() -> None:
    assert (
        "config.json" in refused("config.json", "model.safetensors", globs=("*.safetensors",)).failure.message
    )


@pytest.mark.parametrize(
    ("engine", "there", "model_format"),
    [
        ("", ("config.json", "model.safetensors", "m.gguf"), "safetensors"),
        ("", ("m.gguf",), "gguf"),
        ("vllm", ("m.gguf", "config.json"), "gguf"),
        ("llamacpp", ("config.json", "model.safetensors", "m.gguf"), "gguf"),
        ("ctranslate2", ("config.json", "model.bin", "vocabulary.json", "model.safetensors"), "ct2"),
        ("", ("config.json", "model.bin", "vocabulary.txt"), "ct2"),
        ("ctranslate2", ("config.json", "model.safetensors", "m.gguf"), "safetensors"),
        ("ctranslate2", ("config.json", "pytorch_model.bin"), "pytorch"),
        ("transformers", ("config.json", "pytorch_model.bin"), "pytorch"),
        ("custom", ("a.bin", "sub/b.bin", ".gitattributes"), "custom"),
    ],
)
def test_format_follows_engine(engine: str, there: tuple[str, ...], model_format: str) -> None:
    assert chosen(*there, engine=engine).format == model_format


@pytest.mark.parametrize(
    ("engine", "there"),
    [
        ("llamacpp", ("config.json", "model.safetensors")),
        ("ctranslate2", ("config.json", "m.gguf")),
        ("transformers", ("m.gguf",)),
        ("vllm", ("README.md",)),
        ("custom", (".gitattributes",)),
    ],
)
def test_nothing_to_load(engine: str, there: tuple[str, ...]) -> None:
    assert refused(*there, engine=engine).failure.failure_class == FailureClass.MODEL_NOT_FOUND


def test_names_with_glob_characters() -> None:
    selection = chosen("m[1]*.gguf", "m1x.txt", engine="llamacpp")
    assert paths(selection) == {"m[1]*.gguf"}


NAMES = st.sampled_from(
    ["model.safetensors", "config.json", "a.json", "sub/a.json", "tokenizer.model", "x.py", "sub/x.py", "vocab.txt",
     "README.md", "m.gguf", "sub/m2.gguf", "model.bin", "pytorch_model.bin", "chat[1].jinja", "k?.json"]
)  # fmt: skip


@given(st.sets(NAMES, min_size=1), st.sampled_from(["", "vllm", "llamacpp", "ctranslate2", "custom"]))
def test_globs_always_select_exactly_the_files(names: set[str], engine: str) -> None:
    everything = entries(*names)
    try:
        selection = select(everything, (), loadable_files(engine))
    except FailedError:
        assume(False)
    assert tuple(e for e in everything if matches(e.path, selection.globs)) == selection.files


@pytest.mark.timeout(60)
def test_twenty_thousand_endings_are_not_each_compared_with_every_file() -> None:
    named = [f"{n}.{n // 2}" for n in range(19_999)]
    selection = select(entries(".gitattributes", *named), (), ALL_FILES)
    assert len(selection.files) == len(named)


def test_python_files_are_loaded_where_the_user_trusts_them_alone() -> None:
    files = entries(*COMPANIONS, "model.safetensors", "modeling_x.py", "tokenizer_x.py")
    without = select(files, (), loadable_files("vllm"))
    assert paths(without) == {*COMPANIONS, "model.safetensors"}
    trusted = select(files, (), replace(loadable_files("vllm"), code=True))
    assert paths(trusted) == {entry.path for entry in files}
