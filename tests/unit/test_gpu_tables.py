"""The page of cells is that of the raw data."""

from __future__ import annotations

import json

import pytest

from benchmarks.gpu import overhead, tables
from benchmarks.gpu.figures import RAW


def test_the_page_has_not_drifted(capsys: pytest.CaptureFixture[str]) -> None:
    assert tables.main(["--check"]) == 0, capsys.readouterr().out


def test_every_cell_that_served_has_a_row_whether_it_gave_a_figure_or_not() -> None:
    said = {row.split(" | ")[0].removeprefix("| "): row for row in tables.cells()}
    assert list(said) == tables.places()
    assert "no figure" in said["matrix/llama-8b-w4a16"]
    assert "(provisional)" in said["matrix/llama-8b-bf16-cold"]
    assert "(provisional)" not in said["two/llama-8b-tp2"]


def test_two_gpus_are_set_against_one_at_the_streams_that_both_had() -> None:
    said = tables.scaled()
    assert "1.38x at 1" in said  # 282 / 204
    assert "1.62x at 256" in said  # 14400 / 8900


def test_what_is_far_apart_is_said_with_its_sign() -> None:
    assert tables.share(110, 100) == "+10.00 %"
    assert tables.share(99, 100) == "-1.00 %"


def test_what_tacho_adds_is_its_own_parts_and_not_the_engines_scatter() -> None:
    found = json.loads((RAW / "start/overhead.json").read_text())
    parts = {"runtime_to_engine": 0.3, "engine": 30.0, "after_healthy": 0.2}
    assert overhead.added([{"before_runtime": 1.0, **parts}]) == {
        "added_seconds": 1.5,
        "added_in_a_pod_seconds": 0.5,
    }
    assert {name: found[name] for name in ("added_seconds", "added_in_a_pod_seconds")} == overhead.added(
        found["rounds"]
    )
