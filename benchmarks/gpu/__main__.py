"""Engines and quantizations through ``tacho run``: each cell is planned, started, measured and stopped.

    python -m benchmarks.gpu --matrix FILE --resume DIR [--budget 8m] [--pvc CLAIM=FOLDER] [--only NAME ...]
    python -m benchmarks.gpu --matrix FILE --resume DIR --rehearse NVIDIA-H200

FILE holds LLMDeployments, one a cell; a folder of recorded cells is one too, and is run again.
DIR/NAME.yaml is the resource with its status as a cluster would show it, DIR/NAME.log what engine and
runtime printed, DIR/summary.json a line a cell with the machine and the versions. A cell that fails is
recorded with its words, and the next one goes on. With the budget it ends cleanly: no cell begins that
has less than a minute, and one that is cut off is not done. Ctrl-C and SIGTERM end it too, with
everything that the running cell started. Run again with the same DIR, it goes on with what is not done; a
cell whose manifest has changed is run anew. A cell of more GPUs than the machine has is left.

--rehearse needs no GPU: it plans each cell on that product, from models without weights in DIR/models.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import io
import json
import platform
import re
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

from benchmarks.gpu import cell as running, models

CELL_SECONDS = 420
"""A cell that takes longer is stopped and recorded as such."""
CUT_OFF = -1
MANIFESTS = "cells.txt"
"""The manifests as they run, in DIR; no resource with a status, as DIR/*.yaml are."""
INTERRUPTED = 130
LEAST_SECONDS = 60
"""A cell that has less does not begin."""
UNITS = {"s": 1, "m": 60, "h": 3600}
EMPTY_BYTES = 2 * 2**30
EMPTY_WITHIN_SECONDS = 30


def seconds(text: str) -> float:
    """``8m``, ``90s`` or ``1h`` as seconds; a bare number is seconds. Raises ArgumentTypeError."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?)([smh]?)", text)
    if not found:
        raise argparse.ArgumentTypeError(f"{text!r} is no duration: write 90s, 8m or 1h")
    return float(found[1]) * UNITS[found[2] or "s"]


def digest(document: dict[str, Any]) -> str:
    """Names a cell's manifest."""
    return hashlib.sha256(json.dumps(document, sort_keys=True).encode()).hexdigest()[:16]


def to_run(
    documents: list[dict[str, Any]], before: list[dict[str, Any]], only: list[str], gpus: int | None = None
) -> list[dict[str, Any]]:
    """The cells that are not done: absent before, cut off, or with another manifest then. One that the engine
    or the plan refused is done: that is its result. ``gpus``: of the machine, None where that is unknown."""
    done = {cell["cell"]: cell["manifest"] for cell in before if not cell["cut_off"]}
    return [
        document
        for document in documents
        if (not only or document["metadata"]["name"] in only)
        and done.get(document["metadata"]["name"]) != digest(document)
        and (gpus is None or document["spec"].get("gpu", {}).get("count", 1) <= gpus)
    ]


def _of_nvml(query: Callable[[Any], int]) -> int | None:
    """What NVML answers; None where there is no GPU."""
    with contextlib.suppress(Exception):
        import pynvml

        pynvml.nvmlInit()
        try:
            return int(query(pynvml))
        finally:
            pynvml.nvmlShutdown()
    return None


def gpu_used_bytes() -> int | None:
    """Memory in use on the first GPU; None where there is none."""
    return _of_nvml(lambda nvml: nvml.nvmlDeviceGetMemoryInfo(nvml.nvmlDeviceGetHandleByIndex(0)).used)


def gpu_count() -> int | None:
    """None where there is no driver."""
    return _of_nvml(lambda nvml: nvml.nvmlDeviceGetCount())


def wait_until_empty() -> int | None:
    """What is still in use on the GPU once the last engine has let go of it."""
    deadline = time.monotonic() + EMPTY_WITHIN_SECONDS
    while (used := gpu_used_bytes()) is not None and used > EMPTY_BYTES and time.monotonic() < deadline:
        time.sleep(0.5)
    return used


def run_cell(name: str, arguments: argparse.Namespace, limit_seconds: float) -> dict[str, Any]:
    """One cell from its plan to its stop."""
    out = arguments.resume
    command = [sys.executable, "-m", "tacho_cli.main", "run", "-f", str(out / MANIFESTS)]
    command += ["--name", name, "--once", "-o", "yaml", "--log", str(out / f"{name}.log")]
    for claim in arguments.pvc:
        command += ["--pvc", claim]
    began = time.monotonic()
    ended = running.run(command, limit_seconds)
    shown, stderr = ended.shown, ended.stderr
    (out / f"{name}.yaml").write_text(shown)
    (out / f"{name}.said").write_text(stderr)
    status = (yaml.safe_load(shown) or {}).get("status", {}) if shown else {}
    return {
        "cell": name,
        "exit_code": CUT_OFF if ended.code is None else ended.code,
        "cut_off": ended.code is None,
        "wall_seconds": round(time.monotonic() - began, 1),
        "last_words": stderr.strip().splitlines()[-3:],
        "startup": status.get("startup"),
        "predicted": (status.get("plan") or {}).get("predicted"),
        "measurements": status.get("measurements"),
    }


def rehearse(documents: list[dict[str, Any]], resume: Path, product: str) -> list[str]:
    """Plans each cell on a product of the catalog; the names of those that are planned otherwise than they
    end. A cell of a GGUF file, which has no headers apart from its weights, is not planned."""
    from tacho_cli.main import main as tacho
    from tacho_cli.problems import ExitCode

    place = resume / "models"
    made = {
        name
        for name in models.loaded(documents)
        if (place / name).exists() or models.make(name, place / name)
    }
    surprises = []
    for document in documents:
        name, spec = document["metadata"]["name"], document["spec"]
        if spec["model"]["uri"].removeprefix(models.CLAIM) not in made:
            print(f"{name}: not planned, benchmarks.llamacpp.random_gguf makes its model", flush=True)
            continue
        arguments = ["plan", "-f", str(resume / MANIFESTS), "--name", name, "--pvc", f"models={place}"]
        with contextlib.redirect_stdout(io.StringIO()) as shown, contextlib.redirect_stderr(shown):
            code = tacho([*arguments, "--gpu", f"{product}:{spec['gpu']['count']}"])
        ends = (document["metadata"].get("annotations") or {}).get(f"{models.NOTES}ends", "")
        if code != (ExitCode.NOT_MET if "DoesNotFit" in ends else 0):
            surprises.append(name)
        print(" ".join(shown.getvalue().split())[:160], flush=True)
    print(f"{len(documents)} cells, planned otherwise than expected: {surprises}", flush=True)
    return surprises


def main() -> int:
    parser = argparse.ArgumentParser(prog="benchmarks.gpu", description=__doc__)
    parser.add_argument("--matrix", type=Path, required=True)
    parser.add_argument("--resume", type=Path, required=True, metavar="DIR")
    parser.add_argument("--budget", type=seconds, default=3600, help="e.g. 8m")
    parser.add_argument("--pvc", action="append", default=[], metavar="CLAIM=FOLDER")
    parser.add_argument("--only", nargs="*", default=[])
    parser.add_argument("--rehearse", metavar="PRODUCT", help="plan each cell on this GPU and run none")
    arguments = parser.parse_args()
    arguments.resume.mkdir(parents=True, exist_ok=True)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    summary = arguments.resume / "summary.json"
    cells: list[dict[str, Any]] = json.loads(summary.read_text())["cells"] if summary.exists() else []
    began = time.monotonic()
    documents, gpus = models.cells(arguments.matrix), gpu_count()
    (arguments.resume / MANIFESTS).write_text(yaml.safe_dump_all(documents, sort_keys=False))
    if arguments.rehearse:
        return int(
            bool(rehearse(to_run(documents, [], arguments.only), arguments.resume, arguments.rehearse))
        )
    for document in to_run(documents, cells, arguments.only, gpus):
        name = document["metadata"]["name"]
        left = arguments.budget - (time.monotonic() - began)
        if left < LEAST_SECONDS:
            break
        used = wait_until_empty()
        told = {"gpu_used_bytes_before": used, "manifest": digest(document)}
        try:
            told |= run_cell(name, arguments, min(left, CELL_SECONDS))
        except running.Interrupted as interrupted:
            (arguments.resume / f"{name}.said").write_text(str(interrupted))
            print(f"{name} was interrupted and is not done", flush=True)
            return INTERRUPTED
        cells = [*(cell for cell in cells if cell["cell"] != name), told]
        shown = ("cell", "exit_code", "wall_seconds", "last_words")
        print(json.dumps({key: told[key] for key in shown}), flush=True)
        machine = {"python": platform.python_version(), "kernel": platform.release(), "command": sys.argv[1:]}
        summary.write_text(json.dumps({"machine": machine, "cells": cells}, indent=1))
    print(f"{len(to_run(documents, cells, arguments.only, gpus))} cells are not done", flush=True)
    return 0 if cells and all(cell["exit_code"] == 0 for cell in cells) else 1


if __name__ == "__main__":
    sys.exit(main())
