"""llama.cpp's half of the run: how its server is started, asked and read; its launcher is
``tacho_llamacpp``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tacho_contract.launch import RuntimeConfig
from tacho_engines.base import RunHalf
from tacho_engines.llamacpp.log_patterns import FAILURES, STARTUP
from tacho_engines.shared.default_run import DefaultRun
from tacho_engines.shared.files import GGUF, LoadableFiles
from tacho_engines.shared.metrics import MetricNames
from tacho_engines.shared.openai import PLAIN, Dialect, Limits, whole_number

CACHE_TYPES = {"bfloat16": "bf16"}
"""Types that llama.cpp spells its own way."""

FILES = LoadableFiles(
    formats=(GGUF,),
    one_file=True,
    absent="llama.cpp loads GGUF files, and there is none.",
    next_step="Point spec.model at a GGUF repository, or choose an engine that loads these files.",
)
METRICS = MetricNames(
    running=("llamacpp:requests_processing",),
    waiting=("llamacpp:requests_deferred",),
    generated_tokens=("llamacpp:tokens_predicted_total",),
    prompt_tokens=("llamacpp:prompt_tokens_total",),
    computed_alone=frozenset({"llamacpp:prompt_tokens_total"}),
    cached_prompt_tokens=("llamacpp:prompt_tokens_cached_total",),
)
"""None says how full the KV cache is, and cached prompt tokens are counted apart."""


def _fields(output_tokens: int, salt: str) -> Mapping[str, Any]:
    return {**PLAIN.fields(output_tokens, salt), "ignore_eos": True, "cache_prompt": False}


def _limits(model: Mapping[str, Any]) -> Limits:
    meta = model.get("meta")
    entry = meta if isinstance(meta, dict) else {}
    return Limits(
        max_model_len=whole_number(entry.get("n_ctx")), vocabulary=whole_number(entry.get("n_vocab"))
    )


DIALECT = Dialect(
    name="llamacpp",
    owner="llamacpp",
    fields=_fields,
    counting={"timings_per_token": True},
    limits=_limits,
)
"""Source: llama.cpp tools/server/README.md."""


class LlamaCpp(DefaultRun):
    """``engine.name: llamacpp``."""

    name = "llamacpp"
    program = "llama-server"
    bounds_requests = True
    key_variable = "LLAMA_API_KEY"
    document_path = "/props"
    failures = FAILURES
    startup = STARTUP

    def version(self, document: Mapping[str, object]) -> str:
        """A build number and commit; builds outside of llama.cpp's repository call themselves b0."""
        build = document.get("build_info")
        return build if isinstance(build, str) and not build.startswith("b0") else ""

    def command(self, config: RuntimeConfig, model_path: str) -> tuple[str, ...]:
        """Context, slots and cache type are numbers of the frozen RuntimeConfig and are spelled here, for the
        image that the runtime runs in; as ready-made flags they would change what running revisions got. All
        slots share one context, of ``concurrency`` times the requested length."""
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
    """A quantized V cache needs flash attention; llama.cpp refuses it otherwise."""
    if not kind:
        return ()
    spelled = CACHE_TYPES.get(kind, kind)
    return ("--cache-type-k", spelled, "--cache-type-v", spelled, "--flash-attn", "on")


RUN: RunHalf = LlamaCpp()
