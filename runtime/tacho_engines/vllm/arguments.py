"""The switches that a plan freezes for vLLM: method, type, and what ``settings.planned_settings`` adds.

The memory model counts with the same settings. The model's path and the port are the run's to add.
"""

from __future__ import annotations

from tacho_engines.base import Context, Placement
from tacho_engines.shared.checkpoints import stored_method
from tacho_engines.shared.images import version_key
from tacho_engines.vllm.settings import planned_settings

QUANTIZATION = {"fp8": "fp8", "bnb-nf4": "bitsandbytes"}
"""--quantization of the methods that are applied in flight; of all others the checkpoint says it."""
FP8_NEEDS_CHOICE = "0.32"
"""From here vLLM wants the kind of scaling named when it quantizes to FP8 in flight."""


def arguments(placement: Placement, context: Context) -> tuple[str, ...]:
    """Quantization, a 16-bit type the GPU has, and what the engine's defaults would do otherwise."""
    words = [*_quantization(placement), *_dtype(placement)]
    for name, value in planned_settings(placement, context).added.items():
        words += [f"--{name}", value]
    return tuple(words)


def _quantization(placement: Placement) -> tuple[str, ...]:
    method = placement.method.method
    if method not in QUANTIZATION or stored_method(placement.facts) == method:
        return ()
    named = QUANTIZATION[method]
    if named == "fp8" and version_key(placement.version) >= version_key(FP8_NEEDS_CHOICE):
        named = "fp8_per_tensor"
    return "--quantization", named


def _dtype(placement: Placement) -> tuple[str, ...]:
    gpu = placement.device
    in_half = gpu.capability != (0, 0) and not gpu.has_bf16 and placement.architecture.dtype != "float16"
    return ("--dtype", "half") if in_half else ()
