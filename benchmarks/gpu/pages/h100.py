"""docs/results/h100/README.md: the probe beside long loops on H100s, and the memory of these servers."""

from __future__ import annotations

import re

from benchmarks.gpu.pages.probe import BF16, BOTH, FP8, Comparison, page as comparison
from benchmarks.gpu.pages.recorded import RAW, number, row, share
from benchmarks.planner.cases import Case, predict
from tacho_contract.units import GIB

WARM_BF16, WARM_FP8, SMALL, MOE = f"{BF16}-warm", f"{FP8}-warm", "0.6b", "moe-bf16"
H100 = Comparison(
    raw=RAW.parent / "h100/probe",
    truths={
        BF16: (BF16,),
        WARM_BF16: (f"{WARM_BF16}-again",),
        WARM_FP8: (f"{WARM_FP8}-again",),
        SMALL: (SMALL,),
        MOE: (MOE,),
    },
    probes={
        BF16: (f"{BF16}-levels",),
        WARM_BF16: (f"{WARM_BF16}-levels-again",),
        WARM_FP8: (f"{WARM_FP8}-levels-again",),
        SMALL: (f"{SMALL}-levels",),
        MOE: (f"{MOE}-levels",),
    },
    edges={
        (WARM_BF16, "tpot-20ms"): {"tpot": 20.0},
        (WARM_BF16, "ttft-1s-tpot-25ms"): BOTH,
        (WARM_FP8, "tpot-15ms"): {"tpot": 15.0},
        (WARM_FP8, "ttft-1s-tpot-25ms"): BOTH,
    },
    head="""# The probe beside long loops

Written by `python -m benchmarks.gpu.pages` from [raw data](../../../benchmarks/gpu/h100/probe), where the
commands are. Five servers of vLLM 0.26.0 on two H100s of one host, 2026-11-24, two at a time, each with a
GPU and 16 cores: Llama-3.1-8B in 16 bits and in FP8, Qwen3-0.6B with four front ends, and Qwen3-30B-A3B.
`warm` is a second start. 512 tokens in and 200 out. The truth of a level is a closed loop of 45 s or 55 s,
with the stamps of every request. The probe's levels share `--budget 120s`, in windows of 11 to 26 s. Levels
of 4.4 s were tried twice, and the second time was short: the present probe gives it its share, too.

""",
)
MEMORY = """
## Memory

No constant of the planner is from these servers. Planned from the headers / found in the logs:

| server | weights GiB | KV-cache tokens | CUDA graphs GiB |
| --- | --- | --- | --- |
"""
STARTS = {
    BF16: ("llama-3.1-8b", "none"),
    WARM_BF16: ("llama-3.1-8b", "none"),
    WARM_FP8: ("llama-3.1-8b", "fp8"),
    SMALL: ("qwen3-0.6b", "none"),
    MOE: ("qwen3-30b-a3b", "none"),
}
"""Model and method of each server."""
FOUND = {
    "weights": r"Model loading took ([\d.]+) GiB",
    "tokens": r"GPU KV cache size: ([\d,]+) tokens",
    "graphs": r"Graph capturing finished in \d+ secs, took ([\d.]+) GiB",
    "total": r"Free memory on device \([\d.]+/([\d.]+) GiB\)",
}


def found(server: str) -> dict[str, float]:
    """What vLLM's log says of the server's memory; KeyError where it says nothing."""
    log = (H100.raw / f"{server}.log").read_text()
    matches = {name: re.search(pattern, log) for name, pattern in FOUND.items()}
    return {name: float(match[1].replace(",", "")) for name, match in matches.items() if match}


def memory_row(server: str) -> str:
    model, method = STARTS[server]
    told = found(server)
    start = {
        "name": server,
        "engine": "vllm",
        "version": "0.26.0",
        "model": model,
        "method": method,
        "gpu": "NVIDIA-H100-80GB-HBM3",
        "gpus": 1,
        "tensor": 1,
        "pipeline": 1,
        "totalGiB": told["total"],
        "args": [],
        "maxModelLen": 4096,
    }
    planned = predict(Case(start, held_out=True))
    figures = (
        (planned.weights_bytes / GIB, told["weights"], 3),
        (planned.cache.tokens, told["tokens"], 0),
        (planned.graph_bytes / GIB, told["graphs"], 2),
    )
    cells = (f"{number(a, n)} / {number(b, n)} ({share(a, b)})" for a, b, n in figures)
    return row(server, *cells)


def page() -> str:
    return comparison(H100) + MEMORY + "".join(map(memory_row, STARTS))
