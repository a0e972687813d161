"""What llama.cpp refuses, whatever the memory."""

from __future__ import annotations

from tacho_contract.failure import FailureClass
from tacho_engines.base import Options, Placement, Refusal
from tacho_engines.llamacpp import placing
from tacho_engines.llamacpp.memory import cache_element_bytes
from tacho_engines.llamacpp.row import ROW
from tacho_engines.shared.compatibility import (
    cache_refusal,
    capability_refusal,
    device_refusal,
    least_capability,
    model_refusal,
    refused,
)
from tacho_engines.shared.switches import parse_arguments

STRETCHING = ("rope-", "yarn-")
"""Switches that change how positions are counted."""


def refusal(placement: Placement) -> Refusal | None:
    """Why llama.cpp cannot run this at all."""
    if placement.facts.format not in ROW.formats:
        return refused(
            FailureClass.UNSUPPORTED_QUANTIZATION,
            f"llama.cpp loads GGUF files, not {placement.facts.format}",
            "Use a GGUF repository of the same model, or another engine",
        )
    least, method = least_capability(placement.method, placement.version), placement.method.method
    return (
        model_refusal(ROW, placement)
        or capability_refusal(ROW, placement, least, method)
        or device_refusal(ROW, placement)
        or _cache_refusal(placement)
        or placing.refusal(placement)
    )


def _cache_refusal(placement: Placement) -> Refusal | None:
    missing = cache_element_bytes(placement.options) is None
    return cache_refusal(ROW, placement.options.kv_cache_dtype) if missing else None


def extends_context(options: Options) -> bool:
    """Whether the user stretches the model's context beyond what it was made for."""
    return any(name.startswith(STRETCHING) for name in parse_arguments(options.arguments))
