"""The fetch container: what it does when it is done, killed, alone or one of two."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import pytest

from tacho_contract import codec
from tacho_contract.failure import TERMINATION_LIMIT_BYTES, Failure, FailureClass
from tacho_contract.fetch import FetchConfig
from tacho_runtime.hub import fetch as fetch_module
from tacho_runtime.hub.container import ENV_TERMINATION_LOG
from tacho_runtime.hub.fetch import fetch
from tests.unit.contract.test_text import hidden
from tests.unit.hub.conftest import RunningHub
from tests.unit.hub.fetching import MODEL, TOKEN, check_whole, progress


class Sidecar:
    """The fetch container."""

    running: ClassVar[list[subprocess.Popen[str]]] = []

    def __init__(self, config: FetchConfig | str, log: Path, **environment: str) -> None:
        text = config if isinstance(config, str) else codec.dumps(config)
        self.log = log
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tacho_runtime.hub.fetch"],
            env={**os.environ, "TACHO_FETCH_CONFIG": text, "TACHO_TERMINATION_LOG": str(log), **environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.running.append(self.process)

    def wait_for(self, what: Any) -> None:
        deadline = time.monotonic() + 60
        while not what():
            assert self.process.poll() is None, self.process.communicate()
            assert time.monotonic() < deadline, "nothing happened for 60 s"
            time.sleep(0.05)

    def sleeping(self) -> bool:
        return b"sigwait" in Path(f"/proc/{self.process.pid}/cmdline").read_bytes()

    def end(self, with_signal: int) -> tuple[int, str]:
        self.process.send_signal(with_signal)
        output = "".join(self.process.communicate(timeout=20))
        return self.process.returncode, output


@pytest.fixture(autouse=True)
def _nothing_is_left() -> Iterator[None]:
    """A test that failed leaves no process to those that count theirs."""
    yield
    while Sidecar.running:
        with Sidecar.running.pop() as process:
            process.kill()


@pytest.fixture
def log(tmp_path: Path) -> Path:
    path = tmp_path / "termination-log"
    path.write_text("")
    return path


def test_sidecar_downloads_then_sleeps_small(hub: RunningHub, config: FetchConfig, log: Path) -> None:
    hub.fake.tokens = {"acme/model": TOKEN}
    sidecar = Sidecar(config, log, HF_TOKEN=TOKEN)
    sidecar.wait_for(sidecar.sleeping)
    check_whole(config, progress(config).path)
    status = Path(f"/proc/{sidecar.process.pid}/status").read_text()
    resident_kib = int(status.split("VmRSS:")[1].split()[0])
    assert resident_kib < 20_000
    assert TOKEN.encode() not in Path(f"/proc/{sidecar.process.pid}/environ").read_bytes()
    code, output = sidecar.end(signal.SIGTERM)
    assert code == 0
    assert TOKEN not in output + log.read_text()
    written = [
        p
        for p in Path(config.cache_dir).parent.rglob("*")
        if p.is_file() and TOKEN.encode() in p.read_bytes()
    ]
    assert written == []


def test_restarted_when_complete_touches_no_network(hub: RunningHub, config: FetchConfig, log: Path) -> None:
    fetch(config, "")
    hub.fake.log.clear()
    broken = codec.to_dict(config) | {"endpoint": "http://127.0.0.1:9", "totalBytes": "not a number"}
    sidecar = Sidecar(json.dumps(broken), log)
    sidecar.wait_for(sidecar.sleeping)
    assert sidecar.end(signal.SIGTERM)[0] == 0
    assert hub.fake.log == []


@pytest.mark.parametrize("with_signal", [signal.SIGKILL, signal.SIGTERM])
def test_killed_container_continues(
    hub: RunningHub, config: FetchConfig, log: Path, with_signal: int
) -> None:
    hub.fake.faults.rate = 2_000_000
    first = Sidecar(config, log)
    first.wait_for(
        lambda: Path(config.state_dir, "progress.json").exists() and progress(config).bytes_done > 2_000_000
    )
    first.end(with_signal)
    assert first.process.returncode == (-9 if with_signal == signal.SIGKILL else 143)
    before = progress(config).bytes_done
    deadline = time.monotonic() + 20
    while hub.fake.sending and time.monotonic() < deadline:
        time.sleep(0.02)
    hub.fake.faults.rate = 0
    hub.fake.bytes_sent.clear()
    second = Sidecar(config, log)
    second.wait_for(second.sleeping)
    check_whole(config, progress(config).path)
    assert progress(config).resumed_bytes >= before
    assert sum(hub.fake.bytes_sent.values()) == config.files.total_bytes - progress(config).resumed_bytes
    second.end(signal.SIGTERM)


def test_file_system_without_links(config: FetchConfig, log: Path) -> None:
    sidecar = Sidecar(config, log, HF_HUB_DISABLE_SYMLINKS="1")
    sidecar.wait_for(sidecar.sleeping)
    check_whole(config, progress(config).path)
    files = [p for p in Path(config.cache_dir).rglob("*") if p.is_file() and p.stat().st_size == len(MODEL)]
    assert len(files) == 1
    sidecar.end(signal.SIGTERM)


def test_two_pods_on_one_cache_download_once(hub: RunningHub, config: FetchConfig, log: Path) -> None:
    hub.fake.faults.rate = 4_000_000
    hub.fake.bytes_sent.clear()
    configs = [replace(config, state_dir=f"{config.state_dir}{n}") for n in (1, 2)]
    sidecars = [Sidecar(c, log.with_name(f"log{n}")) for n, c in enumerate(configs)]
    for sidecar, own in zip(sidecars, configs, strict=True):
        sidecar.wait_for(sidecar.sleeping)
        check_whole(own, progress(own).path)
    for sidecar in sidecars:
        sidecar.end(signal.SIGTERM)
    assert hub.fake.bytes_sent[next(p for p in hub.fake.bytes_sent if p.endswith("weights.bin"))] == len(
        MODEL
    )


@pytest.mark.nightly
def test_of_three_pods_on_one_cache_one_is_killed(hub: RunningHub, config: FetchConfig, log: Path) -> None:
    """The lock goes with it, and another continues where it was."""
    hub.fake.faults.rate = 2_000_000
    hub.fake.bytes_sent.clear()
    configs = [replace(config, state_dir=f"{config.state_dir}{n}") for n in range(3)]
    first = Sidecar(configs[0], log)
    state = Path(configs[0].state_dir, "progress.json")
    first.wait_for(lambda: state.exists() and progress(configs[0]).bytes_done > 1_000_000)
    others = [Sidecar(own, log.with_name(f"log{n}")) for n, own in enumerate(configs[1:])]
    for other, own in zip(others, configs[1:], strict=True):
        other.wait_for(Path(own.state_dir, "progress.json").exists)
    first.end(signal.SIGKILL)
    for other, own in zip(others, configs[1:], strict=True):
        other.wait_for(other.sleeping)
        check_whole(own, progress(own).path)
        other.end(signal.SIGTERM)
    sent = hub.fake.bytes_sent[next(p for p in hub.fake.bytes_sent if p.endswith("weights.bin"))]
    assert sent < 1.5 * len(MODEL)


def test_failing_sidecar_says_why(hub: RunningHub, config: FetchConfig, log: Path) -> None:
    hub.fake.tokens = {"acme/model": "other"}
    sidecar = Sidecar(config, log, HF_TOKEN=TOKEN)
    output = "".join(sidecar.process.communicate(timeout=60))
    assert sidecar.process.returncode == 1
    failure = codec.loads(Failure, log.read_text())
    assert failure.failure_class == FailureClass.MODEL_NOT_FOUND
    assert len(log.read_bytes()) <= TERMINATION_LIMIT_BYTES
    assert failure.failure_class in output
    assert TOKEN not in output + log.read_text()


def test_a_long_failure_in_any_script_stays_readable(log: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Beyond ASCII a character takes six bytes or twelve, and the kubelet cuts without asking."""
    monkeypatch.setenv(ENV_TERMINATION_LOG, str(log))
    text = "模型" * 2000
    failure = Failure(failure_class=FailureClass.MODEL_INVALID, message=text, next_step=text)
    assert fetch_module._fail(failure) == 1
    assert len(log.read_bytes()) <= TERMINATION_LIMIT_BYTES
    failure = codec.loads(Failure, log.read_text())
    assert failure.failure_class == FailureClass.MODEL_INVALID
    assert text.startswith(failure.message[:50])


def test_broken_configuration(log: Path, tmp_path: Path) -> None:
    sidecar = Sidecar(json.dumps({"stateDir": str(tmp_path)}), log)
    sidecar.process.communicate(timeout=60)
    assert sidecar.process.returncode == 1
    assert codec.loads(Failure, log.read_text()).failure_class == FailureClass.INVALID_CONFIG


def test_a_hub_without_encryption_as_a_variable_gets_no_token(config: FetchConfig, log: Path) -> None:
    sidecar = Sidecar(replace(config, endpoint=""), log, HF_ENDPOINT="http://hub.example", HF_TOKEN=TOKEN)
    output = "".join(sidecar.process.communicate(timeout=60))
    assert sidecar.process.returncode == 1
    failure = codec.loads(Failure, log.read_text())
    assert failure.failure_class == FailureClass.INVALID_CONFIG
    assert "not encrypted" in failure.message
    assert TOKEN not in output + log.read_text()


LOGGING = r"""
import logging
from tacho_contract.failure import Failure
from tacho_runtime.hub import fetch
def log(config, token):
    logging.getLogger("hub").warning("%s is removed", "a\x1b[2J\n\u202eb.gguf")
    return Failure(failure_class="ModelInvalid", message="of a\x9bb", next_step="None.")
fetch.fetch = log
fetch.main()
"""


def test_what_it_prints_hides_no_character_of_a_file_name(config: FetchConfig, log: Path) -> None:
    environment = {"TACHO_FETCH_CONFIG": codec.dumps(config), ENV_TERMINATION_LOG: str(log)}
    command = [sys.executable, "-c", LOGGING]
    done = subprocess.run(command, env={**os.environ, **environment}, capture_output=True, text=True)
    assert not hidden(done.stdout + done.stderr, "\n")
    assert done.stderr.splitlines()[0] == "a\ufffd[2J \ufffdb.gguf is removed"
