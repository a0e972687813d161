"""Rows of starts.json, read from what starts left: vLLM's log, or the status of a measured Transformers pod.

python -m benchmarks.planner.start_row SOURCE NAME CASE MODEL METHOD GPU

Prints a row for each start in the log.
"""

from __future__ import annotations

import ast
import json
import re
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import yaml

from tacho_contract.units import GIB
from tacho_engines.base import EngineStartup
from tacho_engines.vllm.log_patterns import STARTUP

ROOT = Path(__file__).resolve().parents[2]
GIVEN = re.compile(r"non-default args: (\{.*\})")
OBJECT = re.compile(r"<[^<>]*>")
"""A value that Python does not read back, as in --compilation-config."""
VERSION = re.compile(r"Initializing a V1 LLM engine \(v([\d.]+)\)")
TOTAL = re.compile(r"Free memory on device \S* ?\([\d.]+/([\d.]+) GiB\)")
REST = re.compile(r"([\d.]+) GiB for peak activation, ([\d.]+) GiB for non-torch memory")
HELD = re.compile(
    r"([\d.]+) GiB for consumed memory \(weights \+ non-torch\), ([\d.]+) GiB for peak activation"
)
"""From 0.27 on; the peak holds the estimate of the graphs, which the budget takes."""
LENGTH = re.compile(r"Using max model len (\d+)")
ESTIMATED = re.compile(r"CUDA graph pool memory: [\d.]+ GiB \(actual\), ([\d.]+) GiB \(estimated\)")
START = re.compile(r"^(?=.*non-default args)", re.MULTILINE)
ELSEWHERE = {"model_tag", "model", "max_model_len", "quantization", "load_format"}
"""Arguments that other fields of the row hold, or that take no memory: random weights have the same size."""
OUTSIDE = {"host", "port", "served_model_name", "jit_monitor_verbose"}
"""Arguments of the HTTP server and the log."""


def of_vllm(log: str) -> Iterator[dict[str, Any]]:
    """What vLLM's log tells of each start; figures that it does not tell are left out."""
    return map(_of_start, START.split(log)[1:] or [log])


def _of_start(log: str) -> dict[str, Any]:
    # vLLM sums its memory up when the cache and the graphs are there: the start has all that it needs.
    startup = EngineStartup()
    for line in log.splitlines():
        startup = STARTUP.read(startup, line)
    given, total, rest = GIVEN.search(log), TOTAL.search(log), REST.search(log)
    held, estimated, length = HELD.search(log), ESTIMATED.search(log), LENGTH.search(log)
    arguments = ast.literal_eval(OBJECT.sub("None", given[1])) if given else {}
    figures = {
        "weightsGiB": _gib(startup.weights_bytes),
        "kvGiB": _gib(startup.kv_cache_bytes),
        "kvTokens": startup.kv_cache_tokens,
        "activationGiB": float(rest[1]) if rest else None,
        "nonTorchGiB": float(rest[2]) if rest else None,
        "graphGiB": _gib(startup.graph_bytes),
    }
    if held and estimated and startup.weights_bytes:
        figures |= {
            "activationGiB": round(float(held[2]) - float(estimated[1]), 2),
            "nonTorchGiB": round(float(held[1]) - startup.weights_bytes / GIB, 2),
            "graphGiB": float(estimated[1]),
        }
    return {
        "version": (VERSION.search(log) or ["", ""])[1],
        "totalGiB": float(total[1]) if total else None,
        "args": [
            f"--{name.replace('_', '-')}={value}"
            for name, value in arguments.items()
            if name not in ELSEWHERE | OUTSIDE
        ],
        "maxModelLen": arguments.get("max_model_len") or (int(length[1]) if length else None),
        "started": (rest or held) is not None,
        "actual": {name: value for name, value in figures.items() if value is not None},
    }


def of_transformers(text: str) -> dict[str, Any]:
    """What a resource's status tells of its measured pod."""
    resource = yaml.safe_load(text)
    context, found = resource["spec"]["context"], resource["status"]["measurements"][0]
    memory, workload = found["memory"], found["workload"]
    return {
        "version": found["environment"]["engineVersion"],
        "maxModelLen": context["maxModelLen"],
        "concurrency": context["concurrency"],
        "streams": max(level["concurrency"] for level in found["curve"]),
        "tokensOfAStream": workload["inputTokens"] + workload["outputTokens"],
        "actual": {
            "kvTokens": memory["actualKVCacheTokens"],
            "weightsGiB": _gib(memory["actualWeightsBytes"], 4),
            "peakGiB": _gib(memory["peakBytes"], 3),
        },
    }


def _gib(size_bytes: int | None, digits: int = 2) -> float | None:
    return None if size_bytes is None else round(size_bytes / GIB, digits)


def main(arguments: Sequence[str]) -> int:
    source, name, case, model, method, gpu = arguments
    text = (ROOT / source).read_text(encoding="utf-8")
    vllm = source.endswith(".log")
    known = {"source": source, "model": model, "method": method, "gpu": gpu}
    one_gpu = {"gpus": 1, "tensor": 1, "pipeline": 1} if vllm else {}
    rows = [
        {
            "name": name,
            "case": case,
            "engine": "vllm" if vllm else "transformers",
            **known,
            **one_gpu,
            **found,
        }
        for found in (of_vllm(text) if vllm else [of_transformers(text)])
    ]
    print(json.dumps(rows, indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
