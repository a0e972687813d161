"""What single switches of vLLM do to a load: one server for each set of them, one after the other.

    python -m benchmarks.gpu.flags FILE OUT.json --models FOLDER [--budget 8m] [--engine-python PYTHON]

FILE is a list of {name, model, arguments, streams: [...], rounds, input, output, range_ratio}. Each server is
started, loaded in closed loops by ``vllm bench serve`` as `benchmarks.gpu.beside` does, and stopped; its log
is OUT.NAME.log. What is done is in OUT.json: called again it goes on. A server that does not start is told.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path
from typing import Any

import yaml

from benchmarks.gpu import beside
from benchmarks.gpu.__main__ import seconds, wait_until_empty

URL = "http://127.0.0.1:8001"
LEAST_SECONDS = 90
"""A set that has less does not begin."""


def options_of(variant: dict[str, Any], arguments: argparse.Namespace) -> argparse.Namespace:
    """The set as `benchmarks.gpu.beside` takes it."""
    return argparse.Namespace(
        url=URL,
        tokenizer=str(arguments.models / variant["model"]),
        out=arguments.out.with_suffix(f".{variant['name']}.json"),
        model="m",
        input=variant.get("input", 512),
        output=variant.get("output", 200),
        rounds=variant.get("rounds", 3),
        range_ratio=variant.get("range_ratio", 0),
        engine_python=arguments.engine_python,
        serve=[str(word) for word in variant.get("arguments", [])],
    )


def measured(variant: dict[str, Any], arguments: argparse.Namespace) -> dict[str, Any]:
    """One server's start and its levels; ``levels`` is missing where it did not start."""
    told: dict[str, Any] = {**variant, "gpu_used_bytes_before": wait_until_empty()}
    settings = options_of(variant, arguments)
    began = time.monotonic()
    try:
        with beside.server(settings):
            told["start_seconds"] = round(time.monotonic() - began, 1)
            told["levels"] = [beside.level(settings, streams) for streams in variant["streams"]]
    except SystemExit as ended:
        told["said"] = str(ended)
    told["wall_seconds"] = round(time.monotonic() - began, 1)
    return told


def main() -> int:
    parser = argparse.ArgumentParser(prog="benchmarks.gpu.flags", description=__doc__)
    parser.add_argument("file", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--models", type=Path, required=True)
    parser.add_argument("--budget", type=seconds, default=3600.0)
    parser.add_argument("--engine-python", default=sys.executable)
    arguments = parser.parse_args()
    done: list[dict[str, Any]] = json.loads(arguments.out.read_text()) if arguments.out.exists() else []
    began = time.monotonic()
    for variant in yaml.safe_load(arguments.file.read_text()):
        if any(each["name"] == variant["name"] for each in done):
            continue
        if arguments.budget - (time.monotonic() - began) < LEAST_SECONDS:
            break
        told = measured(variant, arguments)
        done.append(told)
        arguments.out.write_text(json.dumps(done, indent=1) + "\n")
        rates = [
            (level["streams"], round((level.get("bench") or {}).get("output_throughput", 0.0)))
            for level in told.get("levels", [])
        ]
        print(f"{variant['name']}: start {told.get('start_seconds')} s, tok/s {rates}", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
