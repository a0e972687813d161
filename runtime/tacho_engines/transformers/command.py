"""The command line of ``tacho_transformers``: paths and ports, the plan's figures, then the plan's own
switches and the user's."""

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
        *config.extra_args,
    )
