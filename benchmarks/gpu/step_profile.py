"""What each step of vLLM launched and computed, from a trace of its profiler.

    python -m benchmarks.gpu.step_profile TRACE.json.gz

TRACE is what vLLM writes with ``--profiler-config '{"profiler": "torch", "torch_profiler_dir": DIR, ...}'``.
Prints a JSON list: prompts and streams of each step, milliseconds from its first kernel to its last and of
those that computed, milliseconds of the host, and its launches of kernels and graphs.
"""

from __future__ import annotations

import gzip
import json
import re
import sys
from bisect import bisect_left
from collections.abc import Sequence
from typing import Any

STEP = re.compile(r"execute_context_(\d+)\(\d+\)_generation_(\d+)\(")
COMPUTED = ("kernel", "gpu_memcpy", "gpu_memset")
LAUNCHED = ("cuda_runtime", "cuda_driver")


def steps(events: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Of a trace's events, one row a step."""
    computed = sorted((e["ts"], e["ts"] + e["dur"]) for e in events if e.get("cat") in COMPUTED)
    launches = sorted(e["ts"] for e in events if e.get("cat") in LAUNCHED and "Launch" in e["name"])
    on_gpu, on_host = (
        sorted((e for e in events if e.get("cat") == kind and STEP.match(e["name"])), key=lambda e: e["ts"])
        for kind in ("gpu_user_annotation", "user_annotation")
    )
    return [_row(gpu, host, computed, launches) for gpu, host in zip(on_gpu, on_host, strict=True)]


def _row(
    gpu: dict[str, Any], host: dict[str, Any], computed: list[tuple[float, float]], launches: list[float]
) -> dict[str, Any]:
    found = STEP.match(gpu["name"])
    assert found is not None
    assert gpu["name"] == host["name"]
    begins, ends = host["ts"], host["ts"] + host["dur"]
    return {
        "prompts": int(found[1]),
        "streams": int(found[2]),
        "gpu_ms": round(gpu["dur"] / 1e3, 3),
        "computing_ms": round(_computing(computed, gpu["ts"], gpu["ts"] + gpu["dur"]) / 1e3, 3),
        "host_ms": round(host["dur"] / 1e3, 3),
        "launches": bisect_left(launches, ends) - bisect_left(launches, begins),
    }


def _computing(computed: list[tuple[float, float]], begins: float, ends: float) -> float:
    """Time between two moments in which at least one kernel ran."""
    total, until = 0.0, begins
    for start, end in computed[bisect_left(computed, (begins, 0.0)) :]:
        if start >= ends:
            break
        total += max(0.0, min(end, ends) - max(start, until))
        until = max(until, end)
    return total


def main(arguments: Sequence[str]) -> int:
    with gzip.open(arguments[0], "rt", encoding="utf-8") as file:
        events = json.load(file)["traceEvents"]
    print("[" + ",\n ".join(json.dumps(row) for row in steps(events)) + "]")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
