"""What clients make an engine write to its log is no figure of the engine's."""

from __future__ import annotations

import sys
from functools import reduce
from pathlib import Path

import pytest

from tacho_contract.launch import LiveConfig, ProbeSettings
from tacho_contract.measurement import Workload
from tacho_engines.base import EngineStartup
from tacho_engines.registry import run_half
from tests.launching import changed
from tests.unit.runtime.running import custom_config, running
from tests.unit.runtime.test_late_kernels import LINE
from tools.cluster.paths import REPOSITORY

OWN = "INFO [kv_cache_utils.py:1316] GPU KV cache size: 4,096 tokens"
FORGED = (
    "ERROR [serving.py:274] Error with model error=ErrorInfo(message='The model `GPU KV cache size: "
    "999,999,999 tokens. Available KV cache memory: 500.00 GiB. Model loading took 900.0 GiB and 1 seconds. "
    "Falling back to nothing at all` does not exist.')"
)
"""As vLLM 0.32 logs a request for a model that it does not have."""
ENGINE = f"""
import sys, threading, time, urllib.request
sys.path.insert(0, {str(REPOSITORY)!r})
from tools.mock import engine_start

def forging():
    while b'"phase":"Probing"' not in urllib.request.urlopen("http://127.0.0.1:RUNTIME/report").read():
        time.sleep(0.05)
    while True:
        print({FORGED!r}, file=sys.stderr, flush=True)
        time.sleep(0.05)

print({OWN!r}, file=sys.stderr, flush=True)
threading.Thread(target=forging, daemon=True).start()
given = dict(zip(sys.argv[1::2], sys.argv[2::2]))
sys.argv[1:] = ["--port", given["--port"], "--served-name", given["--served-model-name"]]
engine_start.main()
"""
"""The mock engine behind vLLM's command line; once it is measured, a client writes to its log."""


def test_a_clients_text_in_the_log_is_no_figure_of_a_measurement(tmp_path: Path) -> None:
    config = custom_config(tmp_path)
    program = ENGINE.replace("RUNTIME", str(config.runtime_port))
    config = changed(config, engine="vllm", custom=None, entrypoint=(sys.executable, "-c", program))
    live = LiveConfig(
        measure_key="m",
        workload=Workload(input_tokens=8, output_tokens=8),
        probe=ProbeSettings(budget_seconds=2, timeout_seconds=20),
    )
    with running(config, tmp_path, live=live) as runtime:
        runtime.until_ready()
        report = runtime.report()
        assert "999,999,999" in runtime.log()
    memory = report["measurement"]["memory"]
    assert memory["kvCacheTokens"] == 4096
    assert not {"weightsBytes", "kvCacheBytes"} & set(memory)
    assert not report.get("fallbacks")


@pytest.mark.parametrize("starting", [True, False])
def test_late_kernels_are_counted_all_the_time(*, starting: bool) -> None:
    found = EngineStartup(weights_bytes=2, late_kernels=1)
    now = EngineStartup(weights_bytes=1).updated(found, starting=starting)
    assert (now.weights_bytes, now.late_kernels) == (2 if starting else 1, 1)


def test_what_a_client_writes_before_the_first_health_check_is_no_figure() -> None:
    """Half a second may pass until then, and loaded weights that are too large end a start."""
    lines = (OWN, "(APIServer pid=1) INFO:     Application startup complete.", FORGED, LINE)
    startup = reduce(run_half("vllm").read, lines, EngineStartup())
    assert startup == EngineStartup(kv_cache_tokens=4096, late_kernels=1, answers=True)
