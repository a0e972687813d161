"""llama-server's command line: the plan's figures, then paths and ports, then the user's arguments.

Context, slots and cache type stand in the frozen RuntimeConfig as figures and are spelled here, for the image
that the runtime finds itself in; as ready-made flags they would change what running revisions were given.
"""

from __future__ import annotations

from tacho_contract.launch import RuntimeConfig


def command(config: RuntimeConfig, model_path: str) -> tuple[str, ...]:
    """The argument vector."""
    return (
        *config.entrypoint,
        *("--model", model_path),
        *("--alias", config.served_name),
        *("--host", config.bind_host),
        *("--port", str(config.engine_port)),
        *planned_flags(config),
        *config.extra_args,
    )


def planned_flags(config: RuntimeConfig) -> tuple[str, ...]:
    """What follows from the plan. All slots share one context: it is ``concurrency`` times as long."""
    return (
        *("--ctx-size", str(config.max_model_len * config.concurrency)),
        *("--parallel", str(config.concurrency)),
        # Idle prompts would otherwise take up to 8 GiB of memory that nobody planned.
        *("--cache-ram", "0"),
        "--metrics",
        *_cache_type(config.kv_cache_dtype),
    )


CACHE_TYPES = {"bfloat16": "bf16"}
"""Types that llama.cpp spells its own way."""


def _cache_type(kind: str) -> tuple[str, ...]:
    """A quantized V cache wants flash attention; llama.cpp refuses it otherwise."""
    if not kind:
        return ()
    spelled = CACHE_TYPES.get(kind, kind)
    return ("--cache-type-k", spelled, "--cache-type-v", spelled, "--flash-attn", "on")
