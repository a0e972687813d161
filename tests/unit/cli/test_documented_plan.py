"""The plans that pages show are those that are made; ``TACHO_UPDATE_GOLDEN=1`` writes them for review."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

import pytest

from tacho_cli.main import main
from tools.mock.checkpoints import write_checkpoint

PAGE = Path(__file__).parents[3] / "docs/reference/cli.md"
BLOCK = "\n```\n$ tacho plan {arguments}\n"
SHOWN = ("-f llama.yaml --pvc models=models", "-f llama.yaml --pvc models=models --gpu T4")
CUT = "…"
"""The rest is left out."""


@pytest.mark.parametrize("arguments", SHOWN)
def test_the_page_shows_the_plan_that_is_made(arguments, tmp_path, monkeypatch, capsys):
    page = PAGE.read_text()
    manifest = re.search(r"```yaml\n(.*?)```", page[page.index("With this manifest") :], re.DOTALL)
    assert manifest
    (tmp_path / "llama.yaml").write_text(manifest[1])
    write_checkpoint(tmp_path / "models/llama-3.1-8b", "llama-3.1-8b")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "120")
    main(["plan", *arguments.split()])
    printed = [line.rstrip() for line in capsys.readouterr().out.splitlines()]
    head = BLOCK.format(arguments=arguments)
    before, after = page.split(head)
    shown, rest = after.split("\n```", 1)
    lines = shown.split("\n")
    if lines[-1] == CUT:
        printed = [*printed[: len(lines) - 1], CUT]
    if os.environ.get("TACHO_UPDATE_GOLDEN") == "1":
        PAGE.write_text("".join((before, head, "\n".join(printed), "\n```", rest)))
        return
    assert printed == lines, "review, then run with TACHO_UPDATE_GOLDEN=1"


JSON_BLOCK = re.compile(r'(?<=```json\n)(?=\{\n  "failure": )(.*?)(?=\n```)', re.DOTALL)


def test_the_page_shows_the_refusal_that_is_printed_as_json(tmp_path, monkeypatch, capsys):
    """The first alternative stands for all."""
    page = PAGE.read_text()
    manifest = re.search(r"```yaml\n(.*?)```", page[page.index("With this manifest") :], re.DOTALL)
    assert manifest
    (tmp_path / "llama.yaml").write_text(manifest[1])
    write_checkpoint(tmp_path / "models/llama-3.1-8b", "llama-3.1-8b")
    monkeypatch.chdir(tmp_path)
    main(["plan", *SHOWN[1].split(), "-o", "json"])
    printed = json.loads(capsys.readouterr().out)
    printed["alternatives"] = printed["alternatives"][:1]
    (shown,) = JSON_BLOCK.findall(page)
    if os.environ.get("TACHO_UPDATE_GOLDEN") == "1":
        PAGE.write_text(page.replace(shown, json.dumps(printed, indent=2)))
        return
    assert json.loads(shown) == printed, "review, then run with TACHO_UPDATE_GOLDEN=1"


GPU_PAGE = PAGE.parents[1] / "start/first-gpu-model.md"
GPU_EXAMPLE = PAGE.parents[2] / "examples/vllm-gpu.yaml"
GPU_HEAD = "|---|---|---|---|---|---|\n"
GPUS = ("T4", "L4", "A10G", "A100", "H100")


def test_the_page_of_the_first_gpu_model_has_its_example_and_the_plans_of_it(tmp_path, monkeypatch, capsys):
    page = GPU_PAGE.read_text()
    resource = "".join(line for line in GPU_EXAMPLE.read_text().splitlines(True) if line[0] != "#")
    assert f"```yaml\n{resource}```" in page
    (uri,) = re.findall(r"hf://\S+", resource)
    (tmp_path / "model.yaml").write_text(resource.replace(uri, "pvc://models/m"))
    write_checkpoint(tmp_path / "models/m", "qwen3-8b-awq")
    monkeypatch.chdir(tmp_path)
    rows = []
    for gpu in GPUS:
        assert main(["plan", "-f", "model.yaml", "--pvc", "models=models", "--gpu", gpu, "-o", "json"]) == 0
        plan = json.loads(capsys.readouterr().out)
        predicted = plan["predicted"]
        speeds = (f"expected{name}TokensPerSecond" for name in ("Decode", "Output", "Capacity"))
        rows.append(
            f"| {plan['gpu']['product']} | {predicted['kvCacheBytes'] / 2**30:.1f} GiB |"
            f" {int(float(predicted['maxConcurrency']))} |"
            + "".join(f" {float(predicted[name]):,.0f} |" for name in speeds)
        )
    before, after = page.split(GPU_HEAD)
    shown, rest = after.split("\n\n", 1)
    if os.environ.get("TACHO_UPDATE_GOLDEN") == "1":
        GPU_PAGE.write_text("".join((before, GPU_HEAD, "\n".join(rows), "\n\n", rest)))
        return
    assert rows == shown.split("\n"), "review, then run with TACHO_UPDATE_GOLDEN=1"
