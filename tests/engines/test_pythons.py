"""The runtime's zipapp on every Python that an engine's image may bring, from 3.10 on."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.unit.runtime.whole_life import live
from tools import pythons, zipapp


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return zipapp.build(tmp_path_factory.mktemp("zipapp") / "tacho-runtime.pyz")


def test_a_whole_life_on_the_projects_own(built: Path, tmp_path: Path) -> None:
    live(sys.executable, built, tmp_path)


@pytest.mark.parametrize("version", pythons.RELEASES)
def test_a_whole_life(version: str, built: Path, tmp_path: Path) -> None:
    python = str(pythons.interpreter(version))
    asked = subprocess.run([python, "-I", "-S", "--version"], capture_output=True, text=True, check=True)
    assert asked.stdout.startswith(f"Python {version}.")
    live(python, built, tmp_path)


def test_with_the_projects_own_no_version_from_the_oldest_on_is_left_out() -> None:
    minors = {int(version.partition(".")[2]) for version in pythons.RELEASES} | {sys.version_info.minor}
    assert minors == set(range(10, max(minors) + 1))
