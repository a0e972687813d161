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
FIRST_DAY = "--trace examples/simulate/trace.csv --measurement examples/simulate/vllm-bf16.json"
MEASURED = f"{FIRST_DAY} --slo ttft=500ms,tpot=10ms"
"""An hour and a replica within an SLO that its measurement reached."""


def told(part: str = "") -> str:
    """What those simulations of the page print whose command has this. That they do is checked by
    `tools.generate --check`.
    """
    blocks = shown.BLOCK.finditer(HOW_TO.read_text())
    return "".join(block["shown"] for block in blocks if part in block["command"])


def prose() -> str:
    return " ".join(shown.BLOCK.sub("", HOW_TO.read_text()).split())


def test_there_is_something_to_try() -> None:
    assert len(shown.BLOCK.findall(HOW_TO.read_text())) == 3


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
    text = re.sub(r"```.*?```", "", shown.BLOCK.sub("", HOW_TO.read_text()), flags=re.DOTALL)
    figures = {figure.rstrip("%") for figure in re.findall(r"\d+\.\d\d\b%?", text)}
    assert len(figures) > 4
    assert figures <= set(told().split())


def test_the_decision_that_is_shown_is_one_of_those_that_are_printed() -> None:
    printed = " ".join(
        shown.printed(f"tacho simulate {MEASURED} --cold-start 130 --policy tacho --decisions\n").split()
    )
    (decision,) = re.findall(r"```\n(\d+ -> \d+ replicas: .*)\n```", HOW_TO.read_text())
    assert decision in printed
    (target,) = re.findall(r"scales at (\d+)% of what was measured", prose())
    assert f"over 0.{target} x" in decision


def test_seven_static_replicas_cost_what_it_says() -> None:
    hours = {row.split()[0]: row.split()[2] for row in told("nf4").splitlines()[2:]}
    (more,) = re.findall(r"Seven static replicas cost (\d+)% more", prose())
    assert round(100 * (float(hours["static-7"]) / float(hours["tacho"]) - 1)) == int(more)


def rows(shown_below: str) -> dict[str, tuple[float, float]]:
    """SLO attainment and GPU-hours by policy."""
    lines = [row.split() for row in shown_below.splitlines()[3:]]
    return {name: (float(slo), float(hours)) for name, slo, hours, *_ in lines}


def test_the_page_says_what_unchanged_weights_cost() -> None:
    first = rows(told("--tune"))
    (tacho, ours), (hpa, others) = first["tacho"], first["hpa-concurrency:target=32"]
    assert (tacho, hpa) == (100, 100)
    assert others < ours
    assert f"tacho costs {ours:.2f} GPU-hours, the HPA {others:.2f}" in prose()


def test_an_hpa_is_cheaper_at_an_slo_that_the_measurement_reached() -> None:
    policies = "--max-replicas 6 --policy tacho --policy hpa-concurrency:target=16"
    found = rows(shown.printed(f"tacho simulate {MEASURED} --cold-start 130 {policies}\n"))
    (kept, ours), (others_kept, others) = found["tacho"], found["hpa-concurrency:target=16"]
    assert min(kept, others_kept) >= 95
    assert f"keeps it for {100 * (1 - others / ours):.0f}% fewer GPU-hours" in prose()


def test_only_tacho_keeps_the_slo_of_new_weights_and_is_cheaper_than_static_replicas() -> None:
    kept = {name: hours for name, (slo, hours) in rows(told("nf4")).items() if slo >= 95}
    assert kept.keys() == {"tacho", "hpa-concurrency:target=8", "static-7"}, "target=8 was tuned for them"
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
