"""What keeps the runtime from starting its engine, seen from outside."""

from __future__ import annotations

import socket
from pathlib import Path

from tacho_contract.launch import CustomEngine
from tests.unit.runtime.running import custom_config, running


def test_a_taken_engine_port_is_named(tmp_path: Path) -> None:
    config = custom_config(tmp_path)
    with socket.create_server(("127.0.0.1", config.engine_port)), running(config, tmp_path) as runtime:
        assert runtime.ended() == 1
    failure = runtime.failure()
    assert failure.failure_class == "PortInUse"
    assert str(config.engine_port) in failure.message


def test_taken_runtime_port_is_told_too(tmp_path: Path) -> None:
    config = custom_config(tmp_path)
    with socket.create_server(("127.0.0.1", config.runtime_port)), running(config, tmp_path) as runtime:
        assert runtime.ended() == 1
    assert runtime.failure().failure_class == "PortInUse"
    assert str(config.runtime_port) in runtime.failure().message


def test_an_engine_that_no_client_reaches(tmp_path: Path) -> None:
    """It answers the runtime. Many servers listen on 127.0.0.1 unless they are told."""
    config = custom_config(tmp_path, bind_host="0.0.0.0")
    with running(config, tmp_path) as runtime:
        assert runtime.ended() == 1
    failure = runtime.failure()
    assert failure.failure_class == "InvalidConfig"
    assert f"port {config.engine_port} of 127.0.0.1" in failure.message
    assert "$(TACHO_HOST)" in failure.next_step


def test_program_that_is_not_there(tmp_path: Path) -> None:
    config = custom_config(tmp_path, custom=CustomEngine(command=("no-such-engine",)))
    with running(config, tmp_path) as runtime:
        assert runtime.ended() == 1
    assert runtime.failure().failure_class == "EngineNotSupported"
    assert "no-such-engine" in runtime.failure().message


def test_missing_live_settings_are_a_failure_with_a_name(tmp_path: Path) -> None:
    with running(custom_config(tmp_path), tmp_path, live=None) as runtime:
        assert runtime.ended() == 1
    assert runtime.failure().failure_class == "InvalidConfig"
    assert "live.json" in runtime.failure().message
