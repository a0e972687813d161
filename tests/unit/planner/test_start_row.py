"""Rows of starts.json against the logs and statuses that they name."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks.planner import start_row
from benchmarks.planner.starts import Start, starts

ROOT = Path(__file__).resolve().parents[3]
H100 = [start for start in starts() if start.part == "otherCard"]
LOGS = [start for start in starts() if start.row["source"].split()[0].endswith(".log")]


def text(start: Start) -> str:
    return (ROOT / start.row["source"].split()[0]).read_text(encoding="utf-8")


@pytest.mark.parametrize("start", H100, ids=lambda start: start.name)
def test_a_row_of_an_h100_is_what_its_source_says(start, capsys):
    row = {key: value for key, value in start.row.items() if key != "note"}
    assert (
        start_row.main([str(row[key]) for key in ("source", "name", "case", "model", "method", "gpu")]) == 0
    )
    assert json.loads(capsys.readouterr().out) == [row]


@pytest.mark.parametrize("start", LOGS, ids=lambda start: start.name)
def test_the_figures_of_every_row_are_those_of_a_start_in_its_log(start):
    told = [{**start.row["actual"], **found["actual"]} for found in start_row.of_vllm(text(start))]
    assert any(figures.items() >= start.row["actual"].items() for figures in told)
    assert len(LOGS) >= 130


def test_a_log_of_two_starts_gives_two_rows():
    first, second = start_row.of_vllm((ROOT / "benchmarks/gpu/h200/later/llama-8b-2k.log").read_text())
    assert (first["actual"]["kvTokens"], second["actual"]["kvTokens"]) == (919824, 921696)
    assert first["started"]
    assert second["started"]


def test_a_start_that_failed_has_what_its_log_came_to():
    (found,) = start_row.of_vllm((ROOT / "benchmarks/gpu/h200/edges/llama-8b-short.log").read_text())
    assert found["started"] is False
    assert found["actual"]["weightsGiB"] == 15.0
    assert "graphGiB" not in found["actual"]
    assert found["args"] == ["--gpu-memory-utilization=0.11823"]


def test_a_log_that_says_nothing_has_no_figures():
    (found,) = start_row.of_vllm("Available KV cache\n")
    assert found["actual"] == {}
    assert found["started"] is False
