"""The runtime's zipapp on every Python of this machine; tests/engines fetches those that are missing."""

from __future__ import annotations

import functools
import os
import shutil
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

import pytest

from tests.unit.runtime.whole_life import live
from tools import zipapp

OLDEST = (3, 10)
NEWEST_LOOKED_FOR = 16


def candidates() -> Iterable[str]:
    """This one, those on the PATH, and those that pyenv keeps beside it."""
    yield sys.executable
    for minor in range(OLDEST[1], NEWEST_LOOKED_FOR):
        yield from filter(None, [shutil.which(f"python3.{minor}")])
    kept = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    yield from (str(path) for path in sorted(kept.glob("*/bin/python3")))


@functools.cache
def pythons() -> dict[str, str]:
    """Version, as 3.12, to the first interpreter found of it."""
    found: dict[str, str] = {}
    program = "import sys; print(*sys.version_info[:2])"
    for path in candidates():
        done = subprocess.run([path, "-I", "-S", "-c", program], capture_output=True, text=True, check=False)
        if done.returncode == 0:  # otherwise a shim without an interpreter behind it
            version = tuple(int(word) for word in done.stdout.split())
            if version >= OLDEST:
                found.setdefault(".".join(map(str, version)), path)
    return found


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return zipapp.build(tmp_path_factory.mktemp("zipapp") / "tacho-runtime.pyz")


@pytest.mark.parametrize("version", pythons())
def test_a_whole_life(version: str, built: Path, tmp_path: Path) -> None:
    live(pythons()[version], built, tmp_path)
