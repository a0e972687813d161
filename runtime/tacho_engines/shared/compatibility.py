"""What rules an engine out before memory is looked at, as far as its row says it."""

from __future__ import annotations

from tacho_contract.failure import FailureClass
from tacho_engines.base import Placement, Refusal
from tacho_engines.hardware.gpus import is_slice
from tacho_engines.row import EngineRow, MethodRow
from tacho_engines.shared.checkpoints import is_quantized, wrong_checkpoint
from tacho_engines.shared.images import lacks_plugin, version_key
from tacho_engines.shared.switches import parse_arguments

CONVERTED = "ct2"
"""Format of a model that is converted already, whatever it was."""


def refused(failure_class: str, message: str, next_step: str = "") -> Refusal:
    return Refusal(failure_class=failure_class, message=message, next_step=next_step)


def model_refusal(row: EngineRow, placement: Placement) -> Refusal | None:
    """Why the engine cannot load this checkpoint by this method."""
    facts, method = placement.facts, placement.method
    if placement.options.trust_remote_code and not row.executes_model_code:
        words = f"model.trustRemoteCode has no effect: {row.name} executes no code of a model's repository"
        return refused(FailureClass.INVALID_CONFIG, words, "Remove model.trustRemoteCode")
    if facts.format not in row.formats:
        return refused(FailureClass.UNSUPPORTED_QUANTIZATION, f"{row.name} does not load {facts.format}")
    name = placement.architecture.name
    if row.architectures and facts.format != CONVERTED and name and name not in row.architectures:
        return refused(FailureClass.ENGINE_NOT_SUPPORTED, f"{row.name} cannot convert {name}")
    if words := wrong_checkpoint(method, facts):
        return refused(FailureClass.UNSUPPORTED_QUANTIZATION, words)
    if facts.tokenizer is False and "tokenizer" not in parse_arguments(placement.options.arguments):
        return refused(
            FailureClass.MODEL_INVALID,
            "the model has no tokenizer, without which no request can be answered",
            "Put the tokenizer's files (tokenizer.json) beside the weights, or add them to spec.model.files",
        )
    if lacks_plugin(row, placement.image, placement.version, method.method):
        words = f"{placement.image} has no plugin for {method.method}; leave engine.image out"
        return refused(FailureClass.UNSUPPORTED_QUANTIZATION, words)
    return None


def least_capability(method: MethodRow, version: str) -> tuple[int, int]:
    """The least compute capability of ``method`` in ``version``."""
    key = version_key(version)
    for before, major, minor in method.older:
        if key and key < version_key(before):
            return major, minor
    return method.capability


def capability_refusal(
    row: EngineRow, placement: Placement, least: tuple[int, int], what: str
) -> Refusal | None:
    """Why the GPU is too old for ``what``."""
    device = placement.device
    if (0, 0) != device.capability < least:
        return refused(
            FailureClass.UNSUPPORTED_GPU,
            f"{row.name} {placement.version} runs {what} from compute capability {least[0]}.{least[1]} on; "
            f"{device.product} has {device.compute_capability}",
        )
    return None


def device_refusal(row: EngineRow, placement: Placement) -> Refusal | None:
    """Why the engine does not run on this device, or not on this many."""
    device, method = placement.device, placement.method
    if device.on_host and ("cpu" not in row.devices or method.gpu_only):
        return refused(FailureClass.UNSUPPORTED_GPU, f"{row.name} runs {method.method} on GPUs only")
    if placement.count > 1 and is_slice(device):
        words = f"several of {device.product} may be one GPU; a model is not spread over them"
        return refused(FailureClass.UNSUPPORTED_GPU, words)
    return None


def cache_refusal(row: EngineRow, kind: str) -> Refusal:
    """The engine has no KV cache of the type ``kind``."""
    return refused(FailureClass.UNSUPPORTED_QUANTIZATION, f"{row.name} has no KV cache of type {kind}")


def kept_cache_refusal(row: EngineRow, kind: str, kept: str) -> Refusal | None:
    """The engine has no switch for the type of its KV cache: only what it keeps anyway (``kept``; "": not
    known) may be asked for."""
    if kind in ("", kept):
        return None
    words = f"quantization.kvCacheDtype {kind} has no effect: {row.name} keeps its KV cache in "
    words += kept or "the type that it computes in"
    return refused(FailureClass.UNSUPPORTED_QUANTIZATION, words, "Remove quantization.kvCacheDtype")


def double_quant_refusal(row: EngineRow, placement: Placement, *, chosen: bool = True) -> Refusal | None:
    """quantization.bitsandbytes.doubleQuant has no effect where the checkpoint has decided it, or, with
    ``chosen`` False, the engine, which then always does it."""
    asked, stored = placement.options.double_quant, placement.facts.quantization
    if asked is None or placement.method.method == "bnb-int8":
        return None
    field = f"quantization.bitsandbytes.doubleQuant {str(asked).lower()} has no effect"
    if is_quantized(placement.facts):
        if asked == stored.double_quant:
            return None
        how = "with" if stored.double_quant else "without"
        words = f"{field}: the checkpoint is already quantized, {how} double quantization"
    elif chosen or asked:
        return None
    else:
        words = f"{field}: {row.name} always quantizes with double quantization"
    return refused(FailureClass.INVALID_CONFIG, words, "Remove quantization.bitsandbytes.doubleQuant")


def plain_refusal(row: EngineRow, placement: Placement, kept: str = "") -> Refusal | None:
    """Everything, for an engine that has nothing of its own to say. ``kept``: type of its KV cache."""
    if found := model_refusal(row, placement):
        return found
    least = least_capability(placement.method, placement.version)
    if found := capability_refusal(row, placement, least, placement.method.method):
        return found
    if found := device_refusal(row, placement):
        return found
    return kept_cache_refusal(row, placement.options.kv_cache_dtype, kept)
