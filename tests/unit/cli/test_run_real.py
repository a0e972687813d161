"""``tacho run`` with the real engine and the real model: measured, interrupted, crashed, killed."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path
from typing import Any

import httpx
import pytest

from tacho_contract.measurement import INVALIDATING, NOT_STEADY
from tacho_operator.api.crd.schema import resource_schema
from tacho_operator.api.rules.structure import check
from tests.figures import moved_by, throughput
from tests.unit.cli.commands import manifest
from tests.unit.cli.processes import Running, family, model_folder, started, until
from tools.cluster.ports import free_port

STATUS_SCHEMA = resource_schema(())["properties"]["status"]
UNMEASURED = {"policy": "Disabled"}


@pytest.fixture
def scratch(tmp_path: Path) -> Path:
    """Where temporary files go; nothing may be left in it."""
    folder = tmp_path / "scratch"
    folder.mkdir()
    return folder


@pytest.fixture
def claim(tmp_path: Path) -> str:
    (tmp_path / "claim").mkdir()
    (tmp_path / "claim/smollm2").symlink_to(model_folder())
    return f"models={tmp_path / 'claim'}"


class Ports:
    def __init__(self) -> None:
        self.engine, self.report = free_port(), free_port()

    def options(self) -> list[str]:
        return ["--port", str(self.engine), "--report-port", str(self.report)]


def assert_nothing_left(running: Running, scratch: Path) -> None:
    until(lambda: not running.family(), f"processes are left: {running.family()}")
    assert list(scratch.iterdir()) == []


def test_once_prints_the_measured_resource_and_nothing_else(
    tmp_path: Path, claim: str, scratch: Path
) -> None:
    file = manifest(tmp_path, probe={"budgetSeconds": 6, "timeoutSeconds": 60})
    arguments = ["run", "-f", file, "--pvc", claim, "--once", "-o", "json", *Ports().options()]
    with started(scratch, *arguments) as running:
        assert running.end() == 0, running.lines
        document: dict[str, Any] = json.loads("\n".join(running.out))
        assert_nothing_left(running, scratch)
    assert document["metadata"] == {"name": "smollm2", "namespace": "default"}
    status = document["status"]
    assert list(check(status, STATUS_SCHEMA, "status")) == []
    print(f"{throughput(status)} output tokens per second")
    (measurement,) = status["measurements"]
    assert measurement["state"] == "Complete" or (
        measurement["state"] == "Partial" and measurement["message"]
    )
    assert measurement["revision"] == status["plan"]["revision"]
    conditions = {item["type"]: item for item in status["conditions"]}
    assert conditions["Ready"]["status"] == "True"
    # A machine with other work as well gives provisional figures, and says by what they were moved.
    moved = moved_by(conditions["Measured"])
    flags = INVALIDATING.intersection(measurement.get("flags", ()))
    # A rate that is not known is told without the other flags.
    assert moved == flags or moved == {NOT_STEADY} < flags
    assert measurement["confidence"] == ("Provisional" if moved else "Clean")
    assert any("Probing" in line for line in running.lines), "progress is told meanwhile, on stderr"


def test_it_serves_until_the_engine_dies_and_says_why(tmp_path: Path, claim: str, scratch: Path) -> None:
    ports = Ports()
    log = tmp_path / "engine.log"
    arguments = ["run", "-f", manifest(tmp_path, probe=UNMEASURED), "--pvc", claim, "--log", str(log)]
    with started(scratch, *arguments, *ports.options()) as running:
        running.wait_for(f"serving smollm2 at http://127.0.0.1:{ports.engine}/v1; Ctrl-C ends it")
        assert any("Measured=False ProbeDisabled" in line for line in running.out), running.out
        question = {"model": "smollm2", "messages": [{"role": "user", "content": "Hi"}], "max_tokens": 4}
        url = f"http://127.0.0.1:{ports.engine}/v1/chat/completions"
        answer = httpx.post(url, json=question, timeout=60, trust_env=False).json()
        assert answer["usage"]["completion_tokens"] > 0
        os.kill(running.member("-m tacho_llamacpp"), signal.SIGSEGV)
        assert running.end() == 3
        assert any("EngineCrashed: " in line for line in running.lines), running.lines
        assert "  -> Read the engine's last lines below; --log FILE keeps all of them." in running.lines
        assert "llama" in log.read_text()
        assert_nothing_left(running, scratch)


def test_ctrl_c_while_it_measures_leaves_nothing(tmp_path: Path, claim: str, scratch: Path) -> None:
    arguments = ["run", "-f", manifest(tmp_path), "--pvc", claim, "-o", "yaml", *Ports().options()]
    with started(scratch, *arguments) as running:
        running.wait_for("Probing: ")
        os.kill(running.process.pid, signal.SIGINT)
        assert running.end() == 130
        assert running.out == []
        assert_nothing_left(running, scratch)


def test_ctrl_c_while_it_serves_is_a_good_end(tmp_path: Path, claim: str, scratch: Path) -> None:
    arguments = ["run", "-f", manifest(tmp_path, probe=UNMEASURED), "--pvc", claim, *Ports().options()]
    with started(scratch, *arguments) as running:
        running.wait_for("Ctrl-C ends it")
        os.kill(running.process.pid, signal.SIGINT)
        assert running.end() == 0
        assert_nothing_left(running, scratch)


@pytest.mark.parametrize("victim", ["-m tacho_runtime", "-m tacho_cli.main"])
def test_a_kill_that_nobody_can_catch_leaves_no_process(
    tmp_path: Path, claim: str, scratch: Path, victim: str
) -> None:
    arguments = ["run", "-f", manifest(tmp_path, probe=UNMEASURED), "--pvc", claim, *Ports().options()]
    with started(scratch, *arguments) as running:
        running.member("-m tacho_llamacpp")
        os.kill(running.member(victim), signal.SIGKILL)
        code = running.end()
        until(lambda: not family(running.mark), f"processes are left: {running.family()}")
        if victim == "-m tacho_runtime":
            assert code == 3
            assert "tacho: the runtime ended with code -9" in running.lines
            assert list(scratch.iterdir()) == []
