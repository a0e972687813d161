"""Engines and quantizations through ``tacho run``: each cell is planned, started, measured and stopped.

    python -m benchmarks.engines.cells FILE OUT_DIR [--pvc CLAIM=DIR] [--only NAME ...] [--budget SECONDS]

FILE holds LLMDeployments, one a cell. OUT_DIR/NAME.yaml is the resource with its status as a cluster would
show it, OUT_DIR/NAME.log what engine and runtime printed, OUT_DIR/summary.json a line a cell with the machine
and the versions. A cell that fails is recorded with its words, and the next one goes on.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import platform
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import yaml

CELL_SECONDS = 300
"""A cell that takes longer is stopped and recorded as such."""
EMPTY_BYTES = 2 * 2**30
EMPTY_WITHIN_SECONDS = 30


def gpu_used_bytes() -> int | None:
    """Memory in use on the first GPU; None where there is none."""
    with contextlib.suppress(Exception):
        import pynvml

        pynvml.nvmlInit()
        try:
            return int(pynvml.nvmlDeviceGetMemoryInfo(pynvml.nvmlDeviceGetHandleByIndex(0)).used)
        finally:
            pynvml.nvmlShutdown()
    return None


def wait_until_empty() -> int | None:
    """What is still in use on the GPU once the last engine has let go of it."""
    deadline = time.monotonic() + EMPTY_WITHIN_SECONDS
    while (used := gpu_used_bytes()) is not None and used > EMPTY_BYTES and time.monotonic() < deadline:
        time.sleep(0.5)
    return used


def run_cell(name: str, arguments: argparse.Namespace, out: Path, limit_seconds: float) -> dict[str, Any]:
    command = [sys.executable, "-m", "tacho_operator.cli.main", "run", "-f", str(arguments.file)]
    command += ["--name", name, "--once", "-o", "yaml", "--log", str(out / f"{name}.log")]
    for claim in arguments.pvc:
        command += ["--pvc", claim]
    began = time.monotonic()
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=limit_seconds, check=False)
        code, shown, said = done.returncode, done.stdout, done.stderr
    except subprocess.TimeoutExpired as late:
        code, shown, said = -1, "", f"stopped after {limit_seconds:.0f} s\n{late.stderr!r}"
    (out / f"{name}.yaml").write_text(shown)
    (out / f"{name}.said").write_text(said)
    status = (yaml.safe_load(shown) or {}).get("status", {}) if shown else {}
    return {
        "cell": name,
        "exit_code": code,
        "wall_seconds": round(time.monotonic() - began, 1),
        "last_words": said.strip().splitlines()[-3:],
        "startup": status.get("startup"),
        "predicted": (status.get("plan") or {}).get("predicted"),
        "measurements": status.get("measurements"),
    }


def main() -> int:
    parser = argparse.ArgumentParser(prog="benchmarks.engines.cells", description=__doc__)
    parser.add_argument("file", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--pvc", action="append", default=[], metavar="CLAIM=DIR")
    parser.add_argument("--only", nargs="*", default=[])
    parser.add_argument("--budget", type=float, default=3600, help="seconds; no cell begins after them")
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    began, cells = time.monotonic(), []
    for document in yaml.safe_load_all(arguments.file.read_text()):
        name = document["metadata"]["name"]
        left = arguments.budget - (time.monotonic() - began)
        if (arguments.only and name not in arguments.only) or left <= 0:
            continue
        used = wait_until_empty()
        cells.append(
            {
                "gpu_used_bytes_before": used,
                **run_cell(name, arguments, arguments.out, min(left, CELL_SECONDS)),
            }
        )
        print(
            json.dumps({key: cells[-1][key] for key in ("cell", "exit_code", "wall_seconds", "last_words")}),
            flush=True,
        )
        machine = {"python": platform.python_version(), "kernel": platform.release(), "command": sys.argv[1:]}
        (arguments.out / "summary.json").write_text(
            json.dumps({"machine": machine, "cells": cells}, indent=1)
        )
    return 0 if cells and all(cell["exit_code"] == 0 for cell in cells) else 1


if __name__ == "__main__":
    sys.exit(main())
