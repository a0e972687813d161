"""Custom engines for the runtime, with or without a preset: command line and environment."""

from __future__ import annotations

import re
from collections.abc import Mapping

from tacho_contract.failure import FailedError, FailureClass
from tacho_contract.launch import RuntimeConfig
from tacho_contract.pod import HEALTH_PATH
from tacho_engines.base import RuntimeAdapter
from tacho_engines.run_parts import ALL_FILES
from tacho_engines.shared.default_run import DefaultRun, vllm_caches
from tacho_engines.shared.metrics import VLLM_FAMILY, MetricNames

FILES = ALL_FILES
"""All files of the model, unparsed, since it is unknown which of them the server loads."""
METRICS = MetricNames(
    running=(*VLLM_FAMILY.running, "sglang:num_running_reqs", "tgi_batch_current_size"),
    waiting=(*VLLM_FAMILY.waiting, "sglang:num_queue_reqs", "tgi_queue_size"),
    generated_tokens=(
        *VLLM_FAMILY.generated_tokens,
        "sglang:generation_tokens_total",
        "tgi_request_generated_tokens_sum",
        "completion_tokens_sum",
    ),
    prompt_tokens=(
        *VLLM_FAMILY.prompt_tokens,
        "sglang:prompt_tokens_total",
        "tgi_request_input_length_sum",
        "prompt_tokens_sum",
    ),
    cached_prompt_tokens=(*VLLM_FAMILY.cached_prompt_tokens, "sglang:cached_tokens_total"),
    by_step=VLLM_FAMILY.by_step,
    kv_cache_usage=(*VLLM_FAMILY.kv_cache_usage, "sglang:token_usage"),
    preemptions=VLLM_FAMILY.preemptions,
    first_token_seconds=(*VLLM_FAMILY.first_token_seconds, "sglang:time_to_first_token_seconds"),
    output_token_seconds=VLLM_FAMILY.output_token_seconds,
    cache_config=VLLM_FAMILY.cache_config,
)
"""Metric names of vLLM and of the presets' servers. TensorRT-LLM serves JSON, text-generation-webui no
metrics.

Source: SGLang 0.5.23 srt/observability/metrics_collector.py; TGI 3.3.7 docs/source/reference/metrics.md; MLC
0.26.dev0 cpp/serve/metrics.cc (of a single engine, without labels).
"""

_REFERENCE = re.compile(r"\$\$|\$\((?P<name>[^)]*)\)")


def expand(text: str, values: Mapping[str, str]) -> str:
    """``text`` with each $(NAME) replaced by its value; $$ stands for one $, as in a pod's ``command``.

    An unknown $(TACHO_…) is a typing error: raises FailedError(InvalidConfig). Any other unknown $(NAME)
    stays as it is, by the kubelet's rule.
    """

    def replace(match: re.Match[str]) -> str:
        name = match.group("name")
        if name is None:
            return "$"
        if name in values:
            return values[name]
        if name.startswith("TACHO_"):
            raise FailedError.of(
                FailureClass.INVALID_CONFIG,
                f"spec.engine.custom.command holds $({name}), which does not exist",
                f"use one of {', '.join(f'$({known})' for known in values)}, or $$ for a $",
            )
        return match.group(0)

    return _REFERENCE.sub(replace, text)


class Custom(DefaultRun):
    """The runtime adapter of ``engine.name: custom``: a server that the user's command or a preset starts."""

    name = "custom"
    program = "the engine"

    def api_key_variable(self, config: RuntimeConfig) -> str:
        return config.custom.api_key_variable if config.custom else ""

    def version_path(self, config: RuntimeConfig) -> str:
        return config.custom.version_path if config.custom else ""

    def health_path(self, config: RuntimeConfig) -> str:
        return config.custom.health_path if config.custom else HEALTH_PATH

    def command(self, config: RuntimeConfig, model_path: str) -> tuple[str, ...]:
        """The user's or the preset's command line. Raises FailedError(InvalidConfig)."""
        written = (*config.entrypoint, *(config.custom.command if config.custom else ()))
        if not written:
            raise FailedError.of(
                FailureClass.INVALID_CONFIG,
                "engine custom has no command",
                "set spec.engine.custom.command or preset",
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

    def environment(self, config: RuntimeConfig) -> Mapping[str, str]:
        """Environment variables for cache folders, as most servers on PyTorch read them."""
        return vllm_caches(config.paths.cache_dir)


RUN: RuntimeAdapter = Custom()
