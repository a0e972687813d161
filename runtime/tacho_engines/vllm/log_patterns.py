"""Patterns of vLLM's log: startup values, and causes of failure.

Those for startup values come from real logs of 0.26 (H200) and 0.32 (CPU) in tests/fixtures/vllm, and the
source of 0.32. The cause of a failure is in the traceback of a worker or the engine core. After it the API
server only reports the failure ("Engine core initialization failed. See root cause above.").
"""

from __future__ import annotations

import re
from dataclasses import replace

from tacho_contract.failure import FailureClass
from tacho_engines.shared.log_patterns import (
    CHECKPOINT_FAILURES,
    FailurePattern,
    StartupPatterns,
)

FALLBACKS = (
    (
        re.compile(r"does not have native support for (FP\d) computation"),
        r"\1 weights only, by Marlin: the GPU does not compute in \1",
    ),
    (re.compile(r"Enforce eager set"), "eager mode: nothing is compiled, no CUDA graphs"),
    (re.compile(r"using the V1 model runner instead"), "the V1 model runner instead of V2"),
    (
        re.compile(r"Using (?!FLASH|FLASHINFER|CUTLASS)(\w+) attention backend out of"),
        r"attention by \1 instead of FlashAttention or FlashInfer",
    ),
    (
        re.compile(r"doesn't support (?:torch\.)?(\w+)\. Falling back to (?:torch\.)?(\w+)"),
        r"\2 instead of \1, which the device lacks",
    ),
    (re.compile(r"([Ff]all(?:ing )?back to (?!memory node)[^.;]{3,120})"), r"\1"),
)

STARTUP = StartupPatterns(
    values=(
        re.compile(r"Model loading took (?P<weights_gib>[\d.]+) GiB(?: memory)? and [\d.]+ seconds"),
        re.compile(r"Available KV cache memory: (?P<kv_cache_gib>[\d.]+) GiB"),
        re.compile(r"(?:Explicitly|Auto) set \((?P<kv_cache_gib>[\d.]+)/[\d.]+\) GiB"),
        re.compile(
            r"torch\.compile (?:and initial profiling/warmup run together )?"
            r"took (?P<compile_seconds>[\d.]+) s in total"
        ),
        re.compile(
            r"Graph capturing finished in (?P<graph_seconds>[\d.]+) secs, took (?P<graph_gib>[\d.]+) GiB"
        ),
    ),
    # The same for all workers. What a model's configuration makes transformers log comes before it.
    last_values=(
        re.compile(r"KV cache size: (?P<kv_cache_tokens>[\d,]+) tokens"),
        # From 0.29 on vLLM also captures graphs to estimate them.
        re.compile(r"CUDA graph pool memory: (?P<graph_gib>[\d.]+) GiB \(actual\)"),
    ),
    fallbacks=FALLBACKS,
    late_kernel=re.compile(r"during inference: .+ This causes a latency spike"),
)

TOO_OLD_GPU = FailurePattern(
    pattern=r"uantization (?P<what>method \S+|scheme) is not supported for the current GPU\. "
    r"Min\w* capability: (?P<major>\d+)(?P<minor>\d)\. "
    r"Current capability: (?P<has_major>\d+)(?P<has_minor>\d)\b",
    failure_class=FailureClass.UNSUPPORTED_GPU,
    message="the quantization {what} needs compute capability {major}.{minor} or higher, and this GPU has "
    "{has_major}.{has_minor}",
    next_step="choose another product in spec.gpu.products, or another spec.quantization.method",
)

FAILURES = (
    # --- the command line
    FailurePattern(
        pattern=r"error: (?P<why>unrecognized arguments: .+|argument --[\w/-]+(?![\w/-])[^:]*: .+)",
        failure_class=FailureClass.INVALID_CONFIG,
        message="vLLM refuses its command line: {why}",
        next_step="correct spec.engine.extraArgs: `vllm serve --help=all` in the image lists what this "
        "version takes",
    ),
    # --- the model
    FailurePattern(
        pattern=r"(?:contains custom code which must be executed|requires you to execute the configuration "
        r"file|set the option `?trust_remote_code|trust_remote_code=True)",
        failure_class=FailureClass.INVALID_CONFIG,
        message="the model brings code of its own, which is not executed",
        next_step="read that code, and set spec.model.trustRemoteCode to true if it may run",
    ),
    *CHECKPOINT_FAILURES,
    FailurePattern(
        pattern=r"Model architecture (?P<architecture>\S+) (?P<why>was supported in vLLM until v[\d.]+\d"
        r"|is not supported in-tree anymore)",
        failure_class=FailureClass.ENGINE_NOT_SUPPORTED,
        message="this version of vLLM no longer has the model's architecture: {architecture} {why}",
        next_step="take an older engine image (spec.engine.image), or another engine",
    ),
    FailurePattern(
        pattern=r"(?:Couldn't instantiate the backend tokenizer|Can't load tokenizer for|"
        r"Unable to load vocabulary|No tokenizer file found)(?P<why>.*)",
        failure_class=FailureClass.MODEL_INVALID,
        message="the model has no tokenizer that vLLM can load",
        next_step="put tokenizer.json and tokenizer_config.json beside the weights, and let "
        "spec.model.files select them",
    ),
    FailurePattern(
        pattern=r"(?:Repo id must be in the form .*: '|Invalid repository ID or local directory specified: "
        r"'?)(?P<path>[^']+)",
        failure_class=FailureClass.MODEL_NOT_FOUND,
        message="there is no model that vLLM can load in {path}: no config.json",
        next_step="check the path in spec.model.uri, and that spec.model.files select config.json",
    ),
    FailurePattern(
        pattern=r"(?P<why>no config file found|Cannot find any model weights with `[^`]*`)",
        failure_class=FailureClass.MODEL_NOT_FOUND,
        message="vLLM finds no model: {why}",
        next_step="check the path in spec.model.uri, and that spec.model.files select the configuration and "
        "the weights",
    ),
    FailurePattern(
        pattern=r"(?:There is no module or parameter named |KeyError: )'(?P<name>[^']*\."
        r"(?:qweight|qzeros|scales|g_idx|weight_packed|weight_scale|quant_state)[^']*)'",
        failure_class=FailureClass.UNSUPPORTED_QUANTIZATION,
        message="no file of the model says how {name} is quantized",
        next_step="let spec.model.files select quantize_config.json or quant_config.json, or take a "
        "checkpoint with quantization_config in its config.json",
    ),
    FailurePattern(
        pattern=r"There is no module or parameter named '(?P<name>[^']+)'",
        failure_class=FailureClass.MODEL_INVALID,
        message="{name} is in the weights, and not in the model that config.json describes",
        next_step="fetch config.json and the weights again from one revision; if they are whole, take a "
        "newer engine image (spec.engine.image)",
    ),
    # --- what it is to be run by
    FailurePattern(
        pattern=r"(?:Unknown quantization method: |config file at '[^']*\.(?=gguf' is not a valid JSON))"
        r"(?P<method>[\w-]+)",
        failure_class=FailureClass.UNSUPPORTED_QUANTIZATION,
        message="this vLLM has neither the quantization {method} nor a plugin for it",
        next_step="leave spec.engine.image out, for tacho's own image of vLLM has the plugins for "
        "bitsandbytes and GGUF; take another --quantization out of spec.engine.extraArgs",
    ),
    FailurePattern(
        pattern=r"(?P<why>No compressed-tensors compatible scheme was found for layer_name=[^,]*"
        r"|Unsupported FusedMoe scheme\b.*|For NVFP4 weights, input quantization must also be NVFP4.*"
        r"|Failed to find a kernel that can implement the \S+ linear layer\. Reasons:.*)",
        failure_class=FailureClass.UNSUPPORTED_QUANTIZATION,
        message="vLLM cannot compute this quantization: {why}",
        next_step="take a checkpoint of another quantization (status.plan.alternatives), other "
        "spec.gpu.products, or a newer engine image",
    ),
    FailurePattern(
        pattern=r"(?P<why>Prequant BitsAndBytes models with tensor parallelism is not supported"
        r"|The input size is not aligned with the quantized weight shape"
        r"|\b\w+(?: = |=)\d+[^=]* is not divisible by (?:group_size=|b_scales\.size\(\d\) = "
        r"|weight quantization block_[nk] = |min_thread_[nk] = )\d+)",
        failure_class=FailureClass.UNSUPPORTED_QUANTIZATION,
        message="tensor parallelism cuts these weights: {why}",
        next_step="lower spec.parallelism.tensor, use spec.parallelism.pipeline, or take a checkpoint with "
        "smaller groups",
    ),
    FailurePattern(
        pattern=r"(?P<why>Total number of attention heads \(\d+\) must be divisible by tensor parallel size "
        r"\(\d+\)|AssertionError: \d+ is not divisible by \d+"
        r"|(?<=    )assert [^%]{0,200}% \S{0,40}tp_size == 0\b.*)",
        failure_class=FailureClass.INVALID_CONFIG,
        message="tensor parallelism does not divide the model: {why}",
        next_step="set spec.parallelism.tensor to a divisor of the number, or use spec.parallelism.pipeline",
    ),
    FailurePattern(
        pattern=r"(?P<why>Cannot find the config file for [\w-]+"
        r"|Quantization method specified in the model config .* does not match [^.]*"
        r"|(?<!\S)\S+ is not supported for quantization method \S+)",
        failure_class=FailureClass.UNSUPPORTED_QUANTIZATION,
        message="vLLM cannot run this checkpoint as requested: {why}",
        next_step="choose spec.quantization.method by what the checkpoint holds (status.plan.alternatives "
        "lists what works), without --dtype and --quantization in spec.engine.extraArgs",
    ),
    TOO_OLD_GPU,
    replace(
        TOO_OLD_GPU,
        pattern=TOO_OLD_GPU.pattern.replace(r"Min\w*", "Required"),
        message=TOO_OLD_GPU.message.replace(" or higher", " exactly"),
    ),
    FailurePattern(
        pattern=r"(?P<why>No valid attention backend found for .*"
        r"|Bfloat16 is only supported on GPUs with compute capability of at least [\d.]+"
        r"|The model type \S+ does not support float16)",
        failure_class=FailureClass.UNSUPPORTED_GPU,
        message="the GPU lacks what the model needs: {why}",
        next_step="choose another product in spec.gpu.products (8.0 and later have bfloat16), or another "
        "spec.quantization.method",
    ),
    # --- memory
    FailurePattern(
        pattern=r"max seq len \((?P<length>\d+)\), \((?P<needed>[\d.]+) GiB KV cache is needed, which is "
        r"larger than the available KV cache memory \((?P<there>[\d.]+) GiB\)"
        r"\. Based on the available memory, the estimated maximum model length is "
        r"(?P<fitsMaxModelLen>\d+)",
        failure_class=FailureClass.KV_CACHE_TOO_SMALL,
        message="one request of {length} tokens needs a KV cache of {needed} GiB and {there} GiB are left; "
        "the longest that fits: {fitsMaxModelLen} tokens",
        next_step="set spec.context.maxModelLen to that length or less, or take a larger GPU",
        detail_groups=("fitsMaxModelLen",),
    ),
    FailurePattern(
        pattern=r"(?<![\d.])(?P<needed>[\d.]+) GiB KV cache is needed, which is larger than the available "
        r"KV cache memory \((?P<there>[\d.]+) GiB\)",
        failure_class=FailureClass.KV_CACHE_TOO_SMALL,
        message="one request needs a KV cache of {needed} GiB and {there} GiB are left: not even a short one "
        "fits",
        next_step="quantize further, or take a larger GPU",
    ),
    FailurePattern(
        pattern=r"Free memory on device \S* ?\((?P<free>[\d.]+)/(?P<total>[\d.]+) GiB\) on startup is less "
        r"than .* \((?P<share>[\d.]+), (?P<wanted>[\d.]+) GiB\)",
        failure_class=FailureClass.GPU_OUT_OF_MEMORY,
        message="something else uses the GPU: {free} of {total} GiB are free, {wanted} were planned",
        next_step="end what else runs on this GPU (nvidia-smi on the node), or plan for its part: "
        "--gpu-memory-utilization in spec.engine.extraArgs",
    ),
    FailurePattern(
        pattern=r"Available memory on node \d+ \((?P<free>[\d.]+)/(?P<total>[\d.]+) GiB\) on "
        r"(?:kv cache allocation|startup) is less than .*?"
        r"\((?:[\d.]+, )?(?P<wanted>[\d.]+)(?:/[\d.]+)? GiB\)",
        failure_class=FailureClass.HOST_OUT_OF_MEMORY,
        message="{free} of {total} GiB of memory are free, vLLM needs {wanted} more",
        next_step="raise the memory in spec.engine.resources, or lower spec.context",
    ),
    FailurePattern(
        pattern=r"No available memory for the cache blocks",
        failure_class=FailureClass.GPU_OUT_OF_MEMORY,
        message="weights and activations leave no memory for a KV cache",
        next_step="quantize further, lower spec.context.concurrency, or take a larger GPU; make sure that "
        "nothing else uses this one",
    ),
    FailurePattern(
        pattern=r"max_num_seqs \((?P<asked>\d+)\) exceeds available Mamba cache blocks \((?P<blocks>\d+)\)",
        failure_class=FailureClass.DOES_NOT_FIT,
        message="the cache holds the state of {blocks} requests, and --max-num-seqs is {asked}",
        next_step="set --max-num-seqs in spec.engine.extraArgs to that number or less, or take a larger GPU",
    ),
    # --- the rest of the configuration
    FailurePattern(
        pattern=r"(?:Value error, |validation errors? for \w+ )(?P<why>.+?)(?: \[type=|$)",
        failure_class=FailureClass.INVALID_CONFIG,
        message="vLLM refuses its settings: {why}",
        next_step="correct spec.engine.extraArgs, or what the message names",
    ),
)
