"""llama.cpp for the runtime: command line, requests, metrics and log of its server.

The server program is ``tacho_llamacpp``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace

from tacho_contract.failure import FailureClass
from tacho_contract.launch import RuntimeConfig
from tacho_engines.base import LONGEST_VERSION, RuntimeAdapter
from tacho_engines.run_parts import GGUF, LoadableFiles
from tacho_engines.shared.default_run import DefaultRun
from tacho_engines.shared.errors import ErrorLines
from tacho_engines.shared.log_patterns import HOST_MEMORY, FailurePattern, StartupPatterns
from tacho_engines.shared.metrics import MetricNames
from tacho_engines.shared.openai import PLAIN, Dialect

CACHE_TYPES = {"bfloat16": "bf16"}
"""llama.cpp's name of a cache type, where it differs from spec's."""

FILES = LoadableFiles(
    formats=(GGUF,),
    absent="llama.cpp loads GGUF files, and there is none.",
    next_step="Point spec.model at a GGUF repository, or choose an engine that loads these files.",
)
METRICS = MetricNames(
    running=("llamacpp:requests_processing",),
    waiting=("llamacpp:requests_deferred",),
    generated_tokens=("llamacpp:tokens_predicted_total",),
    steps=("llamacpp:n_decode_total",),
    prompt_tokens=("llamacpp:prompt_tokens_total",),
    computed_alone=frozenset({"llamacpp:prompt_tokens_total"}),
    cached_prompt_tokens=("llamacpp:prompt_tokens_cached_total",),
)
"""Metric names of llama.cpp's server. It has none for the usage of the KV cache; cached prompt tokens are
counted separately.
"""

DIALECT = Dialect(
    name="llamacpp",
    owner="llamacpp",
    constant={**PLAIN.constant, "ignore_eos": True, "cache_prompt": False},
    counting={"timings_per_token": True},
)
"""Request fields of llama.cpp's server. Source: llama.cpp tools/server/README.md."""

# --- its log --------------------------------------------------------------------------------------
STARTUP = StartupPatterns(
    values=(
        re.compile(r"load_tensors: +\S+ model buffer size = +(?P<weights_mib>[\d.]+) MiB"),
        re.compile(r"llama_kv_cache: +\S+ KV buffer size = +(?P<kv_cache_mib>[\d.]+) MiB"),
    ),
    last_values=(re.compile(r"llama_context: n_ctx +=\s+(?P<kv_cache_tokens>\d+)\s*$"),),
    fallbacks=(
        (
            re.compile(r"load_tensors: offloaded (\d+)/(?!\1 )(\d+) layers to GPU"),
            r"\1 of \2 layers are on GPUs, the others stay on the host",
        ),
        (
            # Of llama.cpp's own server; tacho's launcher refuses to start then.
            re.compile("no usable GPU found, --gpu-layers option will be ignored"),
            "no GPU is used: everything is on the host",
        ),
    ),
    loaded=re.compile(r"\bsrv .{0,40}: initializing\b.{0,20}\bn_slots = \d"),
)
"""Patterns of startup values. Each device logs its own buffer; the largest counts."""

FAILURES = (
    FailurePattern(
        pattern=r"failed to open GGUF file '(?P<path>[^']*)' \((?P<why>[^)]*)\)",
        failure_class=FailureClass.MODEL_NOT_FOUND,
        message="llama.cpp cannot open {path}: {why}",
        next_step="check the path in spec.model.uri and spec.model.files, and that the file may be read",
    ),
    FailurePattern(
        pattern=r"unknown model architecture: '(?P<architecture>[^']*)'",
        failure_class=FailureClass.ENGINE_NOT_SUPPORTED,
        message="this llama.cpp does not know the model architecture {architecture}",
        next_step="take a newer engine image (spec.engine.image), or another engine",
    ),
    FailurePattern(
        pattern=r"(?P<why>invalid magic characters.*|failed to read magic"
        r"|tensor '[^']*' data is not within the file bounds|model is corrupted or incomplete"
        r"|failed to read (?:header|key-value pairs|tensor info).*)",
        failure_class=FailureClass.MODEL_INVALID,
        message="the model file is not a whole GGUF file: {why}",
        next_step="fetch or copy the file again and compare its size with the source's",
    ),
    FailurePattern(
        pattern=r"error loading model vocabulary: (?P<why>key not found in model: \S+)",
        failure_class=FailureClass.MODEL_INVALID,
        message="the model file has no tokenizer: {why}",
        next_step="take a file that was converted with its tokenizer",
    ),
    FailurePattern(
        pattern=r"common_chat_templates_init: error: (?P<why>.*)",
        failure_class=FailureClass.INVALID_CONFIG,
        message="llama.cpp cannot read the chat template: {why}",
        next_step="correct --chat-template in spec.engine.extraArgs, or set one there in place of the "
        "file's: --chat-template=chatml",
    ),
    FailurePattern(
        pattern=r"(?P<why>quantized V cache requires flash_attn to be enabled)",
        failure_class=FailureClass.INVALID_CONFIG,
        message="llama.cpp refuses its settings: {why}",
        next_step="remove --flash-attn from spec.engine.extraArgs, or leave spec.quantization.kvCacheDtype "
        "out",
    ),
    FailurePattern(
        pattern=r"(?P<why>(?:(?<=error loading model: )(?:missing tensor|check_tensor_dims|create_tensor"
        r"|done_getting_tensors|error loading model (?:hyperparameters|vocabulary)).*)"
        r"|tensor '[^']*' has invalid ggml type \d+)",
        failure_class=FailureClass.ENGINE_NOT_SUPPORTED,
        message="this llama.cpp and the model file do not fit each other: {why}",
        next_step="take a newer engine image (spec.engine.image), or a file that was converted for this one",
    ),
    FailurePattern(  # src/llama-model.cpp make_gpu_buft_list and llama_model_create
        pattern=r"(?P<why>device \S+ does not support split buffers"
        r"|LLAMA_SPLIT_MODE_TENSOR not implemented for architecture '[^']*'"
        r"|SPLIT_MODE_TENSOR requires flash_attn to be enabled|invalid value for main_gpu: \d+)",
        failure_class=FailureClass.INVALID_CONFIG,
        message="llama.cpp cannot spread the model as requested: {why}",
        next_step="remove parallelism.tensor, and --split-mode from spec.engine.extraArgs: layers in turn "
        "work for every model",
    ),
    # llama.cpp continues where it cannot lock its weights in memory.
    replace(HOST_MEMORY, pattern=r"std::bad_alloc|^(?!.*\bmlock\b).*Cannot allocate memory"),
)


ERRORS = ErrorLines(
    error=re.compile(r"^[\d.]+ E (?P<text>\S.*)"),
    consequence=re.compile(
        r"failed to (?:load model|create.context|initialize)|exiting due to|please consider|for example:"
    ),
)
"""llama.cpp's lines of level E. Each function that gives up writes one: the later only report the first."""


class LlamaCpp(DefaultRun):
    """The runtime adapter of ``engine.name: llamacpp``."""

    name = "llamacpp"
    program = "llama-server"
    bounds_requests = True
    key_variable = "LLAMA_API_KEY"
    document_path = "/props"
    failures = FAILURES
    errors = ERRORS
    startup = STARTUP

    def api_key(self, config: RuntimeConfig, environment: Mapping[str, str]) -> str:
        """The first of several keys by commas."""
        keys = map(str.strip, super().api_key(config, environment).split(","))
        return next(filter(None, keys), "")

    def version(self, document: Mapping[str, object]) -> str:
        """The build number and commit; a build from outside of llama.cpp's repository has the number b0."""
        build = document.get("build_info")
        return build[:LONGEST_VERSION] if isinstance(build, str) and not build.startswith("b0") else ""

    def command(self, config: RuntimeConfig, model_path: str) -> tuple[str, ...]:
        """The command line of llama-server.

        Context, slots and cache type are numbers in RuntimeConfig and become arguments here, so that they fit
        the image in which the runtime runs. All slots share one context of ``concurrency`` times the
        requested length.
        """
        return (
            *config.entrypoint,
            *("--model", model_path),
            *("--alias", config.served_name),
            *("--host", config.bind_host),
            *("--port", str(config.engine_port)),
            *("--ctx-size", str(config.max_model_len * config.concurrency)),
            *("--parallel", str(config.concurrency)),
            # Idle prompts would otherwise take up to 8 GiB of memory that is not planned.
            *("--cache-ram", "0"),
            "--metrics",
            *_cache_type(config.kv_cache_dtype),
            *config.extra_args,
        )


def _cache_type(kind: str) -> tuple[str, ...]:
    """Arguments for the KV cache type ``kind``. A quantized V cache needs flash attention."""
    if not kind:
        return ()
    spelled = CACHE_TYPES.get(kind, kind)
    return ("--cache-type-k", spelled, "--cache-type-v", spelled, "--flash-attn", "on")


RUN: RuntimeAdapter = LlamaCpp()
