"""What docs/use/several-gpus.md and engine-flags.md show of plans, refusals, switches and records."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import yaml

from tacho_cli.main import main
from tacho_engines.vllm.recorded import recorded
from tacho_operator.api.rules.deny_list import LONG_SWITCHES
from tools.mock.checkpoints import write_checkpoint

ROOT = Path(__file__).parents[3]
GPUS, FLAGS = (ROOT / f"docs/use/{name}.md" for name in ("several-gpus", "engine-flags"))
EXAMPLE = ROOT / "examples/two-gpus.yaml"
LAB = ROOT / "benchmarks/lab/h200"
OF_OTHERS = frozenset({"from-file", "gpu"})
"""Options on the page that are kubectl's and tacho's."""


def blocks(page: Path, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", page.read_text(encoding="utf-8"), re.S)


def plain(text: str) -> str:
    return " ".join(text.split())


def planned(folder: Path, monkeypatch: pytest.MonkeyPatch, gpu: str, *changes: tuple[str, str]) -> int:
    """``tacho plan`` of the example, whose model is a folder here."""
    text = EXAMPLE.read_text(encoding="utf-8").replace("hf://Qwen/Qwen2.5-32B-Instruct", "pvc://models/m")
    for before, after in changes:
        text = text.replace(before, after)
    (folder / "llmd.yaml").write_text(text)
    write_checkpoint(folder / "models/m", "qwen2.5-32b")
    monkeypatch.chdir(folder)
    form = ["-o", "json"] if gpu == "L40S:2" else []
    return main(["plan", "-f", "llmd.yaml", "--pvc", "models=models", "--gpu", gpu, *form])


@pytest.mark.parametrize(
    ("number", "gpu", "changes"),
    [(0, "L4:2", ()), (1, "L40S:3", (("tensor: 2", "tensor: 3"), ("count: 2", "count: 3")))],
)
def test_the_refusals_are_those_of_the_plan(number, gpu, changes, tmp_path, monkeypatch, capsys):
    shown = [line for line in blocks(GPUS, "console")[number].splitlines() if not line.startswith("$ ")]
    assert planned(tmp_path, monkeypatch, gpu, *changes) == 4
    printed = capsys.readouterr().out.replace("pvc://models/m", "hf://Qwen/Qwen2.5-32B-Instruct")
    assert plain(printed).startswith(plain("\n".join(shown)))


def test_the_plan_of_two_gpus_is_as_told(tmp_path, monkeypatch, capsys):
    assert planned(tmp_path, monkeypatch, "L40S:2") == 0
    predicted = json.loads(capsys.readouterr().out)["predicted"]
    assert "each GPU holds 30.7 GiB of weights, and the KV cache has room for twice" in plain(
        GPUS.read_text()
    )
    assert round(predicted["weightsBytes"] / 2**30, 1) == 30.7
    example = yaml.safe_load(EXAMPLE.read_text())["spec"]
    assert 2 <= float(predicted["maxConcurrency"]) / example["context"]["concurrency"] < 2.2
    (shown,) = (yaml.safe_load(block)["spec"] for block in blocks(GPUS, "yaml"))
    assert shown == {key: example[key] for key in shown}


@pytest.mark.parametrize(
    ("page", "row", "cells"),
    [
        ("vllm-0.32-four.md", "glm-air-as-qwen3-fp8-tp2", ("+1.12 %", "| 176 (", "| 187 |")),
        ("vllm-0.32-four.md", "gpt-oss-120b-stored-tp4", ("+0.17 %", "| 284 (", "| 267 |")),
        ("vllm-0.32-four.md", "qwen3-30b-a3b-none-tp4", ("-0.11 %", "| 269 (", "| 280 |")),
        ("README.md", "longer/llama-8b-tp2", ("-0.04 %", "| 281 ±")),
    ],
)
def test_the_figures_are_recorded(page: str, row: str, cells: tuple[str, ...]) -> None:
    rows = [line for line in (LAB / page).read_text().splitlines() if row in line]
    assert [cell for cell in cells if not any(cell in line for line in rows)] == []
    shown = [line for line in GPUS.read_text().splitlines() if f"| {cells[0].replace(' %', '%')} |" in line]
    assert len(shown) == 1
    assert re.findall(r"\d+", " ".join(cells[1:])) == re.findall(r"\d+", shown[0].split("|")[-2])


def test_the_refused_switches_are_refused_with_these_words(tmp_path, monkeypatch, capsys):
    spec = {
        "model": {"uri": "pvc://models/m"},
        "engine": {"name": "vllm", "extraArgs": ["--max-model-len=4096", "--middleware=my.Module"]},
    }
    found = {"apiVersion": "tacho.dev/v1alpha1", "kind": "LLMDeployment", "metadata": {"name": "m"}}
    (tmp_path / "llmd.yaml").write_text(yaml.safe_dump({**found, "spec": spec}))
    monkeypatch.chdir(tmp_path)
    assert main(["plan", "-f", "llmd.yaml", "--gpu", "H200"]) == 2
    captured = capsys.readouterr()
    printed = plain(captured.err + captured.out)
    (shown,) = blocks(FLAGS, "console")
    for line in shown.splitlines()[1:]:
        assert plain(line.removesuffix("…")) in printed


def test_every_switch_of_the_page_is_vllms_or_refused() -> None:
    text = FLAGS.read_text(encoding="utf-8")
    shown = set(re.findall(r"(?<![\w-])--([a-z][a-z-]+)", text)) - OF_OTHERS
    known = {one.lstrip("-") for one in recorded("switches")} | {*LONG_SWITCHES}
    assert {one for one in shown if one.removeprefix("no-") not in known} == set()
    refused = text[text.index("## What tacho refuses") : text.index("Abbreviations")]
    cells = " ".join(line.split("|")[1] for line in refused.splitlines() if line.startswith("|"))
    listed = re.findall(r"`--([a-z-]+)`", cells)
    assert len(listed) > 15
    assert [one for one in listed if one not in LONG_SWITCHES] == []
