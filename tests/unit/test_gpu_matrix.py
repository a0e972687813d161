"""The GPU harness: what is left to run, and durations."""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from benchmarks.engines.random_model import SHAPES
from benchmarks.gpu import models
from benchmarks.gpu.__main__ import MANIFESTS, digest, rehearse, seconds, to_run
from tacho_operator.api.types import LLMDeploymentSpec

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"
MATRICES = ("gpu/h200-next.yaml", "gpu/h200/more", "gpu/h200/start", "engines/h200.yaml")


def document(name: str, **spec: Any) -> dict[str, Any]:
    return {"metadata": {"name": name}, "spec": spec}


def cell(of: dict[str, Any], *, cut_off: bool = False, exit_code: int = 0) -> dict[str, Any]:
    name = of["metadata"]["name"]
    return {"cell": name, "manifest": digest(of), "cut_off": cut_off, "exit_code": exit_code}


def names(documents: list[dict[str, Any]]) -> list[str]:
    return [each["metadata"]["name"] for each in documents]


@pytest.mark.parametrize(
    ("text", "expected"), [("8m", 480.0), ("90s", 90.0), ("1h", 3600.0), ("45", 45.0), ("1.5m", 90.0)]
)
def test_durations(text: str, expected: float) -> None:
    assert seconds(text) == expected


@pytest.mark.parametrize("text", ["", "m", "8 m", "8min", "-3s"])
def test_what_is_no_duration_is_refused(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError, match="8m"):
        seconds(text)


def test_a_cell_that_ended_is_not_run_again_however_it_ended() -> None:
    served, refused, new = document("a"), document("b"), document("c")
    before = [cell(served), cell(refused, exit_code=1)]
    assert names(to_run([served, refused, new], before, [])) == ["c"]


def test_a_cell_that_was_cut_off_is_run_again() -> None:
    late = document("a")
    assert names(to_run([late], [cell(late, cut_off=True, exit_code=-1)], [])) == ["a"]


def test_a_changed_manifest_is_run_anew() -> None:
    before = [cell(document("a", gpu=1))]
    assert names(to_run([document("a", gpu=2)], before, [])) == ["a"]


def test_only_the_named_cells_in_the_order_of_the_file() -> None:
    assert names(to_run([document("a"), document("b"), document("c")], [], ["c", "a"])) == ["a", "c"]


def test_a_cell_of_more_gpus_than_the_machine_has_is_left() -> None:
    one, two = document("a", gpu={"count": 1}), document("b", gpu={"count": 2})
    assert names(to_run([one, two], [], [], gpus=1)) == ["a"]
    assert names(to_run([one, two], [], [], gpus=None)) == ["a", "b"]


@pytest.mark.parametrize("file", MATRICES)
def test_a_matrix_has_cells_that_the_cluster_would_take_of_models_that_can_be_made(
    file: str, tmp_path: Path
) -> None:
    cells = models.cells(BENCHMARKS / file)
    assert len(set(names(cells))) == len(cells) >= 1
    for cell in cells:
        assert re.fullmatch("[a-z]([-a-z0-9]*[a-z0-9])?", cell["metadata"]["name"])
        LLMDeploymentSpec.model_validate(cell["spec"])
    for name, loaded in models.loaded(cells).items():
        if loaded and not models.GGUF.search(name):
            command = models.random_arguments(name, tmp_path, tmp_path / name, "cpu")
            assert command[3] in SHAPES
        else:
            assert models.make(name, tmp_path / name) != bool(models.GGUF.search(name))


def test_recorded_cells_are_run_again_as_they_were() -> None:
    done = json.loads((BENCHMARKS / "gpu/h200/matrix/summary.json").read_text())["cells"]
    again = {cell["metadata"]["name"]: digest(cell) for cell in models.cells(BENCHMARKS / "gpu/h200/matrix")}
    served = {cell["cell"]: cell["manifest"] for cell in done if cell["exit_code"] == 0}
    assert again == served


@pytest.mark.parametrize("name", ["qwen2.5-7b", "llama-3.1-8b-awq", "qwen3-0.6b"])
def test_a_model_without_weights_has_headers_and_a_tokenizer_of_its_whole_vocabulary(
    name: str, tmp_path: Path
) -> None:
    models.write_hollow(tmp_path, name)
    config = json.loads((tmp_path / "config.json").read_text())
    words = json.loads((tmp_path / "tokenizer.json").read_text())["model"]["vocab"]
    assert len(words) == config["vocab_size"]
    assert ("quantization_config" in config) == name.endswith("-awq")
    weights = sum(path.stat().st_size for path in tmp_path.glob("*.safetensors"))
    assert weights > 2**30
    assert sum(path.stat().st_blocks * 512 for path in tmp_path.glob("*.safetensors")) < 2**24


def test_the_product_plans_each_kind_of_cell_of_the_next_session(tmp_path: Path) -> None:
    """One of each engine, method and number of GPUs; `--rehearse` plans all."""
    kinds = {}
    for cell in models.cells(BENCHMARKS / "gpu/h200-next.yaml"):
        spec = cell["spec"]
        kinds[spec["engine"]["name"], spec["quantization"]["method"], spec["gpu"]["count"]] = cell
    assert len(kinds) > 12
    (tmp_path / MANIFESTS).write_text(yaml.safe_dump_all(kinds.values()))
    assert rehearse(list(kinds.values()), tmp_path, "NVIDIA-H200") == []


def test_a_cell_that_the_product_refuses_is_named(tmp_path: Path) -> None:
    cells = models.cells(BENCHMARKS / "gpu/h200-next.yaml")
    large = next(cell for cell in cells if cell["metadata"]["name"] == "does-not-fit")
    large["metadata"] = {"name": "large"}
    (tmp_path / MANIFESTS).write_text(yaml.safe_dump(large))
    assert rehearse([large], tmp_path, "NVIDIA-H200") == ["large"]


@pytest.mark.parametrize(
    ("how", "programs"),
    [
        ("run", ["benchmarks.gpu", "benchmarks.gpu.models"]),
        ("pods", ["benchmarks.gpu.host", "benchmarks.gpu.models", "benchmarks.gpu.stories"]),
    ],
)
def test_a_session_unpacks_makes_the_models_and_runs_the_cells(
    how: str, programs: list[str], tmp_path: Path
) -> None:
    calls, python, place, archives = (tmp_path / name for name in ("calls", "python", "place", "archives"))
    python.write_text(f'#!/bin/sh\necho "$@" >> {calls}\n')
    python.chmod(0o755)
    archives.mkdir()
    (tmp_path / "src").mkdir()
    subprocess.run(["tar", "-C", tmp_path, "-cJf", archives / "a.tar.xz", "src"], check=True)
    command = ["bash", BENCHMARKS / "gpu/session.sh", how, archives, tmp_path / "out", "90s", "llama-8b-fp8"]
    environment = {**os.environ, "TACHO_GPU_PLACE": str(place), "TACHO_GPU_PYTHON": str(python)}
    subprocess.run(command, check=True, env=environment, capture_output=True)
    made = calls.read_text().splitlines()
    assert sorted(line.split()[1] for line in made) == programs
    last = next(line for line in made if "--budget" in line)
    assert f"{place}/src/benchmarks/gpu/h200-next.yaml" in last
    assert last.endswith("--only llama-8b-fp8")
