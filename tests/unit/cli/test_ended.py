"""A command that is ended before its time: by a time limit, by a closed terminal, by the kernel."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.unit.cli.processes import started, until


@contextlib.contextmanager
def silent_server() -> Iterator[tuple[str, threading.Event]]:
    """The address of a server that accepts connections and never answers, and whether it has one."""
    asked = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as server:

        def accept() -> None:
            with contextlib.suppress(OSError):
                accepted.append(server.accept()[0])
                asked.set()

        accepted: list[socket.socket] = []
        thread = threading.Thread(target=accept)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.getsockname()[1]}", asked
        finally:
            server.shutdown(socket.SHUT_RDWR)
            thread.join()
            for connection in accepted:
                connection.close()


def test_a_probe_that_is_ended_leaves_neither_files_nor_processes(tmp_path: Path) -> None:
    with silent_server() as (address, _), started(tmp_path, "probe", address, "--model", "m") as running:
        until(lambda: len(running.family()) > 1, "no child", or_dead=running.process)
        running.process.terminate()
        assert running.end() == -signal.SIGTERM
        until(lambda: not running.family(), f"left: {running.family()}")
        assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGKILL])
def test_a_plan_that_is_ended_leaves_neither_files_nor_processes(number: int, tmp_path: Path) -> None:
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    file = tmp_path / "model.yaml"
    with silent_server() as (address, asked):
        file.write_text(
            "apiVersion: tacho.dev/v1alpha1\nkind: LLMDeployment\nmetadata: {name: m}\n"
            f"spec: {{model: {{uri: 'hf://a/b', hub: {{endpoint: '{address}'}}}}}}\n"
        )
        with started(scratch, "plan", "-f", str(file), NO_PROXY="127.0.0.1") as running:
            until(asked.is_set, "the hub was not asked", or_dead=running.process)
            running.process.send_signal(number)
            assert running.end() == -number
            until(lambda: not running.family(), f"left: {running.family()}")
            assert os.listdir(scratch) == []
