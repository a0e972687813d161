"""The engine's own counters, from its Prometheus text. Pure. None is unknown, never zero."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from tacho_engines.shared.metrics import MetricNames, first_known, kv_cache_tokens

_SAMPLE = re.compile(r"^([a-zA-Z_:][\w:]*)(?:\{(.*)\})?\s+(\S+)")
_LABEL = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"')


@dataclass(frozen=True, slots=True, kw_only=True)
class Counters:
    generated_tokens: float | None = None
    cached_prompt_tokens: float | None = None
    kv_cache_tokens: int | None = None


def parse(text: str, families: Sequence[MetricNames]) -> Counters:
    """Sums over label sets (one per data-parallel rank), by the names of any of ``families``."""
    generated = tuple(name for names in families for name in names.generated_tokens)
    cached = tuple(name for names in families for name in names.cached_prompt_tokens)
    counted = {*generated, *cached}
    configs = {names.cache_config for names in families if names.cache_config}
    sums: dict[str, float] = {}
    cache_tokens: int | None = None
    for line in text.splitlines():
        match = _SAMPLE.match(line)
        if match is None:
            continue
        name, labels, value = match.groups()
        if name in counted:
            try:
                sums[name] = sums.get(name, 0.0) + float(value)
            except ValueError:
                continue
        elif name in configs:
            cache_tokens = kv_cache_tokens(dict(_LABEL.findall(labels or "")))
    return Counters(
        generated_tokens=first_known(generated, sums),
        cached_prompt_tokens=first_known(cached, sums),
        kv_cache_tokens=cache_tokens,
    )


def others_tokens(before: Counters, after: Counters, *, received: float) -> float | None:
    """Tokens the engine made for someone else, between two readings around all of the probe's requests.

    What an engine still makes after a hang-up counts here too, so a few are no sign of anybody.
    """
    if before.generated_tokens is None or after.generated_tokens is None:
        return None
    made = after.generated_tokens - before.generated_tokens
    return made - received if made >= 0 else None
