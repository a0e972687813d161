"""llama-server's metrics: none says how full its KV cache is, and cached prompt tokens are counted apart."""

from __future__ import annotations

from tacho_engines.shared.metrics import MetricNames

METRICS = MetricNames(
    running=("llamacpp:requests_processing",),
    waiting=("llamacpp:requests_deferred",),
    generated_tokens=("llamacpp:tokens_predicted_total",),
    prompt_tokens=("llamacpp:prompt_tokens_total",),
    computed_alone=frozenset({"llamacpp:prompt_tokens_total"}),
    cached_prompt_tokens=("llamacpp:prompt_tokens_cached_total",),
)
