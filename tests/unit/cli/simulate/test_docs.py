"""What docs/use/simulate.md says of simulations."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tools import shown

ROOT = Path(__file__).parents[4]
EXAMPLES = ROOT / "examples" / "simulate"
(HOW_TO,) = shown.PAGES
FIGURE = re.compile(r"\d+\.\d\d\b")


def told(page: Path) -> str:
    """What the page's simulations print; that they do is checked by `tools.generate --check`."""
    return "".join(block["shown"] for block in shown.BLOCK.finditer(page.read_text()))


def test_there_is_something_to_try() -> None:
    assert len(shown.BLOCK.findall(HOW_TO.read_text())) == 5


def test_what_stands_below_a_command_is_written_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    page = tmp_path / "page.md"
    page.write_text(
        "Before.\n```\n$ tacho simulate --help \\\n    --trace x\nold\n\n```\nAfter.\n```\nother\n```\n"
    )
    found = shown.page(page)
    assert os.environ["COLUMNS"] == "40"
    assert found.startswith("Before.\n```\n$ tacho simulate --help \\\n    --trace x\n")
    assert "--cold-start" in found
    assert "old" not in found.split()
    assert found.endswith("\n```\nAfter.\n```\nother\n```\n")


def test_a_command_that_fails_writes_nothing() -> None:
    with pytest.raises(ValueError, match="exited with"):
        shown.printed("tacho simulate --trace nowhere.csv --measurement nowhere.json\n")


def test_figures_in_prose_are_those_that_a_command_prints() -> None:
    prose = shown.BLOCK.sub("", HOW_TO.read_text()).partition("The example's hour")[2]
    figures = FIGURE.findall(prose.partition("## What is simulated")[0])
    assert figures
    assert set(figures) <= set(told(HOW_TO).split())
    (target,) = re.findall(r"scales at\s+(\d+) %", prose)
    assert f"over 0.{target} x" in told(HOW_TO)


def rows(shown_below: str) -> dict[str, tuple[float, float]]:
    """SLO attainment and GPU-hours by policy."""
    lines = [row.split() for row in shown_below.splitlines()[3:]]
    return {name: (float(slo), float(hours)) for name, slo, hours, *_ in lines}


def example(number: int) -> dict[str, tuple[float, float]]:
    return rows([block["shown"] for block in shown.BLOCK.finditer(HOW_TO.read_text())][number])


def test_the_page_says_what_unchanged_weights_cost() -> None:
    (tacho, ours), (hpa, others) = example(0)["tacho"], example(0)["hpa-concurrency:target=32"]
    assert (tacho, hpa) == (100, 100)
    assert others < ours
    prose = shown.BLOCK.sub("", HOW_TO.read_text())
    assert {f"{ours:.2f}", f"{others:.2f}"} <= set(FIGURE.findall(prose))


def test_tacho_keeps_the_slo_with_other_weights_and_is_cheaper_than_static_replicas() -> None:
    kept = {name: hours for name, (slo, hours) in example(1).items() if slo >= 95}
    assert kept.keys() == {"tacho", "hpa-concurrency:target=8", "static-7"}, "target=8 was tuned anew"
    assert kept["tacho"] < 0.75 * kept["static-7"]
    assert kept["tacho"] < kept["hpa-concurrency:target=8"]


@pytest.mark.parametrize("name", ["vllm-bf16", "vllm-fp8", "vllm-bnb-nf4"])
def test_the_examples_replicas_are_those_that_were_measured(name: str) -> None:
    measured = yaml.safe_load((ROOT / "benchmarks" / "engines" / "h200" / f"{name}.yaml").read_text())
    assert [yaml.safe_load((EXAMPLES / f"{name}.json").read_text())] == measured["status"]["measurements"]


@pytest.mark.parametrize("name", ["trace", "next-day"])
def test_the_examples_traces_are_what_their_program_writes(name: str) -> None:
    options = () if name == "trace" else ("20261122",)
    made = subprocess.run(
        [sys.executable, EXAMPLES / "make_trace.py", *options], capture_output=True, text=True, check=True
    )
    assert made.stdout == (EXAMPLES / f"{name}.csv").read_text()
