"""The names of engines' Prometheus metrics by meaning, and the names that several engines share. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class MetricNames:
    """Metric names of an engine: for each meaning, the newest name first; () where it has none."""

    running: tuple[str, ...] = ()
    """Metrics of the number of requests that are being processed."""
    waiting: tuple[str, ...] = ()
    unfinished: tuple[str, ...] = ()
    """Metrics of the requests in any phase: those that still arrive and those whose answer is not yet sent,
    too."""
    generated_tokens: tuple[str, ...] = ()
    by_step: frozenset[str] = frozenset()
    """The metrics of ``generated_tokens`` that advance at every step; the others advance when a request
    ends."""
    steps: tuple[str, ...] = ()
    """Metrics of the steps that the engine has computed: they advance while a prompt or an answer does."""
    prompt_tokens: tuple[str, ...] = ()
    cached_prompt_tokens: tuple[str, ...] = ()
    """Metrics of the prompt tokens that a prefix cache provided."""
    computed_alone: frozenset[str] = frozenset()
    """Those metrics of ``prompt_tokens`` that leave out cached tokens."""
    kv_cache_usage: tuple[str, ...] = ()
    """Share of the KV cache in use, 0 to 1."""
    preemptions: tuple[str, ...] = ()
    first_token_seconds: tuple[str, ...] = ()
    """Summaries or histograms of the time to first token; each has a ``_sum`` and a ``_count``."""
    output_token_seconds: tuple[str, ...] = ()
    """Histograms of each request's mean time per output token; histograms over single tokens do not count."""
    cache_config: str = ""
    """A metric whose labels have the size of the KV cache (see ``kv_cache_tokens``); "": none."""


VLLM_FAMILY = MetricNames(
    running=("vllm:num_requests_running",),
    waiting=("vllm:num_requests_waiting",),
    generated_tokens=("vllm:generation_tokens_total",),
    prompt_tokens=("vllm:prompt_tokens_total",),
    cached_prompt_tokens=("vllm:prefix_cache_hits_total",),
    by_step=frozenset({"vllm:generation_tokens_total"}),
    kv_cache_usage=("vllm:kv_cache_usage_perc", "vllm:gpu_cache_usage_perc"),
    preemptions=("vllm:num_preemptions_total",),
    first_token_seconds=("vllm:time_to_first_token_seconds",),
    output_token_seconds=("vllm:request_time_per_output_token_seconds",),
    cache_config="vllm:cache_config_info",
)
"""vLLM's names, which forks of it and servers in front of it keep."""


def first_known(names: tuple[str, ...], metrics: Mapping[str, float]) -> float | None:
    """The value of the first of ``names`` that the metrics contain; None: none."""
    return next((metrics[name] for name in names if name in metrics), None)


def kv_cache_tokens(labels: Mapping[str, str]) -> int | None:
    """The KV cache's size in tokens, from the labels of ``MetricNames.cache_config``; None where unknown.

    The engine's own total where it reports one: blocks x block size is wrong for models with several kinds of
    layers.
    """
    stated = _digits(labels.get("kv_cache_size_tokens"))
    if stated is not None:
        return stated
    blocks, size = _digits(labels.get("num_gpu_blocks")), _digits(labels.get("block_size"))
    return blocks * size if blocks is not None and size is not None else None


def _digits(text: str | None) -> int | None:
    """``text`` as a number; None where it is none, or too large for a KV cache."""
    return int(text) if text is not None and text.isdecimal() and len(text) <= 9 else None
