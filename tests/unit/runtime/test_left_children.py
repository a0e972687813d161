"""A child of the engine that has a session of its own ends with it, also where the runtime is not PID 1."""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path

import pytest

from tacho_contract.launch import CustomEngine, RuntimeConfig
from tests.launching import changed
from tests.unit.runtime.running import FAKE_CHILD, custom_config, running

DETACHED = """
import os, subprocess, sys
inner = "import os, sys, time; print(os.getpid(), file=open(sys.argv[1], 'w')); time.sleep(600)"
for name in ("first", "second"):
    subprocess.Popen([sys.executable, "-c", inner, sys.argv[1] + name], start_new_session=True)
os.execv(sys.executable, [sys.executable, *sys.argv[2:]])
"""


def config_of(folder: Path, *flags: str) -> RuntimeConfig:
    """An engine that starts two workers in sessions of their own first."""
    child = (str(FAKE_CHILD), "--port", "$(TACHO_PORT)", *flags)
    command = (sys.executable, "-c", DETACHED, str(folder / "pid-"), *child)
    return changed(custom_config(folder), custom=CustomEngine(command=command))


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


@pytest.mark.parametrize("end", ["stopped", "crashed"])
def test_a_child_in_a_session_of_its_own_ends_with_the_engine(end: str, tmp_path: Path) -> None:
    sign = tmp_path / "sign"
    files = [tmp_path / "pid-first", tmp_path / "pid-second"]
    with running(config_of(tmp_path, "--die-when", str(sign)), tmp_path) as runtime:
        runtime.until_ready()
        runtime.until(lambda: all(file.exists() and file.read_text() for file in files), "the children")
        pids = [int(file.read_text()) for file in files]
        assert all(map(is_alive, pids))
        if end == "crashed":
            sign.touch()
            assert runtime.ended() == 1
        else:
            assert runtime.stop(signal.SIGTERM) == 0
        deadline = time.monotonic() + 10
        while left := [pid for pid in pids if is_alive(pid)]:
            if time.monotonic() > deadline:
                for pid in left:
                    os.kill(pid, signal.SIGKILL)
                pytest.fail(f"{left} are left")
            time.sleep(0.05)
