"""Which path the engine gets, and what is said when there is none."""

from __future__ import annotations

from pathlib import Path

import pytest

from tacho_contract.failure import FailedError
from tacho_contract.launch import PlannedModel
from tacho_runtime.supervisor.model_files import engine_path


def test_the_plans_file_is_named_in_its_folder(tmp_path: Path) -> None:
    (tmp_path / "b.gguf").touch()
    assert engine_path(PlannedModel(path="", file="b.gguf"), str(tmp_path)) == str(tmp_path / "b.gguf")


def test_a_file_may_be_named_itself(tmp_path: Path) -> None:
    (tmp_path / "a.gguf").touch()
    model = PlannedModel(path="", file="a.gguf")
    assert engine_path(model, str(tmp_path / "a.gguf")) == str(tmp_path / "a.gguf")


def test_other_engines_get_the_folder(tmp_path: Path) -> None:
    assert engine_path(PlannedModel(path=""), str(tmp_path)) == str(tmp_path)


@pytest.mark.parametrize(("root", "file"), [(".", "other.gguf"), ("models/x", "")])
def test_what_is_not_there_is_named(tmp_path: Path, root: str, file: str) -> None:
    with pytest.raises(FailedError, match=f"{file or root} does not exist") as raised:
        engine_path(PlannedModel(path="", file=file), str(tmp_path / root))
    assert raised.value.failure.failure_class == "ModelNotFound"


def test_a_model_that_vanished_after_its_download_is_downloaded_by_another_pod(tmp_path: Path) -> None:
    """This pod's fetch container sleeps; the address, of which was said to correct it, is right."""
    with pytest.raises(FailedError) as raised:
        engine_path(PlannedModel(path=""), str(tmp_path / "gone"), fetched=True)
    failure = raised.value.failure
    assert (failure.failure_class, "delete the pod" in failure.next_step) == ("ModelNotFound", True)
