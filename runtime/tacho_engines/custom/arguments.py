"""The switches that a plan freezes for a preset."""

from __future__ import annotations

from tacho_engines.base import Context, Placement
from tacho_engines.row import Preset


def arguments(placement: Placement, context: Context, preset: Preset) -> tuple[str, ...]:
    """The planned context, how the model is spread, and what the user asked of the weights and the cache."""
    figures = {
        "max_model_len": context.max_model_len,
        "longest_prompt": context.max_model_len - 1,
        "concurrency": context.concurrency,
        "tensor": placement.tensor,
        "pipeline": placement.pipeline,
    }
    options = placement.options
    words = (
        *preset.context,
        *(preset.tensor if placement.tensor > 1 else ()),
        *((preset.pipeline or ()) if placement.pipeline > 1 else ()),
        *preset.methods[placement.method.method],
        *(preset.cache_types[options.kv_cache_dtype] if options.kv_cache_dtype else ()),
        *(preset.trust_remote_code if options.trust_remote_code else ()),
    )
    return tuple(word.format_map(figures) for word in words)
