"""Checkpoints whose kernel in vLLM has no code for newer GPUs."""

from __future__ import annotations

from tacho_contract.failure import FailureClass
from tacho_engines.base import EngineRefusal, Placement
from tacho_engines.shared.compatibility import refused
from tacho_engines.shared.images import version_key
from tacho_engines.vllm.settings import switches

KNOWN_VERSION = "0.32"
INT8, INT8_UNTIL = "W8A8-int", (9, 0)
"""Scheme of compressed-tensors, and the last compute capability that runs it. Source: wheel 0.32.0, kernels/
linear/scaled_mm/cutlass.py: CutlassInt8ScaledMMLinearKernel takes every GPU, and its code ends on later ones
("Int8 not supported on SM120", vllm#54311)."""
DISABLED, CUTLASS = "VLLM_DISABLED_KERNELS", "CutlassInt8ScaledMMLinearKernel"
CHOSEN = "linear-backend"
"""Prefix of the switches by which the user chooses kernels."""


def too_new_refusal(placement: Placement) -> EngineRefusal | None:
    """The refusal of a GPU that is too new for the checkpoint's kernel; else None."""
    gpu, options = placement.device, placement.options
    known = version_key(placement.version)[:2] == version_key(KNOWN_VERSION)
    if not known or INT8 not in placement.facts.quantization.schemes or gpu.capability <= INT8_UNTIL:
        return None
    disabled = options.env.get(DISABLED, "").split(",")
    if CUTLASS in disabled or any(name.startswith(CHOSEN) for name in switches(options)):
        return None
    return refused(
        FailureClass.UNSUPPORTED_GPU,
        f"vllm {placement.version} runs {INT8} up to compute capability 9.0; {gpu.product} has "
        f"{gpu.compute_capability}",
        f"Use a checkpoint in FP8, or set {DISABLED}={CUTLASS} in engine.env for another kernel",
    )
