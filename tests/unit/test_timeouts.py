"""A test whose timeout rings within a background task fails, and does not hang."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
HANGS = """
import asyncio, time

async def test_hangs():
    async def busy():
        end = time.monotonic() + 2
        while time.monotonic() < end:
            pass

    task = asyncio.ensure_future(busy())  # the timeout is raised in it, and stays there
    await asyncio.Event().wait()

def test_later():
    pass
"""


def test_a_timeout_within_a_task_fails_the_test(tmp_path: Path) -> None:
    (tmp_path / "test_hangs.py").write_text(HANGS)
    (tmp_path / "pytest.ini").write_text("[pytest]\nasyncio_mode = auto\ntimeout = 1\n")
    (tmp_path / "conftest.py").write_text("from tests.conftest import pytest_timeout_set_timer\n")
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--rootdir", str(tmp_path)]
    found = subprocess.run(
        [*command, str(tmp_path)],
        cwd=tmp_path,
        env={"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert "1 failed, 1 passed" in found.stdout, found.stdout + found.stderr
    assert "Timeout (>1.0s)" in found.stdout
