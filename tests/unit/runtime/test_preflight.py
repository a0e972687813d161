"""What is refused before anything is started."""

from __future__ import annotations

import contextlib
import os
import socket
import tempfile
from pathlib import Path

import pytest

from tacho_contract import SCHEMA
from tacho_contract.failure import FailedError
from tacho_runtime.machine import processes
from tacho_runtime.supervisor.preflight import check, check_port, check_program, check_writable
from tests.launching import changed
from tests.unit.runtime.running import custom_config


def test_a_newer_document_is_refused(tmp_path: Path) -> None:
    config = changed(custom_config(tmp_path), schema=SCHEMA + 1)
    with pytest.raises(FailedError, match="newer than this runtime's"):
        check(config, {})


def failure_class(raised: pytest.ExceptionInfo[FailedError]) -> str:
    return raised.value.failure.failure_class


def test_a_full_disk_is_told_from_a_wrong_mount(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patched:
        patched.setattr(tempfile, "NamedTemporaryFile", lambda **_: open("/dev/full", "wb"))  # noqa: SIM115
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


def test_a_pipe_that_an_earlier_engine_left_there_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / f".tacho-write-{os.getpid()}")
    check_writable(str(tmp_path), "the state folder", create=True)


def test_a_taken_port_is_named() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        with pytest.raises(FailedError) as raised:
            check_port("127.0.0.1", port)
    assert failure_class(raised) == "PortInUse"
    assert f"port {port} is in use by another process" in raised.value.failure.message
    check_port("127.0.0.1", port)


def test_an_address_of_another_machine() -> None:
    with pytest.raises(FailedError) as raised:
        check_port("192.0.2.1", 8000)
    assert failure_class(raised) == "InvalidConfig"


def test_connections_to_a_port_are_counted_on_its_side_only() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        assert processes.connections(port) == 0
        with socket.create_connection(("127.0.0.1", port)):
            assert processes.connections(port) == 1


def test_connections_are_unknown_without_proc(tmp_path: Path) -> None:
    assert processes.connections(1, tmp_path) is None


@pytest.mark.parametrize(
    ("hosts", "is_inside"),
    [
        (["127.0.0.1"], True),
        (["127.9.0.1", "::1"], True),
        (["::ffff:127.0.0.1"], True),
        (["0.0.0.0"], False),
        (["127.0.0.1", "::"], False),
    ],
)
def test_who_reaches_a_port_is_known_by_its_addresses(hosts: list[str], *, is_inside: bool) -> None:
    with contextlib.ExitStack() as opened:
        port = 0
        for host in hosts:
            listener = opened.enter_context(socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET))
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if ":" in host:
                listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, "." not in host)
            listener.bind((host, port))
            listener.listen()
            port = listener.getsockname()[1]
        assert processes.listens_inside(port) == is_inside


def test_nobody_knows_who_reaches_a_port_without_proc(tmp_path: Path) -> None:
    assert not processes.listens_inside(1, tmp_path)


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
