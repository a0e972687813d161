"""What tacho's server of in-process engines calls its figures, see ``tacho_server/metrics.py``."""

from __future__ import annotations

from tacho_engines.shared.metrics import MetricNames

METRICS = MetricNames(
    running=("tacho_server_requests_running",),
    waiting=("tacho_server_requests_waiting",),
    generated_tokens=("tacho_server_generation_tokens_total",),
    prompt_tokens=("tacho_server_prompt_tokens_total",),
    by_step=frozenset({"tacho_server_generation_tokens_total"}),
    first_token_seconds=("tacho_server_time_to_first_token_seconds",),
    kv_cache_usage=("tacho_server_kv_cache_usage_ratio",),
)
