"""What is refused before anything is started."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from tacho_contract import SCHEMA
from tacho_contract.failure import FailedError
from tacho_contract.launch import CustomEngine
from tacho_engines.registry import run_half
from tacho_runtime.machine import processes
from tacho_runtime.supervisor.preflight import (
    check_port,
    check_program,
    check_writable,
    config_problems,
    port_failure,
)
from tests.launching import changed, runtime_config

GOOD = runtime_config(
    revision="r",
    plan_key="p",
    engine="llamacpp",
    entrypoint=("llama-server",),
    model_path="/m",
    served_name="s",
    max_model_len=1,
    concurrency=1,
)


def test_a_good_configuration_has_no_problems() -> None:
    assert config_problems(GOOD, run_half(GOOD.engine)) == []


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"schema": SCHEMA + 1}, "newer"),
        ({"max_model_len": 0}, "maxModelLen"),
        ({"concurrency": 0}, "concurrency"),
        ({"served_name": ""}, "servedName"),
        ({"engine_port": 9400}, "the same"),
        ({"runtime_port": 70000}, "out of range"),
        ({"model_path": ""}, "modelPath"),
        ({"drain_seconds": -1}, "drainSeconds"),
        ({"custom": CustomEngine(command=("x",))}, "custom"),
        ({"entrypoint": ()}, "entrypoint"),
    ],
)
def test_each_contradiction_is_named(changes: dict[str, object], words: str) -> None:
    config = changed(GOOD, **changes)  # type: ignore[arg-type]
    (problem,) = config_problems(config, run_half(config.engine))
    assert words in problem


def failure_class(raised: pytest.ExceptionInfo[FailedError]) -> str:
    return raised.value.failure.failure_class


def test_a_full_disk_is_told_from_a_wrong_mount(tmp_path: Path) -> None:
    (tmp_path / f".tacho-write-{os.getpid()}").symlink_to("/dev/full")
    with pytest.raises(FailedError) as full:
        check_writable(str(tmp_path), "the state folder", create=True)
    assert failure_class(full) == "DiskFull"
    (tmp_path / "file").touch()
    with pytest.raises(FailedError) as wrong:
        check_writable(str(tmp_path / "file"), "HOME", create=False)
    assert failure_class(wrong) == "InvalidConfig"
    assert "HOME" in wrong.value.failure.message


def test_a_writable_folder_is_made_and_left_empty(tmp_path: Path) -> None:
    check_writable(str(tmp_path / "a" / "b"), "the state folder", create=True)
    assert list((tmp_path / "a" / "b").iterdir()) == []


def test_a_taken_port_names_its_owner() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        with pytest.raises(FailedError) as raised:
            check_port("127.0.0.1", port)
        assert processes.listener(port).endswith(f"(pid {os.getpid()})")
    assert failure_class(raised) == "PortInUse"
    assert f"port {port} is in use by" in raised.value.failure.message
    assert f"(pid {os.getpid()})" in raised.value.failure.message
    check_port("127.0.0.1", port)
    assert processes.listener(port) == ""


def test_an_address_of_another_machine() -> None:
    with pytest.raises(FailedError) as raised:
        check_port("192.0.2.1", 8000)
    assert failure_class(raised) == "InvalidConfig"


def test_an_owner_that_cannot_be_seen() -> None:
    failure = port_failure("", 1, OSError(98, "in use"))
    assert "an unknown process" in failure.message


def test_connections_to_a_port_are_counted_on_its_side_only() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        assert processes.connections(port) == 0
        with socket.create_connection(("127.0.0.1", port)):
            assert processes.connections(port) == 1


def test_connections_are_unknown_without_proc(tmp_path: Path) -> None:
    assert processes.connections(1, tmp_path) is None


def test_programs_are_looked_up_on_the_engines_path(tmp_path: Path) -> None:
    program = tmp_path / "engine"
    program.write_text("#!/bin/sh\n")
    with pytest.raises(FailedError) as raised:
        check_program(("engine",), {"PATH": str(tmp_path)})
    assert failure_class(raised) == "EngineNotSupported"
    program.chmod(0o755)
    check_program(("engine",), {"PATH": str(tmp_path)})


def test_a_process_whose_name_is_no_text_is_seen_all_the_same(tmp_path: Path) -> None:
    for pid, parent in ((7, 1), (8, 7)):
        (tmp_path / str(pid)).mkdir()
        (tmp_path / str(pid) / "stat").write_bytes(b"%d (\xff\xfe) S %d 0" % (pid, parent))
    assert processes.process_tree(7, tmp_path) == (7, 8)
