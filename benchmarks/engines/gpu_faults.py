"""What a GPU does to an engine, produced on purpose on a real one: each cell is a start of its own.

    python -m benchmarks.engines.gpu_faults MODEL_DIR OUT [--engine transformers] [--only NAME ...]

MODEL_DIR is a checkpoint with a tokenizer (random_model makes one: shape tiny). Nothing of the product is
changed. While `tacho run` serves, a module beside the engine's packages (gpu_hook) breaks its process, or
another process takes the GPU's memory; a runtime is told a plan for another GPU than there is. OUT/NAME.log
is what engine and runtime printed, OUT/NAME.said what `tacho run` told, OUT/summary.json a line a cell: what
was done, what clients got, how it ended and as what.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from benchmarks.gpu.cell import heed_interrupts
from tacho_contract.codec import dumps
from tacho_contract.launch import (
    ENV_RUNTIME_CONFIG,
    LiveConfig,
    PlannedGpus,
    PlannedModel,
    ProbeSettings,
    RuntimeConfig,
    RuntimePaths,
)
from tacho_engines.registry import engine_profile
from tools.cluster.ports import free_port

HOOKS = Path(__file__).with_name("gpu_hook")
READY_SECONDS = 120
ENDED_SECONDS = 40
LONG_WORDS = 1800
TAKE_ALL = """
import sys, time, torch
kept, size = [], 1 << 33
while size >= 1 << 20:
    try:
        kept.append(torch.empty(size, dtype=torch.uint8, device="cuda"))
    except torch.OutOfMemoryError:
        size //= 2
print("taken", flush=True)
time.sleep(600)
"""
"""All that is left of the GPU's memory, down to a megabyte."""


@dataclass(frozen=True)
class Cell:
    name: str
    breaks: str = ""
    """What gpu_hook does in the engine's process: assert, illegal or trap."""
    taken: bool = False
    """Another process takes the rest of the GPU's memory before long prompts come."""
    planned: tuple[tuple[str, Any], ...] = ()
    """Of the plan's GPU what is not so here: fields of the runtime's configuration."""


CELLS = (
    Cell("memory-taken", taken=True),
    Cell("device-assert", breaks="assert"),
    Cell("illegal-address", breaks="illegal"),
    Cell("trap", breaks="trap"),
    Cell("another-product", planned=(("gpu_product", "NVIDIA-L4"),)),
    Cell("newer-capability", planned=(("gpu_least_capability", "12.0"),)),
    Cell("more-gpus", planned=(("gpu_count", 9),)),
)


def manifest(engine: str) -> dict[str, Any]:
    return {
        "apiVersion": "tacho.dev/v1alpha1",
        "kind": "LLMDeployment",
        "metadata": {"name": "broken"},
        "spec": {
            "model": {"uri": "pvc://models/model", "servedName": "m"},
            "quantization": {"method": "none"},
            "engine": {"name": engine},
            "gpu": {"count": 1},
            "context": {"maxModelLen": 4096, "concurrency": 8},
            "probe": {"policy": "Disabled"},
        },
    }


def completion(port: int, prompt_length: int, wait_seconds: float = 30.0) -> str:
    """What a client gets for a prompt of so many words: a status and the answer's beginning."""
    body = json.dumps({"model": "m", "prompt": "one " * prompt_length, "max_tokens": 8}).encode()
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}/v1/completions", body, {"Content-Type": "application/json"}
    )
    try:
        with urllib.request.urlopen(request, timeout=wait_seconds) as answer:
            return f"{answer.status} {answer.read(200).decode()}"
    except urllib.error.HTTPError as error:
        return f"{error.code} {error.read(300).decode()}"
    except OSError as error:
        return f"{type(error).__name__}: {error}"


@contextlib.contextmanager
def memory_taken() -> Iterator[None]:
    with subprocess.Popen([sys.executable, "-c", TAKE_ALL], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            assert process.stdout.readline() == "taken\n"
            yield
        finally:
            process.kill()


def await_serving(process: subprocess.Popen[bytes], log_file: Path) -> bool:
    deadline = time.monotonic() + READY_SECONDS
    while process.poll() is None and time.monotonic() < deadline:
        if "serving m at" in log_file.read_text(errors="replace"):
            return True
        time.sleep(0.2)
    return False


def run_cell(cell: Cell, engine: str, model: Path, out: Path) -> dict[str, Any]:
    log, log_file, trigger = out / f"{cell.name}.log", out / f"{cell.name}.said", out / f"{cell.name}.now"
    claim = out / "models"
    claim.mkdir(exist_ok=True)
    if not (claim / "model").exists():
        (claim / "model").symlink_to(model.resolve())
    file = out / "resource.yaml"
    file.write_text(yaml.safe_dump(manifest(engine)))
    port, report_port = free_port(), free_port()
    command = [sys.executable, "-m", "tacho_cli.main", "run", "-f", str(file)]
    command += ["--pvc", f"models={claim}", "--log", str(log)]
    command += ["--port", str(port), "--report-port", str(report_port)]
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(filter(None, [str(HOOKS), os.environ.get("PYTHONPATH", "")])),
        "GPU_HOOK_BREAKS": cell.breaks,
        "GPU_HOOK_WHEN": str(trigger),
    }
    began = time.monotonic()
    record: dict[str, Any] = {"cell": cell.name, "engine": engine, "answers": []}
    with log_file.open("wb") as output:
        process = subprocess.Popen(
            command, stdout=output, stderr=output, env=environment, preexec_fn=heed_interrupts
        )
        try:
            record["served"] = await_serving(process, log_file)
            record["ready_seconds"] = round(time.monotonic() - began, 1)
            if record["served"]:
                record["answers"].append(completion(port, 4))
                hurt(cell, trigger, port, record)
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(ENDED_SECONDS if cell.breaks else 5)
            record["ended_by_itself"] = process.poll() is not None
        finally:
            if process.poll() is None:
                process.send_signal(signal.SIGINT)
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(30)
            if process.poll() is None:
                process.kill()
    record |= {"exit_code": process.wait(), "seconds": round(time.monotonic() - began, 1)}
    record["last_words"] = log_file.read_text(errors="replace").strip().splitlines()[-4:]
    return record


def planned_cell(cell: Cell, engine: str, model: Path, out: Path) -> dict[str, Any]:
    """The runtime as a pod would start it, with a plan for another GPU: it ends before the engine starts."""
    planned: dict[str, Any] = {"gpu_count": 1, **dict(cell.planned)}
    live = out / "live.json"
    live.write_text(dumps(LiveConfig(measure_key="broken", probe=ProbeSettings(policy="Disabled"))))
    config = RuntimeConfig(
        revision="broken-1",
        plan_key="broken",
        engine=engine,
        entrypoint=(sys.executable, *engine_profile(engine).local.entrypoint),
        model=PlannedModel(path=str(model.resolve())),
        served_name="m",
        max_model_len=4096,
        concurrency=8,
        engine_port=free_port(),
        runtime_port=free_port(),
        bind_host="127.0.0.1",
        paths=RuntimePaths(
            state_dir=str(out / f"{cell.name}.state"),
            live_file=str(live),
            termination_log=str(out / f"{cell.name}.said"),
        ),
        gpus=PlannedGpus(**{name.removeprefix("gpu_"): value for name, value in planned.items()}),
    )
    environment = {**os.environ, ENV_RUNTIME_CONFIG: dumps(config)}
    began = time.monotonic()
    with (out / f"{cell.name}.log").open("wb") as output:
        done = subprocess.run(
            [sys.executable, "-m", "tacho_runtime"],
            stdout=output,
            stderr=output,
            env=environment,
            timeout=READY_SECONDS,
            check=False,
        )
    log_file = Path(config.paths.termination_log)
    return {
        "cell": cell.name,
        "planned": planned,
        "exit_code": done.returncode,
        "seconds": round(time.monotonic() - began, 1),
        "termination_message": log_file.read_text() if log_file.exists() else "",
    }


def hurt(cell: Cell, trigger: Path, port: int, record: dict[str, Any]) -> None:
    """The mischief, then clients that go on asking; what they get is appended to ``record``."""
    if cell.taken:
        with memory_taken():
            record["answers"] += [
                completion(port, prompt_length) for prompt_length in (4, LONG_WORDS, LONG_WORDS, 4)
            ]
        record["answers_once_free"] = [completion(port, LONG_WORDS)]
        return
    trigger.touch()
    deadline = time.monotonic() + 10
    while not trigger.with_suffix(".done").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    record["hook"] = trigger.with_suffix(".done").read_text() if trigger.with_suffix(".done").exists() else ""
    record["answers"] += [completion(port, 4), completion(port, 4)]


def main() -> int:
    parser = argparse.ArgumentParser(prog="benchmarks.engines.gpu_faults", description=__doc__)
    parser.add_argument("model", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--engine", default="transformers", choices=("transformers", "vllm"))
    parser.add_argument("--only", nargs="*", default=[])
    parser.add_argument("--budget", type=float, default=230, help="seconds; no cell begins after them")
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    began, cells = time.monotonic(), []
    for cell in CELLS:
        if arguments.only and cell.name not in arguments.only:
            continue
        if time.monotonic() - began > arguments.budget:
            break
        run = planned_cell if cell.planned else run_cell
        cells.append(run(cell, arguments.engine, arguments.model, arguments.out))
        print(json.dumps(cells[-1]), flush=True)
        (arguments.out / "summary.json").write_text(json.dumps(cells, indent=1))
    return 0 if cells else 1


if __name__ == "__main__":
    sys.exit(main())
