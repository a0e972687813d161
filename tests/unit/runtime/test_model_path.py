"""Which path the engine gets, and what is said when there is none."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path
from typing import Any

import pytest

from tacho_contract.failure import FailedError
from tacho_contract.launch import CustomEngine, RuntimeConfig
from tacho_engines.run_parts import loadable_files
from tacho_runtime.supervisor.model_files import engine_path
from tests.launching import changed, runtime_config

LLAMACPP = runtime_config(
    revision="r",
    plan_key="p",
    engine="llamacpp",
    model_path="",
    served_name="s",
    max_model_len=1,
    concurrency=1,
)


def path_of(config: RuntimeConfig, root: str) -> str:
    return engine_path(config.model, loadable_files(config.engine), root)


def make(folder: Path, *names: str, content: bytes = b"GGUF\x03\0\0\0") -> None:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


def failed(folder: Path, **changes: Any) -> tuple[str, str]:
    with pytest.raises(FailedError) as raised:
        path_of(changed(LLAMACPP, **changes), str(folder))
    failure = raised.value.failure
    assert "spec.model" in failure.next_step or "again" in failure.next_step
    return failure.failure_class, failure.message


def test_the_plans_file_needs_no_search(tmp_path: Path) -> None:
    make(tmp_path, "a.gguf", "b.gguf")
    config = changed(LLAMACPP, model_file="b.gguf")
    assert path_of(config, str(tmp_path)) == str(tmp_path / "b.gguf")


def test_a_file_may_be_named_itself(tmp_path: Path) -> None:
    make(tmp_path, "a.gguf", "b.gguf")
    assert path_of(LLAMACPP, str(tmp_path / "a.gguf")) == str(tmp_path / "a.gguf")


def test_a_split_model_is_its_first_part(tmp_path: Path) -> None:
    make(tmp_path, *(f"m-0000{index}-of-00003.gguf" for index in (1, 2, 3)))
    config = changed(LLAMACPP, model_file="m-00001-of-00003.gguf")
    assert path_of(config, str(tmp_path)) == str(tmp_path / "m-00001-of-00003.gguf")


def test_a_missing_part_is_named(tmp_path: Path) -> None:
    make(tmp_path, "m-00001-of-00003.gguf", "m-00003-of-00003.gguf")
    failure_class, message = failed(tmp_path, model_file="m-00001-of-00003.gguf")
    assert failure_class == "ModelNotFound"
    assert "m-00002-of-00003.gguf" in message
    assert "2 of 3" in message


def test_nothing_found_says_what_is_there(tmp_path: Path) -> None:
    make(tmp_path, "model.gguf")
    words = f"{tmp_path}/other.gguf does not exist; {tmp_path} holds model.gguf"
    assert failed(tmp_path, model_file="other.gguf") == ("ModelNotFound", words)


def test_missing_folder(tmp_path: Path) -> None:
    failure_class, message = failed(tmp_path / "models" / "x")
    assert failure_class == "ModelNotFound"
    assert "models/x does not exist" in message


def test_empty_claim(tmp_path: Path) -> None:
    assert "is empty" in failed(tmp_path, model_file="model.gguf")[1]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "not a GGUF file"),
        (b"<html>404</html>", "not a GGUF file"),
        (b"version https://git-lfs.github.com/spec/v1\n", "Git LFS pointer"),
    ],
)
def test_what_is_no_gguf_is_told_apart(tmp_path: Path, content: bytes, words: str) -> None:
    make(tmp_path, "model.gguf", content=content)
    failure_class, message = failed(tmp_path, model_file="model.gguf")
    assert failure_class == "ModelInvalid"
    assert words in message


def test_other_engines_get_the_folder(tmp_path: Path) -> None:
    make(tmp_path, "model.safetensors", content=b"x")
    config = dataclasses.replace(LLAMACPP, engine="custom", custom=CustomEngine(command=("x",)))
    assert path_of(config, str(tmp_path)) == str(tmp_path)
    with pytest.raises(FailedError, match=r"no file .* matches \*\.bin"):
        path_of(changed(config, files=("*.bin",)), str(tmp_path))


def test_a_pipe_in_place_of_the_model_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "m.gguf")
    with pytest.raises(FailedError, match="is no file"):
        path_of(changed(LLAMACPP, model_file="m.gguf"), str(tmp_path))
