"""What a preset refuses: what its server has no switch for."""

from __future__ import annotations

from tacho_contract.failure import FailureClass
from tacho_engines.base import Placement, Refusal
from tacho_engines.row import Preset
from tacho_engines.shared.compatibility import refused


def refusal(placement: Placement, preset: Preset) -> Refusal | None:
    """The first field that would have no effect. The API refuses all of them as well, by rules made from the
    same data."""
    options, method = placement.options, placement.method.method
    name = f"the preset {preset.name}"
    if placement.device.on_host:
        return refused(FailureClass.UNSUPPORTED_GPU, f"{name} runs on GPUs", "Set gpu.count to 1 or more")
    if method not in preset.methods:
        return refused(
            FailureClass.UNSUPPORTED_QUANTIZATION,
            f"{name} has no switch for quantization.method {method}",
            f"Set quantization.method to one of: {', '.join(preset.methods)}",
        )
    if options.kv_cache_dtype and options.kv_cache_dtype not in preset.cache_types:
        known = ", ".join(preset.cache_types)
        return refused(
            FailureClass.UNSUPPORTED_QUANTIZATION,
            f"{name} has no switch for quantization.kvCacheDtype {options.kv_cache_dtype}",
            f"Set it to one of: {known}" if known else "Remove quantization.kvCacheDtype",
        )
    if options.trust_remote_code and not preset.trust_remote_code:
        return refused(
            FailureClass.INVALID_CONFIG,
            f"{name} executes no code of a model's repository",
            "Remove model.trustRemoteCode",
        )
    if (options.pipeline or 1) > 1 and preset.pipeline is None:
        return refused(
            FailureClass.INVALID_CONFIG,
            f"{name} has no switch for parallelism.pipeline",
            "Remove it, or set parallelism.tensor to gpu.count",
        )
    return None
