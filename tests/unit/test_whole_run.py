"""What ends with a run of tests."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tools.cluster.paths import REPOSITORY

HOOK = """
from tools import whole_run
whole_run.ENDING_SECONDS = 1.0
pytest_unconfigure = whole_run.pytest_unconfigure
"""
LEAVES = """
import threading, time

def test_it():
    threading.Thread(target=time.sleep, args=(60,)).start()
"""


def test_a_thread_that_is_left_behind_is_named_and_ends_the_run(tmp_path: Path) -> None:
    (tmp_path / "conftest.py").write_text(HOOK)
    (tmp_path / "test_it.py").write_text(LEAVES)
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", f"--rootdir={tmp_path}", "."]
    path = {"PYTHONPATH": str(REPOSITORY)}
    done = subprocess.run(
        command, cwd=tmp_path, env=path, capture_output=True, text=True, timeout=50, check=False
    )
    assert "1 passed" in done.stdout
    assert done.returncode == 1
    assert "Timeout" in done.stderr
    assert "in run" in done.stderr, "the stack of the thread"
