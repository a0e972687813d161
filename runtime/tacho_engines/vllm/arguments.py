"""The switches that a plan freezes for vLLM. The model's path, name and port are the run's to add.

The memory model counts with the same settings. What the user said in engine.extraArgs is not said again:
it comes after these, and the last of a repeated switch counts.
"""

from __future__ import annotations

from collections.abc import Iterator

from tacho_engines.base import Context, Placement
from tacho_engines.shared.checkpoints import stored_method
from tacho_engines.shared.images import version_key
from tacho_engines.vllm import host
from tacho_engines.vllm.settings import planned_settings, switches

QUANTIZATION = {"fp8": "fp8", "bnb-nf4": "bitsandbytes"}
"""--quantization of the methods that are applied in flight; of all others the checkpoint says it."""
FP8_NEEDS_CHOICE = "0.32"
"""From here vLLM wants the kind of scaling named when it quantizes to FP8 in flight."""
ALSO = {
    "tensor-parallel-size": ("tp",),
    "pipeline-parallel-size": ("pp",),
    "quantization": ("q",),
    "enforce-eager": ("no-enforce-eager",),
    "kv-cache-memory-bytes": ("kv-cache-memory",),
}
"""Other spellings of a switch, and its opposite."""


def arguments(placement: Placement, context: Context) -> tuple[str, ...]:
    """Everything that follows from the plan: context, spread, quantization, types, and what the engine's own
    defaults would do otherwise."""
    given = switches(placement.options)
    words: list[str] = []
    for name, value in _switches(placement, context):
        if name not in given and not any(other in given for other in ALSO.get(name, ())):
            words += [f"--{name}", value] if value else [f"--{name}"]
    return tuple(words)


def _switches(placement: Placement, context: Context) -> Iterator[tuple[str, str]]:
    """(name, value) of every switch; "" for one without a value."""
    options = placement.options
    yield "max-model-len", str(context.max_model_len)
    if placement.tensor > 1:
        yield "tensor-parallel-size", str(placement.tensor)
    if placement.pipeline > 1:
        yield "pipeline-parallel-size", str(placement.pipeline)
    if quantization := _quantization(placement):
        yield "quantization", quantization
    if in_half(placement):
        yield "dtype", "half"
    if options.kv_cache_dtype:
        yield "kv-cache-dtype", options.kv_cache_dtype
    if options.trust_remote_code:
        yield "trust-remote-code", ""
    if placement.device.on_host:
        yield from host.added(placement, context).items()
    else:
        yield from planned_settings(placement, context).added.items()


def _quantization(placement: Placement) -> str:
    method = placement.method.method
    if method not in QUANTIZATION or stored_method(placement.facts) == method:
        return ""
    named = QUANTIZATION[method]
    if named == "fp8" and version_key(placement.version) >= version_key(FP8_NEEDS_CHOICE):
        named = "fp8_per_tensor"
    return named


def in_half(placement: Placement) -> bool:
    """Whether a model in bfloat16 has to run in float16: the GPU lacks the type."""
    gpu = placement.device
    return gpu.capability != (0, 0) and not gpu.has_bf16 and placement.architecture.dtype != "float16"
