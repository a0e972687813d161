"""The runtime's zipapp on every Python of this machine: engine images bring their own, 3.10 or newer."""

from __future__ import annotations

import dataclasses
import functools
import os
import shutil
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

import pytest

from tacho_contract import __version__
from tests.unit.runtime.running import FAKE_CHILD, custom_config, running
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
    """From the version over readiness, a report and its metrics to a drain that ends with 0."""
    program = (pythons()[version], "-I", "-S", str(built))
    done = subprocess.run([*program, "--version"], capture_output=True, text=True, env={}, check=False)
    assert (done.returncode, done.stdout.strip(), done.stderr) == (0, __version__, "")
    plain = custom_config(tmp_path)
    assert plain.custom is not None
    # The engine runs on this interpreter too, as it does in its image.
    engine = (program[0], str(FAKE_CHILD), "--port", "$(TACHO_PORT)", "--healthy-after", "0.2")
    config = dataclasses.replace(plain, custom=dataclasses.replace(plain.custom, command=engine))
    with running(config, tmp_path, program=program) as runtime:
        runtime.until_ready()
        assert runtime.get("/livez")[0] == 200
        assert runtime.report()["revision"] == config.revision
        assert "tacho_runtime_" in runtime.get("/metrics")[1]
        assert runtime.stop() == 0
        assert "Traceback" not in runtime.log()
        assert "Warning" not in runtime.log()
