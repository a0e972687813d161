"""Constants of vLLM's step times, on the GPUs on which it was measured.

Every constant is fitted by ``python -m benchmarks.planner.speed`` over the rows that it prints.
"""

from __future__ import annotations

from tacho_engines.profile import KernelTiming, StepLaw

HOPPER = (9, 0)
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
FRONT_END_TOKENS_PER_SECOND = 17_000
"""Streamed tokens a second of one front end, a process of Python.

Evidence: 0.6B in bf16 on one H200 with 16 virtual cores, vLLM 0.26.0, 512 tokens in and 200 out in closed
loops of 256 (benchmarks/gpu/h200/flags): one front end streamed 14,599 tok/s (16,483 on another host), two
22,810, four 26,567, and a first token took 253 ms instead of 798. An earlier run, whose output was not kept,
had 17,248 and 26,002, and 29,180 answered whole. An 8B (9,839 at 256) has less to stream than one carries.
"""

LAW = StepLaw(
    capability=HOPPER,
    products=("NVIDIA-H200",),
    version="0.26",
    traffic=1.067,
    layer_microseconds=47.7,
    attention_nanoseconds=32.4,
    odd_head=1.62,
    prompt_attention=1.4,
    alike=ALIKE,
    front_end_tokens_per_second=FRONT_END_TOKENS_PER_SECOND,
    kernels=(
        KernelTiming(
            methods=("none",),
            arithmetic=0.668,
            decode_within=0.07,
            output_within=0.20,
            ran="as vLLM 0.26 ran models of 0.6B to 8B on an H200",
        ),
        KernelTiming(
            methods=("fp8",),
            batch_unpacking=143.0,
            arithmetic=1.04,
            decode_within=0.12,
            output_within=0.25,
            ran="as vLLM 0.26 ran an 8B in FP8 on an H200",
        ),
        KernelTiming(
            methods=("compressed-tensors",),
            schemes=("W8A8-int",),
            unpacking=49.0,
            batch_unpacking=49.0,
            arithmetic=1.09,
            decode_within=0.12,
            output_within=0.25,
            ran="as vLLM 0.26 ran an 8B in W8A8 on an H200",
        ),
        KernelTiming(
            methods=("awq", "gptq", "compressed-tensors"),
            schemes=("W4A16",),
            unpacking=324.0,
            batch_unpacking=324.0,
            arithmetic=0.678,
            decode_within=0.07,
            output_within=0.20,
            ran="as vLLM 0.26 ran an 8B in AWQ, GPTQ and W4A16 on an H200",
        ),
        KernelTiming(
            methods=("bnb-nf4",),
            unpacking=554.0,
            batch_unpacking=2232.0,
            arithmetic=0.562,
            decode_within=1.00,
            output_within=1.00,
            ran="as vLLM 0.26 ran an 8B in NF4 on an H200",
        ),
        KernelTiming(
            methods=("bnb-int8",),
            unpacking=10_700.0,
            batch_unpacking=11_700.0,
            arithmetic=0.63,
            decode_within=1.00,
            output_within=1.00,
            ran="as vLLM 0.26 ran an 8B in LLM.int8() on an H200",
        ),
    ),
)
"""Weights of 4 bits are unpacked in the kernel, by Machete or by bitsandbytes, which for several streams
writes them in 16 bits and reads them back. FP8 and W8A8 quantize what the weights are multiplied with. All of
these were timed in the 8B's shape alone. LLM.int8() looks for outliers in each product and runs without
graphs: its constants are those of one pod (docs/results/h200/longer/llama-8b-bnb-int8)."""
