"""docs/design/architecture.md says what the imports say, and every file it names is there."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import tomllib

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs/design/architecture.md").read_text()
LAWS: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]


def test_the_packages_are_those_the_linter_holds_in_that_order() -> None:
    law = next(law for law in LAWS["contracts"] if law.get("containers") == ["tacho_operator.core"])
    assert law["exhaustive"], "a new package has to be given its place"
    block = PAGE.split("<!-- begin packages")[1].split("<!-- end packages")[0]
    drawn = [re.findall(r"`(\w+)`", row.split("|")[1]) for row in block.splitlines() if row.startswith("| `")]
    drawn = [row for row in drawn if row != ["core"]]
    assert drawn == [layer.split(" | ") for layer in law["layers"]]


def test_every_package_of_the_core_is_drawn() -> None:
    core = ROOT / "operator" / "tacho_operator" / "core"
    packages = {path.stem for path in core.iterdir() if not path.stem.startswith("__")}
    block = PAGE.split("<!-- begin packages")[1].split("<!-- end packages")[0]
    assert packages == set(re.findall(r"`(\w+)`", block)) - {"core"}


def test_every_file_named_is_there() -> None:
    files = re.findall(r"`((?:operator|runtime)/[\w/.]+)`", PAGE)
    assert len(files) > 15
    assert [file for file in files if not (ROOT / file).exists()] == []


def test_an_engines_files_are_called_as_drawn() -> None:
    """The drawn names are what a reader expects in a folder."""
    block = PAGE.split("## An engine")[1].split("```")[1]
    drawn = set(re.findall(r"(\w+\.py)", block))
    there = {path.name for path in (ROOT / "runtime" / "tacho_engines").glob("*/*.py")}
    assert drawn <= there
    for engine in (ROOT / "runtime" / "tacho_engines").iterdir():
        if (engine / "profile.py").exists():
            assert (engine / "plan.py").exists(), engine.name
