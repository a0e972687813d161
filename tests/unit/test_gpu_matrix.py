"""The GPU harness: what is left to run, and durations."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import pytest
import yaml

from benchmarks.engines.random_model import SHAPES
from benchmarks.gpu.__main__ import digest, seconds, to_run
from tacho_operator.api.types import LLMDeploymentSpec

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"
MATRICES = (
    "gpu/h200-next.yaml",
    "gpu/h200-two.yaml",
    "gpu/h200-shapes.yaml",
    "gpu/h200-front-end.yaml",
    "engines/h200.yaml",
)


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


@pytest.mark.parametrize("file", MATRICES)
def test_a_matrix_has_cells_that_the_cluster_would_take_of_models_that_can_be_made(file: str) -> None:
    cells = [each for each in yaml.safe_load_all((BENCHMARKS / file).read_text()) if each]
    assert len({cell["metadata"]["name"] for cell in cells}) == len(cells) >= 2
    for cell in cells:
        spec = LLMDeploymentSpec.model_validate(cell["spec"])
        assert spec.model.uri.removeprefix("pvc://models/").removesuffix("-w4a16") in SHAPES
        assert spec.probe is not None
        assert 0 < (spec.probe.timeout_seconds or 0) < 120
