"""The time of vLLM's decoding steps, on the GPUs on which it was measured."""

from __future__ import annotations

from typing import Any

from tacho_engines.profile import StepTiming

HOPPER = (9, 0)
LAYER_MICROSECONDS = 48.0
"""Fitted with the first row's traffic over shapes of 28 to 32 layers, hidden states of 1024 to 4096."""
ALIKE = (
    *("served-model-name", "host", "port", "root-path", "uvicorn-log-level", "disable-uvicorn-access-log"),
    *("max-model-len", "max-num-seqs", "max-num-batched-tokens", "gpu-memory-utilization", "kv-cache-dtype"),
    *("kv-cache-memory-bytes", "enable-prefix-caching", "no-enable-prefix-caching", "enable-chunked-prefill"),
    *("api-server-count", "stream-interval", "seed", "download-dir", "load-format", "max-logprobs"),
    *("safetensors-load-strategy", "chat-template", "chat-template-content-format", "tool-call-parser"),
    *("enable-auto-tool-choice", "reasoning-parser", "generation-config", "max-log-len", "disable-log-stats"),
    *("enable-log-requests", "disable-log-requests", "enable-prompt-tokens-details"),
    *("VLLM_LOGGING_LEVEL", "VLLM_CACHE_ROOT", "VLLM_NO_USAGE_STATS", "VLLM_DO_NOT_TRACK", "HF_HUB_OFFLINE"),
    *("HF_HOME", "NCCL_DEBUG", "PYTHONPYCACHEPREFIX", "OMP_NUM_THREADS", "TZ", "LANG"),
)
"""Switches that change neither kernels, graphs nor the tokens of a step. An FP8 cache made a difference of 2
% (eager mode: 11.6 ms instead of 4.9 ms per step)."""
FITTED = "benchmarks/planner/h200/decode.json, rows that are not held back"


def _row(**fields: Any) -> StepTiming:
    return StepTiming(
        capability=HOPPER,
        since="0.26",
        layer_microseconds=LAYER_MICROSECONDS,
        alike=ALIKE,
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
