"""Which engine runs which quantization method, and what it takes."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Literal

import tomllib
from pydantic import TypeAdapter

from tacho_contract.model import ModelFacts
from tacho_operator.core.planner.catalog.engines import version_key


@dataclass(frozen=True, slots=True, kw_only=True)
class MethodRow:
    """One row of ``methods.toml``; the fields are explained there."""

    engine: str
    method: str
    how: Literal["stored", "either", "converted"]
    capability: tuple[int, int]
    quality: float
    arithmetic: Literal["fp16", "fp8", "int8"]
    arguments: tuple[str, ...]
    source: str
    older: tuple[tuple[str, int, int], ...] = ()
    """(version, major, minor): the least capability before that version, oldest first."""


@cache
def method_table() -> tuple[MethodRow, ...]:
    """Every (engine, method), in the table's order."""
    text = files(__package__).joinpath("methods.toml").read_text(encoding="utf-8")
    return TypeAdapter(tuple[MethodRow, ...]).validate_python(tomllib.loads(text)["method"])


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


FORMAT_CAPABILITY = {"mxfp4": (8, 0), "fbgemm_fp8": (8, 0)}
"""Of checkpoints whose format needs more than its method does. Source: vLLM layers/quantization/mxfp4.py,
fbgemm_fp8.py get_min_capability (MXFP4's kernels compute in bfloat16)."""


def least_capability(row: MethodRow, facts: ModelFacts, version: str) -> tuple[tuple[int, int], str]:
    """The least compute capability of this checkpoint in ``row``, and of what, in words."""
    key = version_key(version)
    least = row.capability
    for since, major, minor in row.older:
        if key and key < version_key(since):
            least = (major, minor)
            break
    stored = facts.quantization.method
    if row.engine == "vllm" and FORMAT_CAPABILITY.get(stored, least) > least:
        return FORMAT_CAPABILITY[stored], stored
    return least, row.method


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
