"""An engine the person brings: its command is expanded, its metrics are read if they have vLLM's names."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from tacho_contract.failure import FailedError, Failure, FailureClass
from tacho_contract.launch import RuntimeConfig
from tacho_contract.pod import HEALTH_PATH
from tacho_engines.base import Exit, LoadFigures, whole
from tacho_engines.signs import Sign, classify

_REFERENCE = re.compile(r"\$\$|\$\((?P<name>[^)]*)\)")

SIGNS = (
    Sign(
        pattern=re.compile(r"(?i)address already in use"),
        failure_class=FailureClass.PORT_IN_USE,
        message="the engine's port is taken by another process",
        next_step="make the engine listen on $(TACHO_PORT), and nothing else in the pod",
    ),
)


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


class Custom:
    """``engine.name: custom``."""

    name = "custom"
    api_key_variable = "VLLM_API_KEY"
    version_path = "/version"

    def version(self, document: Mapping[str, object]) -> str:
        version = document.get("version")
        return version if isinstance(version, str) else ""

    def health_path(self, config: RuntimeConfig) -> str:
        return config.custom.health_path if config.custom else HEALTH_PATH

    def command(self, config: RuntimeConfig, model_path: str) -> tuple[str, ...]:
        if config.custom is None or not config.custom.command:
            raise FailedError(
                Failure(
                    failure_class=FailureClass.INVALID_CONFIG,
                    message="engine custom has no command",
                    next_step="set spec.engine.custom.command",
                )
            )
        values = {
            "TACHO_MODEL_PATH": model_path,
            "TACHO_SERVED_NAME": config.served_name,
            "TACHO_PORT": str(config.engine_port),
            "TACHO_MAX_MODEL_LEN": str(config.max_model_len),
            "TACHO_CONCURRENCY": str(config.concurrency),
        }
        command = tuple(expand(argument, values) for argument in config.custom.command)
        return (*config.entrypoint, *command, *config.extra_args)

    def load(self, metrics: Mapping[str, float]) -> LoadFigures:
        """vLLM's names; engines of its family (and many mocks) use them."""
        usage = metrics.get("vllm:kv_cache_usage_perc", metrics.get("vllm:gpu_cache_usage_perc"))
        return LoadFigures(
            running=whole(metrics.get("vllm:num_requests_running")),
            waiting=whole(metrics.get("vllm:num_requests_waiting")),
            generation_tokens_total=metrics.get("vllm:generation_tokens_total"),
            prompt_tokens_total=metrics.get("vllm:prompt_tokens_total"),
            kv_cache_usage=usage,
        )

    def classify(self, end: Exit, lines: Sequence[str]) -> Failure:
        return classify("the engine", end, lines, SIGNS)
