"""What vLLM will do otherwise than asked or than is fastest, known before a start."""

from __future__ import annotations

from collections.abc import Iterator

from tacho_engines.base import Placement
from tacho_engines.vllm.arguments import in_half
from tacho_engines.vllm.settings import switches

FP8_CAPABILITY = (8, 9)
"""First with matrix products in FP8. Source: vLLM platforms/cuda.py supports_fp8."""


def fallbacks(placement: Placement) -> tuple[str, ...]:
    """A clause each."""
    return tuple(_clauses(placement))


def _clauses(placement: Placement) -> Iterator[str]:
    device, method = placement.device, placement.method
    if method.arithmetic == "fp8" and (0, 0) != device.capability < FP8_CAPABILITY:
        yield f"FP8 weights only, by Marlin: {device.product} does not compute in FP8"
    if in_half(placement):
        yield f"float16 instead of bfloat16, which {device.product} lacks"
    given = switches(placement.options)
    if device.on_host and "no-enforce-eager" not in given:
        yield "eager mode: compiling would need a C++ compiler in the image, and minutes at each start"
    elif "enforce-eager" in given:
        yield "eager mode, as engine.extraArgs ask for: nothing is compiled, no CUDA graphs"
    elif method.method == "bnb-int8":
        yield "eager mode: bitsandbytes' 8 bits run without CUDA graphs"
