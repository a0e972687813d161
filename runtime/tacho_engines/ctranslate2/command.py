"""The command line of CTranslate2's server: paths, ports and figures, then what the plan froze, then the
user's arguments."""

from __future__ import annotations

from tacho_contract.launch import RuntimeConfig


def command(config: RuntimeConfig, model_path: str) -> tuple[str, ...]:
    """The argument vector."""
    return (
        *config.entrypoint,
        *("--model", model_path),
        *("--served-model-name", config.served_name),
        *("--host", config.bind_host),
        *("--port", str(config.engine_port)),
        *("--max-model-len", str(config.max_model_len)),
        *("--max-batch", str(config.concurrency)),
        *(("--cache-dir", config.cache_dir) if config.cache_dir else ()),
        *config.extra_args,
    )
