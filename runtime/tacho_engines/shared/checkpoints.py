"""What a checkpoint is already quantized to, and whether a method can run it as it is."""

from __future__ import annotations

from tacho_contract.model import ModelFacts
from tacho_engines.row import MethodRow

BITSANDBYTES = {"int8": "bnb-int8", "nf4": "bnb-nf4", "fp4": "bnb-fp4"}
STORED_AS = {
    "awq": "awq",
    "gptq": "gptq",
    "compressed-tensors": "compressed-tensors",
    "fp8": "fp8",
    "fbgemm_fp8": "fp8",
    "gguf": "gguf",
}
"""A checkpoint's own quantization in the words of spec.quantization.method."""


def stored_method(facts: ModelFacts) -> str:
    """The method that serves the checkpoint as it is. Formats without a word of their own (mxfp4, modelopt)
    are ``none``: taken as they are."""
    stored = facts.quantization
    if facts.format == "gguf":
        return "gguf"
    if stored.method == "bitsandbytes":
        return BITSANDBYTES.get(stored.scheme, "bnb-nf4")
    return STORED_AS.get(stored.method, "none")


def is_quantized(facts: ModelFacts) -> bool:
    """Whether the checkpoint's weights are already below 16 bits."""
    return facts.format == "gguf" or facts.quantization.method not in ("", "none")


def wrong_checkpoint(row: MethodRow, facts: ModelFacts) -> str:
    """Why this checkpoint cannot be run by ``row``, in words; "" when it can."""
    stored = stored_method(facts)
    if is_quantized(facts):
        if row.method == stored and row.how != "converted":
            return ""
        return (
            f"the checkpoint is already quantized ({facts.quantization.scheme or facts.quantization.method})"
        )
    if row.how == "stored" and row.method != "none":
        return f"{row.method} needs a checkpoint that was quantized beforehand"
    return ""
