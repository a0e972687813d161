"""A model that was replaced after it was planned with: what is noticed before the engine starts."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from tacho_contract.failure import FailedError, Failure
from tacho_contract.launch import RuntimeConfig
from tacho_contract.model import FULL, HEADERS, InspectConfig
from tacho_contract.uri import FileUri
from tacho_runtime import files
from tacho_runtime.headers.digests import HashProgress
from tacho_runtime.headers.source import FileEntry, FolderSource
from tacho_runtime.hub.inspect import inspect
from tacho_runtime.supervisor import model_files
from tacho_runtime.supervisor.model_files import check_content, engine_path
from tacho_runtime.supervisor.supervise import Supervisor
from tests.launching import changed, runtime_config
from tests.unit.runtime.running import custom_config, running
from tests.unit.runtime.test_real_engine import llamacpp_config
from tools.engines import gguf_model
from tools.mock import ggufs
from tools.mock.checkpoints import write_checkpoint

Change = Callable[[Path], object]


def planned(
    root: Path, engine: str = "", *, parse: bool = True, verification: str = HEADERS
) -> RuntimeConfig:
    """What the operator puts into the pod after an inspection of ``root``."""
    asked = InspectConfig(uri=FileUri(str(root)), engine=engine, parse=parse, verification=verification)
    facts = inspect(asked).facts
    assert facts is not None
    return runtime_config(
        revision="r",
        plan_key="p",
        engine=engine or "llamacpp",
        model_path=str(root),
        files=facts.files.globs,
        model_file=facts.files.model_file,
        files_digest=facts.files.files_digest,
        model_digest=facts.files.digest,
        content_digest=facts.files.content_digest,
        weights_bytes=facts.files.total_bytes,
        served_name="s",
        max_model_len=1,
        concurrency=1,
    )


def gguf_folder(folder: Path) -> Path:
    folder.mkdir()
    ggufs.llama(folder / "model.gguf")
    return folder


def sharded_folder(folder: Path) -> Path:
    return write_checkpoint(folder, "small", shard_bytes=60_000)


def overwrite(path: Path, offset: int, content: bytes) -> None:
    with path.open("r+b") as file:
        file.seek(offset)
        file.write(content)


def first_shard(folder: Path) -> Path:
    return sorted(folder.glob("*.safetensors"))[0]


def keep_beside(folder: Path, *names: str) -> None:
    """What appears in a model's folder and is not its own: larger and of the same kind."""
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"GGUF" + bytes(4096))


SAME: dict[str, tuple[Callable[[Path], Path], Change]] = {
    "untouched": (gguf_folder, lambda folder: None),
    "copied anew": (gguf_folder, lambda folder: os.utime(folder / "model.gguf", (0, 0))),
    "a file that is not loaded": (gguf_folder, lambda folder: (folder / "README.md").write_text("new")),
    "compiled code and hidden files": (
        gguf_folder,
        lambda folder: keep_beside(
            folder,
            "tacho-compiled/k/model.gguf",
            "deep/tacho-compiled/k/x.gguf",
            ".nfs01.gguf",
            ".git/x.gguf",
        ),
    ),
    "untouched shards": (sharded_folder, lambda folder: None),
}
OTHERS: dict[str, tuple[Callable[[Path], Path], Change]] = {
    "another header of the same size": (
        gguf_folder,
        lambda folder: overwrite(
            folder / "model.gguf", (folder / "model.gguf").read_bytes().index(b"llama"), b"other"
        ),
    ),
    "not even a GGUF file": (gguf_folder, lambda folder: overwrite(folder / "model.gguf", 0, b"ELF!")),
    "cut short": (gguf_folder, lambda folder: os.truncate(folder / "model.gguf", 100)),
    "gone": (gguf_folder, lambda folder: (folder / "model.gguf").unlink()),
    "a truncated shard": (
        sharded_folder,
        lambda folder: os.truncate(first_shard(folder), first_shard(folder).stat().st_size - 1),
    ),
    "a shard's header": (sharded_folder, lambda folder: overwrite(first_shard(folder), 8, b'{"X"')),
    "config.json": (
        sharded_folder,
        lambda folder: overwrite(folder / "config.json", 0, b"["),
    ),
}


@pytest.mark.parametrize("name", SAME)
def test_the_planned_model_passes(tmp_path: Path, name: str) -> None:
    make, change = SAME[name]
    root = make(tmp_path / "model")
    config = planned(root)
    change(root)
    check_content(config.model, str(root))


def test_what_is_beside_a_model_is_not_inspected(tmp_path: Path) -> None:
    """Nor chosen: the engine gets the one file that was planned with."""
    root = gguf_folder(tmp_path / "model")
    alone = planned(root)
    keep_beside(root, "tacho-compiled/k/model.gguf", ".nfs01.gguf", ".git/x.gguf")
    assert planned(root) == alone
    everything = changed(alone, files=("*",))
    assert engine_path(everything.model, str(root)) == str(root / "model.gguf")
    compiled = planned(sharded_folder(tmp_path / "other"), "custom", parse=False)
    keep_beside(tmp_path / "other", "tacho-compiled/k/code.so", ".nfs01")
    assert planned(tmp_path / "other", "custom", parse=False) == compiled


@pytest.mark.parametrize("name", OTHERS)
def test_another_model_is_told_with_what_helps(tmp_path: Path, name: str) -> None:
    make, change = OTHERS[name]
    root = make(tmp_path / "model")
    config = planned(root)
    change(root)
    with pytest.raises(FailedError) as caught:
        check_content(config.model, str(root))
    assert caught.value.failure.failure_class == "ModelChanged"
    assert "tacho.dev/replan" in caught.value.failure.next_step


def test_one_file_and_a_model_that_is_not_parsed(tmp_path: Path) -> None:
    root = gguf_folder(tmp_path / "model")
    check_content(planned(root / "model.gguf").model, str(root / "model.gguf"))
    custom = planned(root, "custom", parse=False)
    check_content(custom.model, str(root))
    overwrite(root / "model.gguf", 20, b"\xff\xff")
    with pytest.raises(FailedError):
        check_content(custom.model, str(root))


@pytest.mark.parametrize(
    "added", ["notes.json", "README.txt", "logs/a.json", ".nfs0001", "tacho-compiled/k/key.json"]
)
def test_what_no_engine_reads_may_be_added(tmp_path: Path, added: str) -> None:
    for make in (sharded_folder, gguf_folder):
        root = make(tmp_path / make.__name__)
        config = planned(root)
        (root / added).parent.mkdir(parents=True, exist_ok=True)
        (root / added).write_text("{}")
        check_content(config.model, str(root))


def other_weights(folder: Path) -> None:
    """Same names, sizes and headers."""
    weights = max(folder.iterdir(), key=lambda path: path.stat().st_size)
    overwrite(weights, weights.stat().st_size - 1, bytes([weights.read_bytes()[-1] ^ 1]))


def test_weights_alone_are_not_read(tmp_path: Path) -> None:
    """What a look at headers cannot see, and is documented as such."""
    root = gguf_folder(tmp_path / "model")
    config = planned(root)
    assert config.model.content_digest == ""
    other_weights(root)
    check_content(config.model, str(root))


@pytest.mark.parametrize("make", [gguf_folder, sharded_folder])
@pytest.mark.parametrize("parse", [True, False])
def test_weights_alone_are_noticed_where_every_byte_counts(
    tmp_path: Path, make: Callable[[Path], Path], parse: bool
) -> None:
    root = make(tmp_path / "model")
    config = planned(root, verification=FULL, parse=parse)
    if not parse:
        config = changed(config, model_digest="")  # as the operator does for custom engines
    check_content(config.model, str(root))
    other_weights(root)
    with pytest.raises(FailedError, match="another content") as caught:
        check_content(config.model, str(root))
    assert caught.value.failure.failure_class == "ModelChanged"
    assert "tacho.dev/replan" in caught.value.failure.next_step


@pytest.mark.parametrize("name", [*SAME, *OTHERS])
def test_every_byte_is_no_reason_to_look_at_less(tmp_path: Path, name: str) -> None:
    make, change = (SAME | OTHERS)[name]
    root = make(tmp_path / "model")
    config = planned(root, verification=FULL)
    change(root)
    with contextlib.nullcontext() if name in SAME else pytest.raises(FailedError):
        check_content(config.model, str(root))


def test_a_reading_that_is_stopped_ends_and_blames_nobody(tmp_path: Path) -> None:
    root = gguf_folder(tmp_path / "model")
    config = planned(root, verification=FULL)
    reading = HashProgress()
    reading.stopped.set()
    check_content(config.model, str(root), reading)
    assert (reading.done_bytes, reading.total_bytes) == (0, (root / "model.gguf").stat().st_size)


def test_a_plan_of_an_older_operator_names_no_digest(tmp_path: Path) -> None:
    check_content(changed(planned(gguf_folder(tmp_path / "model")), model_digest="").model, "/nowhere")


def test_the_engine_is_not_started_with_another_model(tmp_path: Path) -> None:
    root = gguf_folder(tmp_path / "model")
    known = planned(root).model
    config = custom_config(
        tmp_path,
        model_path=str(root),
        files=known.globs,
        files_digest=known.files_digest,
        model_digest=known.headers_digest,
    )
    os.truncate(root / "model.gguf", 100)
    with running(config, tmp_path) as runtime:
        assert runtime.ended() == 1
    assert runtime.failure().failure_class == "ModelChanged"
    assert "starting" not in runtime.log()


def test_llamacpp_serves_the_planned_model_and_no_other(tmp_path: Path) -> None:
    """The real engine on a real model: in time for nothing to be served under another model's figures."""
    root = tmp_path / "model.gguf"
    root.symlink_to(gguf_model())
    known = planned(root, "llamacpp")
    config = dataclasses.replace(llamacpp_config(tmp_path), model=known.model)
    with running(config, tmp_path) as runtime:
        runtime.until_ready()
        assert runtime.stop() == 0
    root.unlink()
    ggufs.llama(root)
    with running(config, tmp_path) as runtime:
        assert runtime.ended() == 1
    assert runtime.failure().failure_class == "ModelChanged"


def test_llamacpp_is_not_started_with_weights_that_were_replaced(tmp_path: Path) -> None:
    """The real engine and model; one byte of the weights is another, size and header are not."""
    root = tmp_path / "model"
    root.mkdir()
    shutil.copy(gguf_model(), root / "model.gguf")
    known = planned(root, "llamacpp", verification=FULL)
    config = dataclasses.replace(llamacpp_config(tmp_path), model=known.model)
    with running(config, tmp_path) as runtime:
        runtime.until_ready()
        startup = runtime.report()["startup"]
        assert startup["verify"] > 0
        following = ("preflight", "modelWait", "verify", "load", "probe")
        assert sum(startup[part] for part in following) == pytest.approx(startup["total"], abs=0.02)
        assert runtime.stop() == 0
    other_weights(root)
    with running(config, tmp_path) as runtime:
        assert runtime.ended() == 1
    failure = runtime.failure()
    assert (failure.failure_class, "model.gguf" in failure.message) == ("ModelChanged", True)


async def test_a_disk_that_never_answers_takes_the_time_to_start_and_no_more(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    answers = threading.Event()
    monkeypatch.setattr(model_files, "check_content", lambda *_arguments: answers.wait(20))
    monkeypatch.setattr(files, "POLL_SECONDS", 0.01)
    model = planned(gguf_folder(tmp_path / "model")).model

    def check_budget() -> None:
        raise FailedError(Failure(failure_class="StartupTimeout", message="m", next_step="n"))

    try:
        with pytest.raises(FailedError, match="StartupTimeout"):
            await model_files.compare_with_plan(model, str(tmp_path), lambda _message: None, check_budget)
    finally:
        answers.set()


async def test_a_disk_that_stops_before_the_engine_starts_takes_the_time_to_start_and_no_more(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    answers = threading.Event()
    monkeypatch.setattr(model_files, "engine_path", lambda *_arguments, **_named: str(answers.wait(20)))
    monkeypatch.setattr(files, "POLL_SECONDS", 0.01)

    def check_budget(_supervisor: Supervisor) -> None:
        raise FailedError(Failure(failure_class="StartupTimeout", message="m", next_step="n"))

    monkeypatch.setattr(Supervisor, "_check_budget", check_budget)
    try:
        with pytest.raises(FailedError, match="StartupTimeout"):
            await Supervisor(custom_config(tmp_path))._wait_for_model()
    finally:
        answers.set()


WITHOUT_AN_ANSWER = """
import asyncio, threading
from tacho_runtime import files
files.POLL_SECONDS = 0.01
def check_budget():
    raise TimeoutError("too late")
asyncio.run(files.while_reading(threading.Event().wait, check_budget))
"""


def test_a_disk_that_never_answers_does_not_keep_the_runtime_from_ending() -> None:
    command = [sys.executable, "-c", WITHOUT_AN_ANSWER]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert (ended.returncode, ended.stderr.strip().splitlines()[-1]) == (1, "TimeoutError: too late")


def test_a_changed_file_may_be_gone_before_it_is_named(tmp_path: Path) -> None:
    source = FolderSource(tmp_path, name="m")
    assert model_files._newest(source, [FileEntry("gone.gguf", 1)]) == "they are being changed"
