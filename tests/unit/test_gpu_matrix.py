"""The GPU harness: what is left to run, and durations."""

from __future__ import annotations

import argparse
from typing import Any

import pytest

from benchmarks.gpu.__main__ import digest, seconds, to_run


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
