"""An image build that is interrupted: nothing goes on running, no folder is left."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

PROGRAM = """
import os
import sys
from pathlib import Path
from tools import cache
from tools.images import __main__ as images, machine

folder = Path(sys.argv[1])
cache.folder = lambda name: folder
cache.require_space = lambda *_: None
machine.require_root = machine.install_programs = lambda: None
mirrors = dict.fromkeys(machine.LABELS, "http://none")
machine.debian_mirrors, machine.proxy_environment = lambda: mirrors, lambda: dict(os.environ)
sys.argv = ["images", "base"]
sys.exit(images.main())
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_a_build_that_is_ended_cleans_up(tmp_path: Path, number: signal.Signals) -> None:
    """With a program in place of mmdebstrap, which runs another."""
    scratch, programs = tmp_path / "scratch", tmp_path / "bin"
    scratch.mkdir()
    programs.mkdir()
    script = f'mkdir "$TMPDIR/root"; sleep 300 & echo $! $$ > {tmp_path}/started; wait'
    (programs / "mmdebstrap").write_text(f"#!/bin/sh\n{script}\n")
    (programs / "mmdebstrap").chmod(0o755)
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, str(scratch)],
        env={**os.environ, "PATH": f"{programs}:{os.environ['PATH']}"},
        stderr=subprocess.PIPE,
        preexec_fn=_heed_signals,
    )
    with process:
        _until(lambda: (tmp_path / "started").is_file() and (tmp_path / "started").read_text())
        process.send_signal(number)
        assert process.wait(60) != 0
    assert list(scratch.iterdir()) == []
    for pid in (tmp_path / "started").read_text().split():
        _until(lambda pid=pid: not _alive(pid))


def _heed_signals() -> None:
    """In the background of a script SIGINT is ignored, under nohup SIGHUP."""
    for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
        signal.signal(number, signal.SIG_DFL)


def _alive(pid: str) -> bool:
    """A zombie is not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def _until(check: object) -> None:
    assert callable(check)
    deadline = time.monotonic() + 60
    while not check():
        assert time.monotonic() < deadline
        time.sleep(0.02)
