"""Kernels that an engine names in its log while it is measured are told in the measurement."""

from __future__ import annotations

import sys
from pathlib import Path

from tacho_contract.launch import LiveConfig, ProbeSettings
from tacho_contract.measurement import Workload
from tests.launching import changed
from tests.unit.runtime.running import custom_config, running
from tools.cluster.paths import REPOSITORY

LINE = (
    "WARNING 11-23 11:19:19 [jit_monitor.py:135] Triton kernel JIT compilation during inference: "
    "_topk_forward. This causes a latency spike; consider extending warmup to cover this shape/config."
)
"""As vLLM wrote it on an H200."""
ENGINE = f"""
import sys, threading, time
sys.path.insert(0, {str(REPOSITORY)!r})
from tools.mock import engine_start

def compiling():
    while True:
        print({LINE!r}, file=sys.stderr, flush=True)
        time.sleep(0.1)

threading.Thread(target=compiling, daemon=True).start()
given = dict(zip(sys.argv[1::2], sys.argv[2::2]))
sys.argv[1:] = ["--port", given["--port"], "--served-name", given["--served-model-name"]]
engine_start.main()
"""
"""The mock engine behind vLLM's command line; a kernel is compiled ten times a second."""


def test_a_measurement_says_which_kernels_its_engine_compiled(tmp_path: Path) -> None:
    config = changed(
        custom_config(tmp_path), engine="vllm", custom=None, entrypoint=(sys.executable, "-c", ENGINE)
    )
    live = LiveConfig(
        measure_key="m",
        workload=Workload(input_tokens=8, output_tokens=8),
        probe=ProbeSettings(budget_seconds=2, timeout_seconds=20),
    )
    with running(config, tmp_path, live=live) as runtime:
        runtime.until_ready()
        measurement = runtime.report()["measurement"]
    assert "the engine compiled" in measurement["message"], measurement
