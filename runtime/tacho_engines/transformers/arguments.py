"""The switches that a plan freezes for Transformers: what the memory model counts with.

Paths, ports, length and batch are the run's to add.
"""

from __future__ import annotations

from tacho_engines.base import Placement
from tacho_engines.shared.checkpoints import is_quantized

FOUR_BITS = ("bnb-nf4", "bnb-fp4")
IN_FLIGHT = ("bnb-int8", *FOUR_BITS)
"""Applied by bitsandbytes while loading; of all others the checkpoint says it."""


def arguments(placement: Placement) -> tuple[str, ...]:
    """Device, method, types, and leave to run the model's own code."""
    options = placement.options
    words = ["--device", "cpu" if placement.device.on_host else "cuda"]
    method = placement.method.method
    if method in IN_FLIGHT and not is_quantized(placement.facts):
        words += ["--quantization", method]
        if method in FOUR_BITS:
            words.append("--no-double-quant" if options.double_quant is False else "--double-quant")
            words += ["--compute-dtype", options.compute_dtype or compute_dtype(placement)]
    words += ["--dtype", dtype(placement)]
    return (*words, "--trust-remote-code") if options.trust_remote_code else tuple(words)


def compute_dtype(placement: Placement) -> str:
    """The 16-bit type that 4-bit weights are multiplied in."""
    return "bfloat16" if _has_bf16(placement) else "float16"


def dtype(placement: Placement) -> str:
    """Of what is not quantized: as stored, in 16 bits, in a type that the device has."""
    if placement.architecture.dtype == "float16" and not placement.device.on_host:
        return "float16"
    return "bfloat16" if _has_bf16(placement) else "float16"


def _has_bf16(placement: Placement) -> bool:
    """A CPU computes bfloat16, and float16 only by detours."""
    return placement.device.on_host or placement.device.capability == (0, 0) or placement.device.has_bf16
