"""docs/how-to/simulate.md and the README: each command runs and prints what stands below it."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tests.unit.cli.commands import call

ROOT = Path(__file__).parents[4]
EXAMPLES = ROOT / "examples" / "simulate"
SHOWN = [
    (page, block)
    for page in ("docs/how-to/simulate.md", "README.md")
    for block in re.findall(r"^```\n\$ (tacho simulate .*?)^```", (ROOT / page).read_text(), re.M | re.S)
]


def test_there_is_something_to_try() -> None:
    assert [page for page, _ in SHOWN].count("docs/how-to/simulate.md") == 3
    assert "README.md" in {page for page, _ in SHOWN}


@pytest.mark.parametrize(("page", "block"), SHOWN)
def test_a_command_prints_what_the_page_shows(
    page: str, block: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """But for the figures: they follow the law of scaling, which is not to be held still by a page."""
    monkeypatch.chdir(ROOT)
    monkeypatch.delenv("COLUMNS", raising=False)
    found = re.fullmatch(r"((?:[^\n]*\\\n)*[^\n]*\n)(.*)", block, re.S)
    assert found
    told = call(capsys, *shlex.split(found[1].replace("\\\n", ""))[1:])
    assert told.code == 0, told.err
    assert table(told.out) == table(found[2]), page


def table(text: str) -> list[list[str]]:
    """What the trace is, the columns, and whose rows there are."""
    head, columns, *lines = text.split("\n\n")[0].splitlines()
    named = columns.split().index("SLO")
    return [[head], columns.split(), *(line.split()[:named] for line in lines)]


@pytest.mark.parametrize("name", ["vllm-bf16", "vllm-fp8"])
def test_the_examples_replicas_are_those_that_were_measured(name: str) -> None:
    measured = yaml.safe_load((ROOT / "benchmarks" / "engines" / "h200" / f"{name}.yaml").read_text())
    assert [yaml.safe_load((EXAMPLES / f"{name}.json").read_text())] == measured["status"]["measurements"]


def test_the_examples_trace_is_what_its_program_writes() -> None:
    made = subprocess.run(
        [sys.executable, EXAMPLES / "make_trace.py"], capture_output=True, text=True, check=True
    )
    assert made.stdout == (EXAMPLES / "trace.csv").read_text()
