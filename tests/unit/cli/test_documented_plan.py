"""The plans that cli.md shows are those that are made; ``TACHO_UPDATE_GOLDEN=1`` writes them for review."""

from __future__ import annotations

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
