"""The switches that a plan freezes for CTranslate2."""

from __future__ import annotations

from tacho_engines.base import Placement

INT8_FLOAT16 = "ct2-int8-float16"
HALF_SINCE = {"bfloat16": (8, 0), "float16": (7, 0)}
"""Least compute capability of the tensor cores for a type. Source: CTranslate2 hardware_support.md."""


def arguments(placement: Placement) -> tuple[str, ...]:
    """Where it computes, and what a checkpoint is converted to; a converted model is served as it is."""
    device = ("--device", "cpu" if placement.device.on_host else "cuda")
    trusted = ("--trust-remote-code",) if placement.options.trust_remote_code else ()
    if placement.facts.format == "ct2":
        return (*device, *trusted)
    return (*device, "--quantization", quantization(placement), *trusted)


def quantization(placement: Placement) -> str:
    """The method in CTranslate2's words. A CPU has no arithmetic in 16 bits: unquantized weights are widened
    once, in the conversion, and not at each start."""
    method = placement.method.method
    if method == INT8_FLOAT16:
        return "int8_float16"
    if method == "ct2-int8":
        return "int8_float32"
    if placement.device.on_host:
        return "float32"
    stored = placement.architecture.dtype
    known, least = placement.device.capability, HALF_SINCE.get(stored, (0, 0))
    return stored if stored in HALF_SINCE and not (0, 0) < known < least else "float16"
