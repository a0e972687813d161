"""What the kept cache is worth: vLLM started cold and then warm, by the runtime's own times of its start.

    python -m benchmarks.startup.run [--starts 2]

Starts tacho's runtime with vLLM and SmolLM2-135M-Instruct on the CPU, compiling (no --enforce-eager), each
time with the same cache folder, which is empty at first. Writes results.json beside this file: seconds of
each start and the ratio of the warm ones to the cold one, within one run on one machine. It takes minutes,
and the machine must have nothing else to do: compiling is what is measured.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

from tacho_contract import codec
from tacho_contract.launch import (
    ENV_RUNTIME_CONFIG,
    CustomEngine,
    LiveConfig,
    PlannedModel,
    ProbeSettings,
    RuntimeConfig,
    RuntimePaths,
)
from tools import engines

ENGINE_PORT, RUNTIME_PORT = 8240, 8241
PATIENCE_SECONDS = 1800.0
RESULTS = Path(__file__).with_name("results.json")


def config(python: Path, model: Path, folder: Path, cache: Path) -> RuntimeConfig:
    """vLLM as a command of the user's: the same cache as in a pod."""
    serve = (str(python), "-m", "vllm.entrypoints.openai.api_server", "--model", "$(TACHO_MODEL_PATH)")
    where = ("--port", "$(TACHO_PORT)", "--host", "127.0.0.1", "--served-model-name", "$(TACHO_SERVED_NAME)")
    return RuntimeConfig(
        revision="startup",
        plan_key="startup",
        engine="custom",
        custom=CustomEngine(command=(*serve, *where, "--max-model-len", "512", "--max-num-seqs", "2")),
        image="local",
        model=PlannedModel(path=str(model)),
        served_name="smollm2",
        max_model_len=512,
        concurrency=2,
        engine_port=ENGINE_PORT,
        runtime_port=RUNTIME_PORT,
        bind_host="127.0.0.1",
        paths=RuntimePaths(
            cache_dir=str(cache),
            state_dir=str(folder / "state"),
            live_file=str(folder / "live.json"),
            termination_log=str(folder / "termination"),
        ),
        drain_seconds=1,
    )


def start(config: RuntimeConfig, folder: Path) -> dict[str, Any]:
    """One start, from the process to readiness. The runtime's own phases."""
    folder.mkdir()
    live = LiveConfig(measure_key="none", probe=ProbeSettings(policy="Disabled"))
    Path(config.paths.live_file).write_text(codec.dumps(live))
    command = [sys.executable, "-m", "tacho_runtime"]
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "VLLM_CPU_KVCACHE_SPACE": "1"}
    environment[ENV_RUNTIME_CONFIG] = codec.dumps(config)
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, env=environment)
        try:
            report = _until_ready(process)
        finally:
            process.terminate()
            process.wait(60)
    text = (folder / "log").read_text(errors="replace")
    warm = "as an earlier start left it" in text
    return {"warm": warm, "loadavg": os.getloadavg()[0], **report["startup"]}


def _until_ready(process: subprocess.Popen[bytes]) -> dict[str, Any]:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise SystemExit(f"the runtime ended with {process.returncode}")
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{RUNTIME_PORT}/report", timeout=10) as answer:
                report: dict[str, Any] = json.load(answer)
            if report["ready"]:
                return report
        except (urllib.error.URLError, OSError):
            pass
        time.sleep(0.5)
    raise SystemExit("the engine was not ready in time")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--starts", type=int, default=2, help="one cold start, then warm ones")
    starts = parser.parse_args().starts
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # no engine is left behind
    python, model = engines.environment(), engines.safetensors_model()
    with tempfile.TemporaryDirectory() as scratch:
        place = Path(scratch)
        rows = []
        for number in range(starts):
            folder = place / str(number)
            rows.append(start(config(python, model, folder, place / "cache"), folder))
            print(json.dumps(rows[-1]), flush=True)
        kept = sum(path.stat().st_size for path in (place / "cache").rglob("*") if path.is_file())
    ratio = statistics.median(row["load"] for row in rows[1:]) / rows[0]["load"]
    found = {"engine": "vllm, CPU", "starts": rows, "cacheBytes": kept, "warmToCold": round(ratio, 3)}
    RESULTS.write_text(json.dumps(found, indent=2) + "\n")
    print(f"warm to cold: {ratio:.2f}; the cache holds {kept / 1e6:.1f} MB")


if __name__ == "__main__":
    main()
