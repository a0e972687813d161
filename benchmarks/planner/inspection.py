"""What inspection of the largest published checkpoints takes: peak memory and CPU time of the pod's process.

``python -m benchmarks.planner.inspection [FOLDER]`` writes them (headers over holes; 600 MB below FOLDER),
reads each as a folder and from a hub on this machine, and fails above LIMIT_MIB, and
above LIMIT_SECONDS for the published ones.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from multiprocessing import Process
from pathlib import Path
from urllib.request import urlopen

from tacho_contract import codec
from tacho_contract.model import ENV_INSPECT_CONFIG, InspectConfig, InspectResult
from tacho_contract.uri import FileUri, HubUri
from tools.mock.checkpoints import Tensor, write_safetensors

LIMIT_MIB, LIMIT_SECONDS = 400, 30
SHAPES = {
    "124,000 tensors in one file": (40, 256, 1),
    "369,000 in 60 files": (60, 512, 60),
    "four times that": (240, 512, 240),
    "a header of 98 MB": (111, 512, 1),
}
"""Layers, experts and files, as of NVFP4 checkpoints with each expert apart and four tensors a matrix."""
HIDDEN, WIDTH = 4096, 1024


def tensors(layers: range, experts: int) -> list[Tensor]:
    """The experts' tensors of some layers."""
    found: list[Tensor] = []
    for layer in layers:
        for expert in range(experts):
            for part in ("gate", "up", "down"):
                name = f"model.language_model.layers.{layer}.mlp.experts.{expert}.{part}_proj"
                size = HIDDEN * WIDTH // 2
                found += [
                    (f"{name}.weight", "U8", (HIDDEN, WIDTH // 2), size),
                    (f"{name}.weight_scale", "F8_E4M3", (HIDDEN, WIDTH // 16), HIDDEN * WIDTH // 16),
                    (f"{name}.weight_scale_2", "F32", (1,), 4),
                    (f"{name}.input_scale", "F32", (1,), 4),
                ]
    return found


def write(folder: Path, layers: int, experts: int, files: int) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    each, weight_map = layers // files, {}
    for number in range(files):
        name = f"model-{number + 1:05}-of-{files:05}.safetensors" if files > 1 else "model.safetensors"
        rows = tensors(range(number * each, (number + 1) * each), experts)
        write_safetensors(folder / name, rows)
        weight_map |= dict.fromkeys((row[0] for row in rows), name)
    if files > 1:
        (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weight_map}, indent=2))
    config = {
        "model_type": "qwen3_moe",
        "hidden_size": HIDDEN,
        "num_hidden_layers": layers,
        "num_experts": experts,
    }
    (folder / "config.json").write_text(json.dumps(config))


def inspect(config: InspectConfig) -> tuple[int, float, float]:
    """Number of tensors, peak MiB and CPU seconds of a whole inspect process."""
    with tempfile.NamedTemporaryFile("r") as answer:
        variables = {ENV_INSPECT_CONFIG: codec.dumps(config), "TACHO_TERMINATION_LOG": answer.name}
        command = [sys.executable, "-m", "tacho_runtime.hub.inspect"]
        child = subprocess.Popen(command, env={**os.environ, **variables, "NO_PROXY": "*"})
        _, _, used = os.wait4(child.pid, 0)
        facts = codec.unpack(InspectResult, answer.read()).facts
    assert facts is not None
    return sum(item.tensors for item in facts.tensors), used.ru_maxrss / 1024, used.ru_utime + used.ru_stime


def main(root: Path) -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    serve = [
        sys.executable,
        "-m",
        "tools.mock.hub",
        "--root",
        str(root),
        "--host",
        "127.0.0.1",
        "--port",
        port,
    ]
    hub, endpoint, failed = subprocess.Popen(serve), f"http://127.0.0.1:{port}", False
    try:
        for number, (what, shape) in enumerate(SHAPES.items()):
            folder = root / "published" / f"m{number}"
            writer = Process(target=write, args=(folder, *shape))  # its memory would count as the child's
            writer.start()
            writer.join()
            for attempt in range(50):
                try:
                    urlopen(f"{endpoint}/_stats").close()
                    break
                except OSError:
                    time.sleep(0.1 * attempt)
            on_hub = InspectConfig(uri=HubUri(f"published/m{number}"), endpoint=endpoint)
            for place, config in (("folder", InspectConfig(uri=FileUri(str(folder)))), ("hub", on_hub)):
                count, mib, seconds = inspect(config)
                print(f"{what:30} {place:8} {count:9,} tensors {mib:6.0f} MiB {seconds:6.1f} s", flush=True)
                failed |= mib > LIMIT_MIB or (number < 2 and seconds > LIMIT_SECONDS)
    finally:
        hub.terminate()
        hub.wait()
    return int(failed)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory(dir=sys.argv[1] if len(sys.argv) > 1 else None) as made:
        sys.exit(main(Path(made)))
