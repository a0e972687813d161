"""The engine's own counters, from its Prometheus text. Pure. None is unknown, never zero."""

from __future__ import annotations

import re
from dataclasses import dataclass

_SAMPLE = re.compile(r"^([a-zA-Z_:][\w:]*)(?:\{(.*)\})?\s+(\S+)")
_LABEL = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"')
_GENERATED = ("vllm:generation_tokens_total", "llamacpp:tokens_predicted_total")
_CACHED = ("vllm:prefix_cache_hits_total", "llamacpp:prompt_tokens_cached_total")
_CACHE_INFO = "vllm:cache_config_info"


@dataclass(frozen=True, slots=True, kw_only=True)
class Counters:
    generated_tokens: float | None = None
    cached_prompt_tokens: float | None = None
    kv_cache_tokens: int | None = None


def _whole(text: str | None) -> int | None:
    return int(text) if text is not None and text.isdigit() else None


def _kv_cache_tokens(labels: dict[str, str]) -> int | None:
    """The engine's own total; blocks x block size is wrong for models with several kinds of layers."""
    stated = _whole(labels.get("kv_cache_size_tokens"))
    if stated is not None:
        return stated
    blocks, size = _whole(labels.get("num_gpu_blocks")), _whole(labels.get("block_size"))
    return blocks * size if blocks is not None and size is not None else None


def parse(text: str) -> Counters:
    """Sums over label sets (one per data-parallel rank)."""
    sums: dict[str, float] = {}
    kv_cache_tokens: int | None = None
    for line in text.splitlines():
        match = _SAMPLE.match(line)
        if match is None:
            continue
        name, labels, value = match.groups()
        if name in _GENERATED or name in _CACHED:
            try:
                sums[name] = sums.get(name, 0.0) + float(value)
            except ValueError:
                continue
        elif name == _CACHE_INFO:
            kv_cache_tokens = _kv_cache_tokens(dict(_LABEL.findall(labels or "")))
    return Counters(
        generated_tokens=next((sums[name] for name in _GENERATED if name in sums), None),
        cached_prompt_tokens=next((sums[name] for name in _CACHED if name in sums), None),
        kv_cache_tokens=kv_cache_tokens,
    )


def others_tokens(before: Counters, after: Counters, *, received: float) -> float | None:
    """Tokens the engine made for someone else, between two readings around all of the probe's requests.

    What an engine still makes after a hang-up counts here too, so a few are no sign of anybody.
    """
    if before.generated_tokens is None or after.generated_tokens is None:
        return None
    made = after.generated_tokens - before.generated_tokens
    return made - received if made >= 0 else None
