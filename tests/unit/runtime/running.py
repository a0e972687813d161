"""The runtime as a real child process, for tests that look at it from outside."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from tacho_contract import codec
from tacho_contract.failure import Failure
from tacho_contract.launch import CustomEngine, LiveConfig, ProbeSettings, RuntimeConfig
from tests.launching import changed, runtime_config
from tools.cluster.ports import free_port

FAKE_CHILD = Path(__file__).with_name("fake_child.py")
PATIENCE_SECONDS = 100.0
"""For a machine that is busy with other things; nothing waits this long where all is well."""

DISABLED = LiveConfig(measure_key="m", probe=ProbeSettings(policy="Disabled"))


def custom_config(folder: Path, *flags: str, **changes: Any) -> RuntimeConfig:
    """A configuration whose engine is the fake child with these flags."""
    command = (sys.executable, str(FAKE_CHILD), "--port", "$(TACHO_PORT)", *flags)
    config = runtime_config(
        revision="demo-1",
        plan_key="plan",
        engine="custom",
        custom=CustomEngine(command=command),
        model_path=str(folder),
        served_name="demo",
        max_model_len=1024,
        concurrency=2,
        engine_port=free_port(),
        runtime_port=free_port(),
        bind_host="127.0.0.1",
        state_dir=str(folder / "state"),
        live_file=str(folder / "live.json"),
        termination_log=str(folder / "termination"),
        drain_seconds=20,
    )
    return changed(config, **changes)


class Running:
    """A started runtime."""

    def __init__(
        self,
        config: RuntimeConfig,
        process: subprocess.Popen[bytes],
        log: Path,
        patience_seconds: float = PATIENCE_SECONDS,
    ) -> None:
        self.config, self.process, self._log = config, process, log
        self._patience_seconds = patience_seconds

    def get(self, path: str) -> tuple[int, str]:
        """(status, body); status 0 while nothing listens."""
        url = f"http://127.0.0.1:{self.config.runtime_port}{path}"
        try:
            with urllib.request.urlopen(url, timeout=10) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read().decode()
        except (urllib.error.URLError, ConnectionError):
            return 0, ""

    def report(self) -> dict[str, Any]:
        status, body = self.get("/report")
        return json.loads(body) if status == 200 else {}

    def until(self, holds: Callable[[], bool], what: str) -> None:
        end = time.monotonic() + self._patience_seconds
        while not holds():
            assert time.monotonic() < end, f"{what} never came; log:\n{self.log()}"
            assert self.process.poll() is None, f"ended before {what}; log:\n{self.log()}"
            time.sleep(0.05)

    def until_ready(self) -> None:
        self.until(lambda: self.get("/readyz")[0] == 200, "readiness")

    def stop(self, number: int = signal.SIGTERM) -> int:
        self.process.send_signal(number)
        return self.ended()

    def ended(self) -> int:
        return self.process.wait(self._patience_seconds)

    def failure(self) -> Failure:
        return codec.loads(Failure, Path(self.config.paths.termination_log).read_bytes())

    def log(self) -> str:
        return self._log.read_text(errors="replace")


@contextlib.contextmanager
def running(
    config: RuntimeConfig,
    folder: Path,
    *,
    live: LiveConfig | None = DISABLED,
    adopt_orphans: bool = False,
    stop_seconds: float | None = None,
    program: tuple[str, ...] = (sys.executable, "-m", "tacho_runtime"),
    patience_seconds: float = PATIENCE_SECONDS,
) -> Iterator[Running]:
    """Starts the runtime and kills it at the end if it still runs. ``live=None`` writes no live.json;
    ``stop_seconds`` stands in for the time between SIGTERM and SIGKILL, ``program`` for the runtime,
    ``patience_seconds`` for what is waited."""
    if live is not None:
        Path(config.paths.live_file).write_text(codec.dumps(live))
    log = folder / "log"
    command = [*program]
    if stop_seconds is not None:
        patched = (
            "import sys; from tacho_runtime import __main__; from tacho_runtime.supervisor import supervise; "
            f"supervise.STOP_SECONDS = {stop_seconds}; sys.exit(__main__.main())"
        )
        command[1:3] = ["-c", patched]
    if adopt_orphans:
        # What PID 1 of a container is by its number, a "child subreaper" is by its own wish.
        adopt = "import ctypes, os, sys; ctypes.CDLL(None).prctl(36, 1); os.execv(sys.argv[1], sys.argv[1:])"
        command = [sys.executable, "-c", adopt, *command]
    environment = {**os.environ, "TACHO_RUNTIME_CONFIG": codec.dumps(config), "TACHO_OTHER": "kept"}
    with log.open("ab") as output:
        process = subprocess.Popen(command, stdout=output, stderr=output, env=environment)
    try:
        yield Running(config, process, log, patience_seconds)
    finally:
        if process.poll() is None:
            process.terminate()
            try:
                process.wait(PATIENCE_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
