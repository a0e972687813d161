"""What Transformers refuses, whatever the memory."""

from __future__ import annotations

from tacho_contract.failure import FailureClass
from tacho_engines.base import Placement, Refusal
from tacho_engines.memory import kv
from tacho_engines.shared.checkpoints import is_quantized
from tacho_engines.shared.compatibility import double_quant_refusal, plain_refusal, refused
from tacho_engines.shared.switches import parse_arguments
from tacho_engines.transformers.arguments import dtype
from tacho_engines.transformers.row import ROW

CACHED = ("full", "sliding")
"""Kinds of layers that its continuous batching has a cache for. Source: transformers
generation/continuous_batching/cache_allocators."""
PLANNED = {
    "quantization": "spec.quantization.method",
    "double-quant": "spec.quantization.bitsandbytes.doubleQuant",
    "no-double-quant": "spec.quantization.bitsandbytes.doubleQuant",
    "compute-dtype": "spec.quantization.bitsandbytes.computeDtype",
    "dtype": "",
    "device": "spec.gpu.count",
    "max-model-len": "spec.context.maxModelLen",
    "max-batch": "spec.context.concurrency",
    "served-model-name": "spec.model.servedName",
    "trust-remote-code": "spec.model.trustRemoteCode",
    "model": "spec.model",
    "host": "",
    "port": "",
}
"""Switches that the plan has decided, and the field that decides; "": none does."""


def refusal(placement: Placement) -> Refusal | None:
    """Why this cannot be run at all; None when memory decides."""
    return (
        plain_refusal(ROW, placement, dtype(placement))
        or double_quant_refusal(ROW, placement)
        or _compute_refusal(placement)
        or _layers_refusal(placement)
        or _switch_refusal(placement)
    )


def _compute_refusal(placement: Placement) -> Refusal | None:
    """A checkpoint that is quantized already names the type itself (bnb_4bit_compute_dtype)."""
    asked = placement.options.compute_dtype
    if not asked or not is_quantized(placement.facts):
        return None
    return refused(
        FailureClass.INVALID_CONFIG,
        f"quantization.bitsandbytes.computeDtype {asked} has no effect: the checkpoint is already quantized, "
        "and says itself what it is computed in",
        "Remove quantization.bitsandbytes.computeDtype",
    )


def _layers_refusal(placement: Placement) -> Refusal | None:
    other = sorted({g.kind for g in kv.layer_groups(placement.architecture)} - set(CACHED))
    if not other:
        return None
    words = f"Transformers' continuous batching has no cache for layers of kind {other[0]}"
    return refused(FailureClass.ENGINE_NOT_SUPPORTED, words)


def _switch_refusal(placement: Placement) -> Refusal | None:
    for name in parse_arguments(placement.options.arguments):
        if name in PLANNED:
            words = f"--{name} in engine.extraArgs contradicts what is planned"
            field = PLANNED[name]
            return refused(
                FailureClass.INVALID_CONFIG, words, f"Set {field}" if field else f"Remove --{name}"
            )
    return None
