"""How long vLLM's decoding steps take, on the GPUs on which they were timed."""

from __future__ import annotations

from typing import Any

from tacho_engines.step import StepRow

HOPPER = (9, 0)
LAYER_MICROSECONDS = 48.0
"""Fitted with the first row's traffic over shapes of 28 to 32 layers, hidden states of 1024 to 4096."""
UNLIKE = (
    "attention-backend",
    "attention-config",
    "compilation-config",
    "cpu-offload-gb",
    "enable-expert-parallel",
    "enable-lora",
    "enforce-eager",
    "kernel-config",
    "kv-offloading-size",
    "kv-transfer-config",
    "linear-backend",
    "offload-group-size",
    "optimization-level",
    "quantization",
    "speculative-config",
    "O",
    "O0",
    "O1",
    "O3",
    "VLLM_ATTENTION_BACKEND",
    "VLLM_DISABLED_KERNELS",
    "VLLM_USE_V1",
    "VLLM_USE_V2_MODEL_RUNNER",
)
"""They change kernels, graphs, or how many tokens come of a step (eager: 11.6 ms in place of 4.9)."""
FITTED = "benchmarks/planner/h200/decode.json, rows that are not held back"


def _row(**fields: Any) -> StepRow:
    return StepRow(
        capability=HOPPER,
        since="0.26",
        layer_microseconds=LAYER_MICROSECONDS,
        unlike=UNLIKE,
        source=FITTED,
        **fields,
    )


STEPS = (
    _row(
        methods=("none", "fp8"),
        traffic=1.06,
        ran="as vLLM 0.26 ran models of 0.6B to 8B on an H200",
    ),
    _row(methods=("bnb-nf4",), traffic=3.24, ran="as vLLM 0.26 ran an 8B in NF4 on an H200"),
    _row(
        methods=("awq",),
        schemes=("W4A16",),
        traffic=2.34,
        ran="as vLLM 0.26 ran an 8B in AWQ on an H200",
    ),
    _row(
        methods=("gptq",),
        schemes=("W4A16",),
        traffic=2.21,
        ran="as vLLM 0.26 ran an 8B in GPTQ on an H200",
    ),
    _row(
        methods=("compressed-tensors",),
        schemes=("W4A16",),
        traffic=2.24,
        ran="as vLLM 0.26 ran an 8B in W4A16 on an H200",
    ),
    _row(
        methods=("compressed-tensors",),
        schemes=("W8A8-int",),
        traffic=1.27,
        ran="as vLLM 0.26 ran an 8B in W8A8 on an H200",
    ),
)
"""Weights of 4 bits are unpacked in the kernel: Machete takes twice the time of reading them, bitsandbytes
three times. These were timed in one shape, so that what follows from the bytes is not told apart from what
follows from the layers: the layers' part is the first row's."""
