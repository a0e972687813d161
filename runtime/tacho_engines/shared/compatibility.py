"""Checks whether an engine supports a model, method and device, by its profile, before memory is computed."""

from __future__ import annotations

from collections.abc import Mapping

from tacho_contract.failure import FailureClass
from tacho_contract.model import ModelFacts
from tacho_engines.base import EngineRefusal, Placement
from tacho_engines.hardware.gpus import is_slice
from tacho_engines.profile import Arithmetic, EngineProfile, MethodSupport
from tacho_engines.shared.images import lacks_plugin, version_key
from tacho_engines.shared.purpose import other_purpose
from tacho_engines.shared.switches import parse_arguments

BITSANDBYTES = {"int8": "bnb-int8", "nf4": "bnb-nf4", "fp4": "bnb-fp4"}
STORED_AS = {
    "awq": "awq",
    "gptq": "gptq",
    "compressed-tensors": "compressed-tensors",
    "fp8": "fp8",
    "fbgemm_fp8": "fp8",
    "gguf": "gguf",
}
"""The value of spec.quantization.method for a checkpoint's own quantization."""


def stored_method(facts: ModelFacts) -> str:
    """The quantization method that serves the checkpoint as it is stored.

    Formats that no method of tacho's names (mxfp4, modelopt) are ``none``.
    """
    stored = facts.quantization
    if facts.format == "gguf":
        return "gguf"
    if stored.method == "bitsandbytes":
        return BITSANDBYTES.get(stored.scheme, "bnb-nf4")
    return STORED_AS.get(stored.method, "none")


UNITS: Mapping[str, Mapping[str, Arithmetic]] = {
    "compressed-tensors": {
        "W8A8-int": "int8",
        "W8A8-float": "fp8",
        "W4A8-float": "fp8",
        "W4A4-float": "fp4",
    },
    "modelopt": {"FP8": "fp8", "MXFP8": "fp8", "NVFP4": "fp4"},
}
"""Number formats of the computation, by the checkpoint's format and scheme; all other schemes compute in 16
bits. Source: vLLM layers/quantization/compressed_tensors/schemes, modelopt.py.
"""
SLOWEST_FIRST: tuple[Arithmetic, ...] = ("fp16", "int8", "fp8", "fp4")
"""Number formats from slow to fast. If layers have several schemes, the slowest one is assumed."""


def arithmetic(placement: Placement) -> Arithmetic:
    """The number format in which a placement's matrix products run for large batches, on a GPU that supports
    it.

    Other GPUs compute in 16 bits.
    """
    stored = placement.facts.quantization
    units = UNITS.get(stored.method)
    if units is None:
        return placement.method.arithmetic
    return min((units.get(one, "fp16") for one in stored.schemes), key=SLOWEST_FIRST.index)


def is_quantized(facts: ModelFacts) -> bool:
    """Whether the checkpoint's weights are already below 16 bits."""
    return facts.format == "gguf" or facts.quantization.method not in ("", "none")


PACKED = ("I32", "U8", "I8", "F8", "F4")
"""Beginnings of the types in which checkpoints store packed weights."""


def packed_dtype(facts: ModelFacts) -> str:
    """The type of weights that are packed in a way which no file names; "": there are none."""
    if facts.format != "safetensors" or facts.quantization.method:
        return ""
    weights = (one for one in facts.tensors if one.kind in ("linear", "latent", "expert"))
    return next((one.dtype for one in weights if one.dtype.startswith(PACKED)), "")


def wrong_checkpoint(profile: MethodSupport, facts: ModelFacts) -> str:
    """Why this checkpoint cannot be run by ``profile``; "" when it can."""
    stored = stored_method(facts)
    if is_quantized(facts):
        if profile.method == stored and profile.how != "converted":
            return ""
        return (
            f"the checkpoint is already quantized ({facts.quantization.scheme or facts.quantization.method})"
        )
    if profile.how == "stored" and profile.method != "none":
        return f"{profile.method} needs a checkpoint that was quantized beforehand"
    return ""


CONVERTED = "ct2"
"""Format of a model that is already converted for CTranslate2."""


def refused(failure_class: str, message: str, next_step: str = "") -> EngineRefusal:
    return EngineRefusal(failure_class=failure_class, message=message, next_step=next_step)


def model_refusal(profile: EngineProfile, placement: Placement) -> EngineRefusal | None:
    """The refusal where the engine cannot load this checkpoint with this method; else None."""
    facts, method = placement.facts, placement.method
    if placement.options.trust_remote_code and not profile.executes_model_code:
        message = (
            f"model.trustRemoteCode has no effect: {profile.name} executes no code of a model's repository"
        )
        return refused(FailureClass.INVALID_CONFIG, message, "Remove model.trustRemoteCode")
    if facts.format not in profile.formats:
        return refused(FailureClass.UNSUPPORTED_QUANTIZATION, f"{profile.name} does not load {facts.format}")
    name = placement.architecture.name
    message, step = other_purpose(placement.architecture)
    if message:
        return refused(FailureClass.ENGINE_NOT_SUPPORTED, f"{message}; {profile.name} cannot serve it", step)
    if profile.architectures and facts.format != CONVERTED and name and name not in profile.architectures:
        return refused(FailureClass.ENGINE_NOT_SUPPORTED, f"{profile.name} cannot convert {name}")
    if message := wrong_checkpoint(method, facts):
        return refused(FailureClass.UNSUPPORTED_QUANTIZATION, message)
    if facts.tokenizer is False and "tokenizer" not in parse_arguments(placement.options.arguments):
        step = (
            "Put the tokenizer's files (tokenizer.json) beside the weights, or add them to spec.model.files"
        )
        if placement.architecture.needs_remote_code and not placement.options.trust_remote_code:
            step += ", or set model.trustRemoteCode to true if code of its repository may run as one"
        message = "the model has no tokenizer, without which no request can be answered"
        return refused(FailureClass.MODEL_INVALID, message, step)
    if lacks_plugin(profile, placement.image, placement.version, method.method):
        message = f"{placement.image} has no plugin for {method.method}; leave engine.image out"
        return refused(FailureClass.UNSUPPORTED_QUANTIZATION, message)
    return None


def least_capability(method: MethodSupport, version: str) -> tuple[int, int]:
    """The least compute capability of a GPU that ``method`` needs in the engine's ``version``."""
    key = version_key(version)
    for before, major, minor in method.older:
        if key and key < version_key(before):
            return major, minor
    return method.capability


def capability_refusal(
    profile: EngineProfile, placement: Placement, least: tuple[int, int], what: str
) -> EngineRefusal | None:
    """The refusal of a GPU with a compute capability below ``least``. ``what``: the feature that needs it."""
    device = placement.device
    if (0, 0) != device.capability < least:
        return refused(
            FailureClass.UNSUPPORTED_GPU,
            f"{profile.name} {placement.version} needs compute capability {least[0]}.{least[1]} or higher "
            f"for {what}; {device.product} has {device.compute_capability}",
        )
    return None


CUDA_13_CAPABILITY = (7, 5)
"""Lowest compute capability that CUDA 13 supports; it dropped Pascal and Volta."""


def cuda_13_refusal(profile: EngineProfile, placement: Placement) -> EngineRefusal | None:
    """The refusal where the image is built with CUDA 13 and the GPU is too old for it; else None."""
    device = placement.device
    if not (0, 0) != device.capability < CUDA_13_CAPABILITY:
        return None
    return refused(
        FailureClass.UNSUPPORTED_GPU,
        f"{profile.name} {placement.version} is built with CUDA 13, which needs compute capability 7.5 or "
        f"higher; {device.product} has {device.compute_capability}",
    )


def device_refusal(profile: EngineProfile, placement: Placement) -> EngineRefusal | None:
    """The refusal where the engine does not run on this kind or number of devices; else None."""
    device, method = placement.device, placement.method
    if device.on_host and ("cpu" not in profile.devices or method.gpu_only):
        return refused(FailureClass.UNSUPPORTED_GPU, f"{profile.name} runs {method.method} on GPUs only")
    if placement.count > 1 and is_slice(device):
        message = f"several of {device.product} may be one GPU; a model is not spread over them"
        return refused(FailureClass.UNSUPPORTED_GPU, message)
    return None


def cache_refusal(profile: EngineProfile, kind: str) -> EngineRefusal:
    """The refusal of the KV cache type ``kind``, which the engine does not have."""
    return refused(FailureClass.UNSUPPORTED_QUANTIZATION, f"{profile.name} has no KV cache of type {kind}")


def kept_cache_refusal(profile: EngineProfile, kind: str, kept: str) -> EngineRefusal | None:
    """The refusal of the KV cache type ``kind`` by an engine that has no argument for it; None: the engine
    uses that type anyway.

    ``kept``: the type that the engine uses; "": unknown.
    """
    if kind in ("", kept):
        return None
    message = f"quantization.kvCacheDtype {kind} has no effect: {profile.name} keeps its KV cache in "
    message += kept or "the type that it computes in"
    return refused(FailureClass.UNSUPPORTED_QUANTIZATION, message, "Remove quantization.kvCacheDtype")


def double_quant_refusal(
    profile: EngineProfile, placement: Placement, *, chosen: bool = True
) -> EngineRefusal | None:
    """The refusal of quantization.bitsandbytes.doubleQuant where it would have no effect; else None.

    The checkpoint is quantized already, or (``chosen`` False) the engine always uses double quantization.
    """
    requested, stored = placement.options.double_quant, placement.facts.quantization
    if requested is None or placement.method.method == "bnb-int8":
        return None
    field = f"quantization.bitsandbytes.doubleQuant {str(requested).lower()} has no effect"
    if is_quantized(placement.facts):
        if requested == stored.double_quant:
            return None
        how = "with" if stored.double_quant else "without"
        message = f"{field}: the checkpoint is already quantized, {how} double quantization"
    elif chosen or requested:
        return None
    else:
        message = f"{field}: {profile.name} always quantizes with double quantization"
    return refused(FailureClass.INVALID_CONFIG, message, "Remove quantization.bitsandbytes.doubleQuant")


def plain_refusal(profile: EngineProfile, placement: Placement, kept: str = "") -> EngineRefusal | None:
    """The first refusal by the profile alone; None: none. ``kept``: the type of the engine's KV cache."""
    if found := model_refusal(profile, placement):
        return found
    least = least_capability(placement.method, placement.version)
    if found := capability_refusal(profile, placement, least, placement.method.method):
        return found
    if found := device_refusal(profile, placement):
        return found
    return kept_cache_refusal(profile, placement.options.kv_cache_dtype, kept)
