"""The runtime with llama.cpp itself and a real model: nothing here is played."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import signal
import sys
import threading
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from tacho_contract.launch import LiveConfig, ProbeSettings, RuntimeConfig
from tacho_contract.measurement import Workload
from tests.launching import changed
from tests.unit.runtime.running import Running, custom_config, running
from tools.engines import gguf_model

LIVE = LiveConfig(
    measure_key="m",
    workload=Workload(input_tokens=32, output_tokens=16),
    probe=ProbeSettings(budget_seconds=8, timeout_seconds=90),
)


def llamacpp_config(folder: Path, **changes: Any) -> RuntimeConfig:
    config = changed(
        custom_config(folder),
        engine="llamacpp",
        custom=None,
        entrypoint=(sys.executable, "-m", "tacho_llamacpp"),
        model_path=str(gguf_model().parent),
        model_file=gguf_model().name,
        files=("*.gguf",),
        concurrency=2,
        max_model_len=512,
        drain_seconds=100,
    )
    return changed(config, **changes)


def complete(runtime: Running, tokens: int) -> dict[str, Any]:
    body = {"model": "demo", "prompt": "Once upon a time", "max_tokens": tokens, "ignore_eos": True}
    request = urllib.request.Request(
        f"http://127.0.0.1:{runtime.config.engine_port}/v1/completions",
        data=json.dumps(body).encode(),
        headers={"Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=200) as answer:
        found: dict[str, Any] = json.loads(answer.read())
    return found


@pytest.mark.timeout(300)
def test_measured_serving_drained(tmp_path: Path) -> None:
    with running(llamacpp_config(tmp_path), tmp_path, live=LIVE) as runtime:
        runtime.until_ready()
        check_measured(runtime)
        check_memory(runtime)
        check_phases(runtime)
        check_drained(runtime)


def check_measured(runtime: Running) -> None:
    measurement = runtime.report()["measurement"]
    assert measurement["state"] == "Complete" or (
        measurement["state"] == "Partial" and measurement["message"]
    )
    assert measurement["singleStream"]["decodeTokensPerSecond"] > 1
    assert measurement["capacity"]["outputTokensPerSecond"] > 1
    assert "tacho_runtime_measurement_state" in runtime.get("/metrics")[1]

    def idle() -> bool:
        load = json.loads(runtime.get("/load")[1])
        return (load.get("running"), load.get("waiting")) == (0, 0)

    # The probe hung up on the last streams; the engine notices with its next token.
    runtime.until(idle, "an engine without requests")


def check_memory(runtime: Running) -> None:
    """The model is mapped and every token reads all of it, so all of it is resident."""
    memory = runtime.report()["measurement"]["memory"]
    weights_bytes = gguf_model().stat().st_size
    assert weights_bytes < memory["hostUsedBytes"] < 10 * weights_bytes
    assert memory["hostUsedBytes"] <= memory["hostPeakBytes"]
    assert (memory["gpuSource"], memory["gpuDevices"]) == ("", [])
    assert "gpuUsedBytes" not in memory


def check_phases(runtime: Running) -> None:
    """One after another: the parts are the whole."""
    startup = runtime.report()["startup"]
    assert "download" not in startup, "the model was there"
    parts = sum(seconds for name, seconds in startup.items() if name != "total")
    assert {"preflight", "load", "probe"} < set(startup)
    assert abs(parts - startup["total"]) < 0.01


def check_drained(runtime: Running) -> None:
    """A running request is let finish."""
    answers: list[dict[str, Any]] = []
    # Long enough for /load, which is a second old at most.
    asking = threading.Thread(target=lambda: answers.append(complete(runtime, 400)))
    asking.start()
    runtime.until(lambda: json.loads(runtime.get("/load")[1]).get("running") == 1, "the running request")
    assert runtime.stop() == 0
    asking.join()
    assert "no requests left" in runtime.log()
    assert answers[0]["usage"]["completion_tokens"] == 400


def test_killed_engine_ends_the_container(tmp_path: Path) -> None:
    with running(llamacpp_config(tmp_path), tmp_path) as runtime:
        runtime.until_ready()
        children = Path(f"/proc/{runtime.process.pid}/task/{runtime.process.pid}/children").read_text()
        (engine,) = map(int, children.split())
        os.kill(engine, signal.SIGKILL)
        assert runtime.ended() == 1
    failure = runtime.failure()
    assert failure.failure_class == "HostOutOfMemory"
    assert failure.log_tail


def test_truncated_model_is_told_as_such(tmp_path: Path) -> None:
    model = tmp_path / "cut.gguf"
    shutil.copyfile(gguf_model(), model)
    os.truncate(model, model.stat().st_size - 100_000)
    with running(llamacpp_config(tmp_path, model_path=str(model)), tmp_path) as runtime:
        assert runtime.ended() == 1
    failure = runtime.failure()
    assert failure.failure_class == "ModelInvalid"
    assert "not within the file bounds" in failure.message
    assert not failure.retryable


def test_argument_the_engine_does_not_know(tmp_path: Path) -> None:
    with running(llamacpp_config(tmp_path, extra_args=("--lora", "x")), tmp_path) as runtime:
        assert runtime.ended() == 1
    failure = runtime.failure()
    assert failure.failure_class == "InvalidConfig"
    assert "--lora" in failure.message
    assert "extraArgs" in failure.next_step


def engine_of(runtime: Running) -> int:
    children = Path(f"/proc/{runtime.process.pid}/task/{runtime.process.pid}/children").read_text()
    (engine,) = map(int, children.split())
    return engine


def commands_below(runtime: Running) -> list[str]:
    """Of the runtime's children, as they are now."""
    children = Path(f"/proc/{runtime.process.pid}/task/{runtime.process.pid}/children").read_text().split()
    return [Path(f"/proc/{child}/cmdline").read_text() for child in children]


def test_crash_while_serving(tmp_path: Path) -> None:
    with running(llamacpp_config(tmp_path), tmp_path) as runtime:
        runtime.until_ready()
        os.kill(engine_of(runtime), signal.SIGSEGV)
        assert runtime.ended() == 1
    failure = runtime.failure()
    assert failure.failure_class == "EngineCrashed"
    assert "SIGSEGV" in failure.message


def test_hang_in_load_ends_with_the_startup_budget(tmp_path: Path) -> None:
    live = dataclasses.replace(LIVE, startup_timeout_seconds=8)
    with running(llamacpp_config(tmp_path), tmp_path, live=live) as runtime:
        # Not before it is the engine: stopped between fork and exec, it would hold its parent.
        runtime.until(lambda: "llama" in "".join(commands_below(runtime)), "the engine's start")
        os.kill(engine_of(runtime), signal.SIGSTOP)
        assert runtime.ended() == 1
    assert runtime.failure().failure_class == "StartupTimeout"


def test_too_little_memory_to_load(tmp_path: Path) -> None:
    limited = ("prlimit", f"--as={550_000_000}", sys.executable, "-m", "tacho_llamacpp")
    config = llamacpp_config(tmp_path, entrypoint=limited, max_model_len=8192)
    with running(config, tmp_path) as runtime:
        assert runtime.ended() == 1
    assert runtime.failure().failure_class == "HostOutOfMemory", runtime.failure()
