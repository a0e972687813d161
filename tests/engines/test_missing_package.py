"""An engine's image that lacks what the method needs."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.engines.planned import planned
from tests.engines.serving import ROOT
from tests.unit.runtime.running import running

pytestmark = pytest.mark.timeout(300)


@pytest.fixture
def without_bitsandbytes(engines_python: Path, tmp_path: Path) -> Path:
    """The engines' own packages but for that one."""
    place = tmp_path / "environment"
    subprocess.run([engines_python, "-m", "venv", "--without-pip", place], check=True, timeout=100)
    (whole,) = engines_python.parents[1].glob("lib/python3*/site-packages")
    (mine,) = place.glob("lib/python3*/site-packages")
    for entry in whole.iterdir():
        if not entry.name.startswith("bitsandbytes"):
            (mine / entry.name).symlink_to(entry)
    for name in ("tacho_server", "tacho_transformers"):  # as in the engine's image
        (mine / name).symlink_to(ROOT / "runtime" / name)
    return place / "bin" / "python"


def test_a_method_whose_package_is_missing_is_refused_with_what_helps(
    claim: Path, without_bitsandbytes: Path, tmp_path: Path
) -> None:
    setup, _ = planned(
        "transformers-nf4-cpu.yaml", tmp_path, claim=claim, python=without_bitsandbytes, changes={}
    )
    with running(setup.runtime, tmp_path) as started:
        code = started.ended()
        log = started.log()
    told = started.failure()
    assert (code, told.failure_class) == (1, "UnsupportedQuantization"), log[-3000:]
    assert "bitsandbytes is not installed" in told.message
    assert "engine image" in told.next_step
