"""A command that is ended before its time: by Ctrl-C, by a time limit, by a closed terminal."""

from __future__ import annotations

import signal
import socket
from pathlib import Path

import pytest

from tacho_cli.problems import ExitCode
from tests.unit.cli.processes import started, until


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_command_that_is_ended_leaves_neither_files_nor_processes(number: int, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"http://127.0.0.1:{silent.getsockname()[1]}"
        with started(tmp_path, "probe", address, "--model", "m") as running:
            until(lambda: list(tmp_path.glob("tacho-*/log")), "no log", or_dead=running.process)
            running.process.send_signal(number)
            assert running.end() == ExitCode.INTERRUPTED, running.lines
            assert "tacho: interrupted" in running.lines
            until(lambda: not running.family(), f"left: {running.family()}")
    assert list(tmp_path.iterdir()) == []
