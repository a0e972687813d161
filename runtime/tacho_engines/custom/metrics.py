"""Metrics of an engine the person brings or names: names of vLLM, which its family and mocks use, and of the
servers of the presets. TensorRT-LLM answers in JSON, and text-generation-webui has none."""

from __future__ import annotations

from tacho_engines.shared.metrics import VLLM_FAMILY, MetricNames

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
    cache_config=VLLM_FAMILY.cache_config,
)
"""Source: SGLang 0.5.23 srt/observability/metrics_collector.py; TGI 3.3.7 docs/source/reference/metrics.md;
MLC 0.26.dev0 cpp/serve/metrics.cc (of a single engine, without labels)."""
