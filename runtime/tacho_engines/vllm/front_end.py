"""How many HTTP front ends: one process of Python streams only so many tokens a second.

Evidence: 0.6B in bf16 on one H200 with 16 virtual cores, vLLM 0.26.0, 512 tokens in and 200 out in closed
loops of 256 (benchmarks/gpu/h200/flags): one front end streamed 14,599 tok/s (16,483 on another host), two
22,810, four 26,567, and a first token took 253 ms instead of 798. An earlier run, whose output was not kept,
had 17,248 and 26,002, and 29,180 answered whole. An 8B (9,839 at 256) has less to stream than one carries.
"""

from __future__ import annotations

from tacho_contract.units import GIB
from tacho_engines.base import Placement, Tuning
from tacho_engines.shared.images import version_key
from tacho_engines.shared.switches import expanded, parse_arguments

SWITCH = "api-server-count"
SINCE = "0.26"
"""First version whose parser is known to have the switch (tests/fixtures/vllm/options-0.26.0.txt)."""
CEILING = 17_000
"""Streamed tokens a second of one front end."""
SERVERS = 4
CORES = SERVERS + 2
"""The front ends, the engine's own loop, and what starts and measures it. On several GPUs each has a worker
besides, a process that polls without a pause."""
SERVER_BYTES = 2 * GIB
"""Host memory set aside for each front end, where the container's is limited."""
OTHERS = ("asc", "data-parallel-size", "dp", "headless", "enable-elastic-ep")
"""Its short form, and switches that decide the number or allow one only (vllm/entrypoints/cli/serve.py)."""
ONE_ONLY = ("VLLM_ALLOW_RUNTIME_LORA_UPDATING", "VLLM_USE_RUST_FRONTEND")
"""Variables with which vLLM takes one front end only (vllm/entrypoints/cli/serve.py)."""
NOTHING = Tuning()


def tuned(placement: Placement, streamed_tokens_per_second: float | None) -> Tuning:
    """Several front ends where more is expected than one carries, and CPUs for them are promised."""
    options = placement.options
    gpus = placement.tensor * placement.pipeline
    workers = gpus if gpus > 1 else 0
    given = expanded(parse_arguments(options.arguments), (SWITCH, *OTHERS))
    if (
        placement.device.on_host
        or version_key(placement.version) < version_key(SINCE)
        or (streamed_tokens_per_second or 0) <= CEILING
        or (options.cpu_cores or 0) < CORES + workers
        or (options.memory_limit_bytes is not None and options.memory_limit_bytes < SERVERS * SERVER_BYTES)
        or any(name in given for name in (SWITCH, *OTHERS))
        or any(options.env.get(name, "0") not in ("", "0") for name in ONE_ONLY)
    ):
        return NOTHING
    reason = (
        f"{SERVERS} HTTP front ends, as one carries about {CEILING} streamed tok/s and up to "
        f"{streamed_tokens_per_second:.0f} are expected; --{SWITCH}=1 in engine.extraArgs keeps one"
    )
    return Tuning(arguments=(f"--{SWITCH}", str(SERVERS)), reasons=(reason,))
