"""Folders of a claim that the pod's user may not read: their files are not said to be absent alone."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tacho_contract.failure import FailedError, FailureClass
from tacho_contract.launch import PlannedModel
from tacho_contract.model import FULL, InspectConfig
from tacho_contract.uri import parse_uri
from tacho_runtime.headers.source import FolderSource, not_found
from tacho_runtime.supervisor.model_files import check_content
from tests.unit.hub.inspecting import facts_of, failure_of
from tools.mock.checkpoints import write_checkpoint

Closing = Callable[..., AbstractContextManager[None]]


@pytest.fixture
def closing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Closing:
    """Closes folders of ``claim`` for the user that the test has meanwhile."""
    tmp_path.chmod(0o755)
    monkeypatch.chdir(tmp_path)  # the folders above it are root's own

    @contextmanager
    def closed(*folders: str) -> Iterator[None]:
        user = os.geteuid()
        for folder in folders:
            Path("claim", folder).chmod(0)
        if user == 0:
            os.seteuid(65532)
        try:
            yield
        finally:
            os.seteuid(user)
            for folder in folders:
                Path("claim", folder).chmod(0o700)

    return closed


def at(uri: str = "pvc://c/m", *files: str) -> InspectConfig:
    return InspectConfig(uri=parse_uri(uri), claim_dir="claim", engine="vllm", files=files)


@pytest.mark.parametrize("files", [(), ("fp8/*",)])
def test_a_model_in_a_folder_that_may_not_be_read_is_not_just_absent(
    tmp_path: Path, closing: Closing, files: tuple[str, ...]
) -> None:
    write_checkpoint(tmp_path / "claim/m/fp8", "small")
    (tmp_path / "claim/m/notes.txt").write_text("where it is")
    with closing("m/fp8"):
        failure = failure_of(at("pvc://c/m", *files))
    assert failure.failure_class == FailureClass.MODEL_NOT_FOUND
    assert "Folders that cannot be read: fp8." in failure.message
    assert failure.next_step.startswith("Make folders and files readable for any user id (chmod -R a+rX).")
    assert "If the model is not in them: " in failure.next_step


def test_a_folder_that_has_nothing_else_is_not_empty(tmp_path: Path, closing: Closing) -> None:
    write_checkpoint(tmp_path / "claim/m/a/b", "small")
    with closing("m/a/b"):
        failure = failure_of(at())
    assert failure.message == "pvc://c/m has no files. Folders that cannot be read: a/b."


def test_one_that_no_model_needs_is_not_named(tmp_path: Path, closing: Closing) -> None:
    write_checkpoint(tmp_path / "claim", "small")
    (tmp_path / "claim/lost+found").mkdir()
    with closing("lost+found"):
        assert facts_of(at("pvc://c")).tensors
    (tmp_path / "claim/model.safetensors").unlink()
    with closing("lost+found"):
        failure = failure_of(at("pvc://c"))
    assert "cannot be read" not in failure.message
    assert "chmod" not in failure.next_step


def test_only_at_the_top_is_a_folder_of_that_name_the_volumes_own(tmp_path: Path, closing: Closing) -> None:
    (tmp_path / "claim/m/lost+found").mkdir(parents=True)
    with closing("m/lost+found"):
        failure = failure_of(at("pvc://c"))
    assert "Folders that cannot be read: m/lost+found." in failure.message


@pytest.mark.parametrize("number", [errno.EIO, errno.ESTALE, errno.ENOENT])
def test_a_folder_that_fails_otherwise_is_not_one_that_may_not_be_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    scan = os.scandir

    def scandir(path: str) -> Any:
        if str(path).endswith("fp8"):
            raise OSError(number, os.strerror(number), path)
        return scan(path)

    (tmp_path / "claim/m/fp8").mkdir(parents=True)
    (tmp_path / "claim/m/notes.txt").write_text("where it is")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("tacho_runtime.headers.source.os.scandir", scandir)
    failure = failure_of(at())
    assert failure.failure_class == FailureClass.MODEL_NOT_FOUND
    assert "cannot be read" not in failure.message
    assert "chmod" not in failure.next_step


def test_a_folder_that_has_been_opened_since_is_not_named(tmp_path: Path, closing: Closing) -> None:
    (tmp_path / "claim/m/fp8").mkdir(parents=True)
    source = FolderSource(Path("claim/m"), name="m")
    absent = not_found("It is absent.", "Put it there.")
    with closing("m/fp8"):
        source.files()
        source.files()
        assert source.with_closed(absent).failure.message.endswith("Folders that cannot be read: fp8.")
    source.files()
    assert source.with_closed(absent) is absent


@pytest.mark.parametrize("compared", ["headers_digest", "content_digest"])
def test_files_of_the_plan_that_can_no_longer_be_read_are_not_just_other_ones(
    tmp_path: Path, closing: Closing, compared: str
) -> None:
    write_checkpoint(tmp_path / "claim/m", "small")
    (tmp_path / "claim/m/more").mkdir()
    (tmp_path / "claim/m/more/a.safetensors").write_bytes(
        (tmp_path / "claim/m/model.safetensors").read_bytes()
    )
    found = facts_of(replace(at("pvc://c/m", "*.json", "*.safetensors"), verification=FULL))
    digests = {"headers_digest": found.files.digest, "content_digest": found.files.content_digest}
    model = PlannedModel(
        path="claim/m",
        globs=found.files.globs,
        files_digest=found.files.files_digest,
        weights_bytes=found.files.total_bytes,
        **{compared: digests[compared]},
    )
    check_content(model, "claim/m")
    with closing("m/more"), pytest.raises(FailedError) as raised:
        check_content(model, "claim/m")
    failure = raised.value.failure
    assert failure.failure_class == FailureClass.MODEL_CHANGED
    assert "Folders that cannot be read: more." in failure.message
    assert "chmod -R a+rX" in failure.next_step
