"""Constants of vLLM's step time on the GPUs on which it was measured.

Those of vLLM 0.26 are fitted by ``python -m benchmarks.planner.speed`` to the measurements that it prints.
"""

from __future__ import annotations

from dataclasses import replace

from tacho_engines.profile import KernelTiming, SplitTiming, StepLaw
from tacho_engines.vllm.graphs import CAPTURED

HOPPER = (9, 0)
ALIKE = (
    *("served-model-name", "host", "port", "root-path", "uvicorn-log-level", "disable-uvicorn-access-log"),
    *("max-model-len", "max-num-seqs", "max-num-batched-tokens", "gpu-memory-utilization", "kv-cache-dtype"),
    *("kv-cache-memory-bytes", "enable-prefix-caching", "no-enable-prefix-caching", "enable-chunked-prefill"),
    *("max-cudagraph-capture-size", *CAPTURED),
    *("api-server-count", "stream-interval", "seed", "download-dir", "max-logprobs"),
    *("load-format", "config-format", "tokenizer-mode"),
    *("safetensors-load-strategy", "chat-template", "chat-template-content-format", "tool-call-parser"),
    *("enable-auto-tool-choice", "reasoning-parser", "generation-config", "max-log-len", "disable-log-stats"),
    *("enable-log-requests", "disable-log-requests", "enable-prompt-tokens-details"),
    *("VLLM_LOGGING_LEVEL", "VLLM_CACHE_ROOT", "VLLM_NO_USAGE_STATS", "VLLM_DO_NOT_TRACK", "HF_HUB_OFFLINE"),
    *("HF_HOME", "NCCL_DEBUG", "PYTHONPYCACHEPREFIX", "OMP_NUM_THREADS", "TZ", "LANG"),
)
"""Arguments that change neither kernels nor the tokens of a step, and those of the CUDA graphs, which the law
knows. Counter-examples: an FP8 cache changed the step time by 2 %, eager mode from 4.9 to 11.6 ms.
"""
FRONT_END_TOKENS_PER_SECOND = 17_000
"""Streamed tokens per second of one HTTP front end, a Python process.

Measured with 0.6B in bf16 on one H200 with 16 virtual cores, vLLM 0.26.0, 512 tokens in and 200 out, 256
streams (benchmarks/gpu/h200/flags). One front end: 14,599 tok/s (16,483 on another host), two 22,810, four
26,567; TTFT fell from 798 to 253 ms. An earlier run without stored output: 17,248 and 26,002, and 29,180
without streaming. An 8B (9,839 at 256 streams) needs only one.
"""

GGUF_BY_PLUGIN = "0.24"
"""vLLM version from which vllm-gguf-plugin loads GGUF files."""
GGUF_EXTENSION = "0.27"
"""vLLM version from which the CUDA extension of vllm-gguf-plugin 0.0.5 loads.

It asks PyTorch for ``torch_exception_get_what_without_backtrace``. 2.13, of vLLM 0.27 and later, has it, and
2.11, of 0.26, has not. Then the plugin takes its Triton kernels and says nothing (its ops.py).
"""
GGUF_TIMED = ("NVIDIA-H100-80GB-HBM3",)

HELD_ON = ("NVIDIA-H200", "NVIDIA-H100-80GB-HBM3")
"""GPUs on which the law was held against loops. It is fitted to the first alone."""
IN_16_BITS = 0.675
"""Share of the GPU's rate that large products in 16 bits reach, bitsandbytes' too, once it has expanded the
weights to 16 bits.
"""

IN_TURN = 468.0
"""Microseconds a layer in which a host launches kernels one by one."""
EXPERTS_IN_TURN = 1_146.0
"""The same of a layer with experts."""
NEWEST = "0.32"
"""Version whose host takes other times than that of 0.26."""
NEWEST_PROMPT_STEP = 22_020.0
"""Microseconds that a host takes for a step with a prompt with vLLM 0.32, for 16 to 64 layers alike. This and
the next are fitted to loops of dense models on seven H200 hosts by ``python -m benchmarks.gpu.pages``
(benchmarks/lab/h200/vllm-0.32-dense.md).
"""
NEWEST_TOKENS_PER_SECOND = 11_340.0
"""Streamed tokens per second of dense models on one GPU with vLLM 0.32, by one front end or four.

It depends on the host: steady loops had up to 12,745, and an OLMoE 14,161 on another.
"""
NEWEST_HOST_STEP = 2_900.0
"""Microseconds of a step of one stream in the slower half of a Llama-3.2-1B's requests, of 2,800 to 3,280.

The faster half took 1,880 to 2,170, and an OLMoE on another host 1,610.
"""
MARLIN_EXPERTS = 0.242
"""Share of the GPU's rate that products of experts in 4 bits reach with vLLM 0.32.

Marlin's kernel for experts unpacks in the product itself. Fitted by ``python -m benchmarks.gpu.pages`` to
loops of three models on two H200 hosts (benchmarks/lab/h200/vllm-0.32-quantized.md).
"""
RAN_DENSE = "as vLLM 0.32 ran models of 1B to 32B on seven H200 hosts and an 8B on an H100"
RAN_UNFITTED = "as vLLM 0.32 ran models of 3B to 8B on H200s"

IN_16 = KernelTiming(
    methods=("none",),
    products=HELD_ON,
    launch_microseconds=IN_TURN,
    arithmetic=IN_16_BITS,
    decode_within=0.09,
    output_within=0.20,
    ran="as vLLM 0.26 ran models of 0.6B to 32B on an H200 and of 0.6B to 8B on an H100",
)
FP8 = KernelTiming(
    methods=("fp8",),
    products=HELD_ON,
    layer_microseconds=3.86,
    batch_layer_microseconds=14.1,
    launch_microseconds=IN_TURN,
    arithmetic=1.077,
    decode_within=0.08,
    output_within=0.20,
    ran="as vLLM 0.26 ran models of 2.7B to 8B in FP8 on an H200 and of 3B to 32B on an H100",
)
MACHETE = KernelTiming(
    methods=("awq", "gptq", "compressed-tensors"),
    schemes=("W4A16",),
    products=HELD_ON,
    unpacking=94.0,
    layer_microseconds=27.1,
    batch_layer_microseconds=40.9,
    launch_microseconds=IN_TURN,
    arithmetic=IN_16_BITS,
    decode_within=0.08,
    output_within=0.20,
    ran="as vLLM 0.26 ran models of 1.5B to 8B in 4 bits on an H200 and of 8B and 32B on an H100",
)

W8A8 = KernelTiming(
    methods=("compressed-tensors",),
    schemes=("W8A8-int",),
    layer_microseconds=12.87,
    batch_layer_microseconds=14.1,
    launch_microseconds=IN_TURN,
    arithmetic=1.077,
    decode_within=0.08,
    output_within=0.20,
    ran="as vLLM 0.26 ran models of 3B to 8B in W8A8 on an H200",
)
NF4 = KernelTiming(
    methods=("bnb-nf4",),
    unpacking=538.0,
    pass_elements=1024,
    batch_unpacking=1_724.0,
    layer_microseconds=19.5,
    batch_layer_microseconds=123.7,
    launch_microseconds=388.0,
    overlap=1.0,
    arithmetic=IN_16_BITS,
    decode_within=0.08,
    output_within=0.20,
    ran="as vLLM 0.26 ran models of 1B to 8B in NF4 on an H200",
)
EXPERTS_16 = KernelTiming(
    methods=("none",),
    experts=True,
    layer_microseconds=12.8,
    batch_layer_microseconds=33.6,
    launch_microseconds=EXPERTS_IN_TURN,
    arithmetic=IN_16_BITS,
    decode_within=0.17,
    output_within=0.30,
    ran="as vLLM 0.26 ran models of 3B to 30B with experts on an H200",
)
EXPERTS_4 = KernelTiming(
    methods=("awq", "gptq", "compressed-tensors"),
    schemes=("W4A16",),
    experts=True,
    layer_microseconds=39.8,
    batch_layer_microseconds=46.2,
    launch_microseconds=1_503.0,
    arithmetic=IN_16_BITS,
    decode_within=0.10,
    output_within=0.30,
    ran="as vLLM 0.26 ran models of 7B to 107B with experts in 4 bits on an H200",
)
EXPERTS_8 = KernelTiming(
    methods=("fp8",),
    experts=True,
    products=HELD_ON,
    layer_microseconds=36.3,
    batch_layer_microseconds=68.4,
    launch_microseconds=1_742.0,
    arithmetic=IN_16_BITS,
    decode_within=0.25,
    output_within=0.30,
    ran="as vLLM 0.26 ran models of 3B to 47B with experts in FP8 on an H200 and an H100",
)


def newest(kernel: KernelTiming, ran: str = RAN_DENSE) -> KernelTiming:
    """The same kernel with vLLM 0.32, whose host takes other times."""
    return replace(
        kernel,
        since=NEWEST,
        version=NEWEST,
        launch_microseconds=0.0,
        prompt_step_microseconds=NEWEST_PROMPT_STEP,
        host_step_microseconds=NEWEST_HOST_STEP,
        server_tokens_per_second=NEWEST_TOKENS_PER_SECOND,
        decode_within=0.09,
        output_within=0.25,
        ran=ran,
    )


def newest_experts(kernel: KernelTiming, sizes: str, output_within: float) -> KernelTiming:
    """The same of a model with experts: its host launches the kernels of all weights as those of 16 bits."""
    return replace(
        newest(kernel, f"as vLLM 0.32 ran models of {sizes} with experts on H200s"),
        products=(),
        launch_microseconds=EXPERTS_IN_TURN,
        prompt_step_microseconds=0.0,
        decode_within=0.17,
        output_within=output_within,
    )


MARLIN = replace(EXPERTS_4, arithmetic=MARLIN_EXPERTS)
PARTIAL_GROUPS = replace(
    newest_experts(EXPERTS_4, "7B", output_within=1.00),
    since="",
    partial_groups=True,
    batch_layer_microseconds=583.0,
    arithmetic=0.062,
    decode_within=1.00,
    ran="as vLLM 0.32 ran several streams of one 7B whose experts end within a group, on an H200",
)
"""Triton's kernels, which vLLM has for them. The two constants are fitted to three loops."""

LAW = StepLaw(
    capability=HOPPER,
    products=("NVIDIA-H200",),
    version="0.26",
    traffic=1.079,
    layer_microseconds=46.9,
    attention_nanoseconds=21.1,
    odd_head=2.80,
    prompt_attention=1.4,
    alike=ALIKE,
    front_end_tokens_per_second=FRONT_END_TOKENS_PER_SECOND,
    split=SplitTiming(
        products=("NVIDIA-H200",),
        methods=("none", "fp8"),
        gpus=4,
        layer_microseconds=10.5,
        batch_layer_microseconds=28.2,
        launch_microseconds=833.0,
        decode_within=0.09,
        output_within=0.30,
        ran="as vLLM 0.26 ran models of 7B to 70B over 2 and 4 H200s",
    ),
    kernels=(
        *(replace(kernel, before=NEWEST) for kernel in (IN_16, FP8, W8A8, MACHETE, NF4)),
        *(replace(kernel, before=NEWEST) for kernel in (EXPERTS_16, EXPERTS_4, EXPERTS_8)),
        KernelTiming(
            methods=("bnb-int8",),
            schemes=(),
            unpacking=11_400.0,
            batch_unpacking=12_500.0,
            arithmetic=0.63,
            decode_within=1.00,
            output_within=1.00,
            ran="as vLLM 0.26 ran an 8B in LLM.int8() on an H200",
        ),
        KernelTiming(
            methods=("gguf",),
            schemes=(),
            since=GGUF_BY_PLUGIN,
            before=GGUF_EXTENSION,
            products=GGUF_TIMED,
            unpacking=9_140.0,
            batch_unpacking=9_280.0,
            arithmetic=0.0674,
            decode_within=1.00,
            output_within=1.00,
            ran="as the GGUF plugin's Triton kernels ran an 8B in Q4_0 on an H100",
        ),
        KernelTiming(
            methods=("gguf",),
            schemes=(),
            products=GGUF_TIMED,
            unpacking=440.0,
            batch_unpacking=1_834.0,
            arithmetic=0.0269,
            decode_within=1.00,
            output_within=1.00,
            ran="as the GGUF plugin's CUDA kernels ran the products of an 8B in Q4_0 on an H100",
        ),
        KernelTiming(
            methods=("none",),
            schemes=("W4A16-mxfp4",),
            experts=True,
            layer_microseconds=26.0,
            batch_layer_microseconds=33.6,
            launch_microseconds=2_750.0,
            graph_tokens=1024,
            arithmetic=IN_16_BITS,
            decode_within=1.00,
            output_within=1.00,
            ran="as vLLM 0.26 ran one stream of gpt-oss on an H200, and several of other models in 16 bits",
        ),
        *(newest(kernel) for kernel in (IN_16, FP8, MACHETE)),
        newest(W8A8, RAN_UNFITTED),
        newest(NF4, RAN_UNFITTED),
        newest_experts(EXPERTS_16, "3B to 47B", output_within=0.30),
        newest_experts(EXPERTS_8, "7B to 107B", output_within=0.35),
        newest_experts(MARLIN, "7B to 47B", output_within=0.30),
        PARTIAL_GROUPS,
    ),
)
"""Constants of vLLM 0.26 on an H200, fitted to models of 0.6B to 32B, and some of 0.32.
Nothing of 0.32 is fitted to W8A8, NF4 and experts, but for those in 4 bits
(benchmarks/lab/h200/vllm-0.32-quantized.md).

Machete and bitsandbytes unpack 4-bit weights; for several streams bitsandbytes expands them to 16 bits first.
For one stream each of its warps takes 1,024 elements of a row at once (0.50.2, csrc/gemm_4bit_simt.cu), so
that a row of 3,584 takes as long as one of 4,096.
Over 2 and 4 GPUs each layer has two all-reduces more (benchmarks/gpu/h200/tensor).
FP8, W8A8, Machete and bitsandbytes launch more kernels in each layer, which counts where a layer is small.
CUDA graphs are captured for 512 tokens at most, and a step with a prompt has more. Its host launches every
kernel, which takes longer than a small model's GPU computes: without it a 3B in 16 bits was expected 42 %
too fast. The two overlap, by an exponent of 3 (2, 4, 6 and 20 were tried). Those of bitsandbytes, which
expands weights first, add up. FP8 and W8A8 quantize activations by the same kernels and have the same
constants but for one stream.

LLM.int8() searches outliers in each product and has no CUDA graphs: its
constants come from one pod (benchmarks/lab/h200/longer/llama-8b-bnb-int8). vLLM takes it as stored alone: its
row covers the scheme.

Experts in 16 bits and FP8 have Triton kernels, those in 4 bits Marlin's, but for partial groups. Weights in
FP8 and MXFP4 that the engine made up send all tokens to the same experts: four streams were as fast as one.
Those of FP8 are fitted to loops on an H100 whose engine drew the experts of each token. MXFP4 routes inside
its kernel: of it one stream alone was fitted, and several are those of 16 bits. gpt-oss has CUDA graphs for
up to 1,024 tokens. Its launching is what a TPOT of 48 to 73 ms at 256 streams says, of the 20b and the 120b.

GGUF's constants are those of the products of an 8B in Q4_0, by ``python -m benchmarks.planner.gguf``. With
many tokens its CUDA kernels are slower than the Triton ones: from 104 on a step takes longer.
"""
