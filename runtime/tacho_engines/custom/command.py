"""The command line of an engine the person brings or names, with what only the pod knows put in."""

from __future__ import annotations

import re
from collections.abc import Mapping

from tacho_contract.failure import FailedError, Failure, FailureClass
from tacho_contract.launch import RuntimeConfig

_REFERENCE = re.compile(r"\$\$|\$\((?P<name>[^)]*)\)")


def command(config: RuntimeConfig, model_path: str) -> tuple[str, ...]:
    """The argument vector. Raises FailedError(InvalidConfig)."""
    written = (*config.entrypoint, *(config.custom.command if config.custom else ()))
    if not written:
        raise FailedError(
            Failure(
                failure_class=FailureClass.INVALID_CONFIG,
                message="engine custom has no command",
                next_step="set spec.engine.custom.command or preset",
            )
        )
    values = {
        "TACHO_MODEL_PATH": model_path,
        "TACHO_SERVED_NAME": config.served_name,
        "TACHO_HOST": config.bind_host,
        "TACHO_PORT": str(config.engine_port),
        "TACHO_MAX_MODEL_LEN": str(config.max_model_len),
        "TACHO_CONCURRENCY": str(config.concurrency),
        "TACHO_QUANTIZATION": config.quantization_method,
        "TACHO_KV_CACHE_DTYPE": config.kv_cache_dtype or "auto",
        "TACHO_TENSOR_PARALLEL": str(config.tensor_parallel),
        "TACHO_PIPELINE_PARALLEL": str(config.pipeline_parallel),
    }
    return (*(expand(argument, values) for argument in written), *config.extra_args)


def expand(text: str, values: Mapping[str, str]) -> str:
    """``text`` with each $(NAME) replaced; $$ stands for one $, as in a pod's ``command``.

    A $(NAME) outside the TACHO_ family stays as it is (the kubelet's rule for unknown names); an
    unknown $(TACHO_…) is a typing error. Raises FailedError(InvalidConfig) for that.
    """

    def replace(match: re.Match[str]) -> str:
        name = match.group("name")
        if name is None:
            return "$"
        if name in values:
            return values[name]
        if name.startswith("TACHO_"):
            raise FailedError(
                Failure(
                    failure_class=FailureClass.INVALID_CONFIG,
                    message=f"spec.engine.custom.command holds $({name}), which does not exist",
                    next_step=f"use one of {', '.join(f'$({known})' for known in values)}, or $$ for a $",
                )
            )
        return match.group(0)

    return _REFERENCE.sub(replace, text)
