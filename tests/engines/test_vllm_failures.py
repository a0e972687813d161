"""vLLM's own process fails to start, and the runtime's termination message says why and what to do."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from tacho_contract.failure import Failure
from tacho_contract.launch import RuntimeConfig
from tests.engines.planned import planned
from tests.launching import changed
from tests.unit.runtime.running import running

LENGTH = 512
pytestmark = pytest.mark.timeout(900)  # a quarter of a minute each on two idle cores


def config(folder: Path, python: Path, claim: Path, *more: str) -> RuntimeConfig:
    """Planned for the model as it should be; ``more`` are the user's own arguments."""
    context = {"maxModelLen": LENGTH, "concurrency": 1}
    changes = {"context": context, "engine": {"extraArgs": list(more)}}
    setup, _ = planned("vllm-cpu.yaml", folder, claim=claim, python=python, changes=changes)
    return setup.runtime


def failure(config: RuntimeConfig, folder: Path) -> Failure:
    """The termination message of a run that ends by itself."""
    with running(config, folder, patience_seconds=600) as started:
        code = started.ended()
        log = started.log()
    assert code == 1, log[-3000:]
    told = started.failure()
    assert told.log_tail, "the lines of the log that show the cause come with it"
    return told


def test_an_argument_it_does_not_know_is_named(tmp_path: Path, engines_python: Path, claim: Path) -> None:
    told = failure(config(tmp_path, engines_python, claim, "--no-such-switch"), tmp_path)
    assert told.failure_class == "InvalidConfig"
    assert "--no-such-switch" in told.message
    assert "spec.engine.extraArgs" in told.next_step


@pytest.mark.nightly
def test_a_cut_file_of_the_model_is_told_from_a_wrong_setting(
    tmp_path: Path, engines_python: Path, claim: Path
) -> None:
    planned_config = config(tmp_path, engines_python, claim)
    model = tmp_path / "model"
    model.mkdir()
    for path in (claim / "smollm2-bf16").iterdir():
        (model / path.name).symlink_to(path)
    whole = (model / "model.safetensors").read_bytes()
    (model / "model.safetensors").unlink()
    (model / "model.safetensors").write_bytes(whole[: len(whole) // 2])
    # Without a digest, as with a model from a hub: else the runtime sees the other size before the engine.
    cut = changed(planned_config, model_path=str(model), model_digest="")
    told = failure(cut, tmp_path)
    assert told.failure_class == "ModelInvalid", told
    assert "safetensors" in told.message


@pytest.mark.nightly
def test_a_cache_for_less_than_one_request_says_what_fits(
    tmp_path: Path, engines_python: Path, claim: Path
) -> None:
    """The plan refuses such an argument; what is too small in spite of a plan looks the same."""
    right = config(tmp_path, engines_python, claim)
    small = ("--kv-cache-memory-bytes", str(8 << 20))
    told = failure(dataclasses.replace(right, extra_args=(*right.extra_args, *small)), tmp_path)
    assert told.failure_class == "KVCacheTooSmall", told
    assert 0 < int(told.details["fitsMaxModelLen"]) < LENGTH
