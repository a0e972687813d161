"""How a checkpoint is already quantized, read from the configuration of each quantization format."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from tacho_contract.model import IRREGULAR, REORDERED, SCHEMES_JOINED, SPARSE, StoredQuantization
from tacho_runtime.headers.json_values import integer, mapping, sequence, text
from tacho_runtime.headers.source import invalid
from tacho_runtime.headers.tensors import StoredTensor

GGUF_FILE_TYPES = {
    # llama.h enum llama_ftype
    0: "F32", 1: "F16", 2: "Q4_0", 3: "Q4_1", 7: "Q8_0", 8: "Q5_0", 9: "Q5_1", 10: "Q2_K", 11: "Q3_K_S",
    12: "Q3_K_M", 13: "Q3_K_L", 14: "Q4_K_S", 15: "Q4_K_M", 16: "Q5_K_S", 17: "Q5_K_M", 18: "Q6_K",
    19: "IQ2_XXS", 20: "IQ2_XS", 21: "Q2_K_S", 22: "IQ3_XS", 23: "IQ3_XXS", 24: "IQ1_S", 25: "IQ4_NL",
    26: "IQ3_S", 27: "IQ3_M", 28: "IQ2_S", 29: "IQ2_M", 30: "IQ4_XS", 31: "IQ1_M", 32: "BF16", 36: "TQ1_0",
    37: "TQ2_0", 38: "MXFP4_MOE", 39: "NVFP4", 40: "Q1_0",
}  # fmt: skip


WORD_LIMIT = 128
"""Characters of a word that a configuration chooses: the facts of a model must fit a container's message."""


def stored_quantization(config: dict[str, Any], tensors: Iterable[StoredTensor] = ()) -> StoredQuantization:
    """The quantization in config.json's ``quantization_config`` (or its older names). Method "" without
    one. Raises FailedError for one that is no object, or has NaN or Infinity: no weights are unquantized, or
    of a usual width, by an error."""
    text_config = mapping(config.get("text_config"))
    raw = (
        config.get("quantization_config")
        or config.get("compression_config")
        or text_config.get("quantization_config")
        or _by_mlx(config.get("quantization"))
    )
    if not raw:
        return StoredQuantization()
    try:
        json.dumps(raw, allow_nan=False)
    except ValueError:
        raw = None
    if not isinstance(raw, dict):
        raise invalid("The model's quantization_config is no JSON object, or has NaN or Infinity in it.")
    method = text(raw.get("quant_method")) or text(raw.get("quantization_method"))
    reader = READERS.get(method.lower(), _other)
    if not method and ("config_groups" in raw or "format" in raw):
        method, reader = "compressed-tensors", _compressed_tensors
    if not method and ("load_in_4bit" in raw or "load_in_8bit" in raw):
        method, reader = "bitsandbytes", _bitsandbytes
    if not method and _by_mlx(raw):
        method = "mlx"
    if "quant_algo" in raw or "quant_algo" in mapping(raw.get("quantization")):
        method, reader = "modelopt", _modelopt
    stored = reader({**raw, "quant_method": method})
    heads = (t for t in tensors if "lm_head." in t.name and not t.name.endswith("bias"))
    head = any(t.dtype not in ("BF16", "F16", "F32") for t in heads)
    return replace(
        stored,
        scheme=stored.scheme[:WORD_LIMIT],
        kv_cache_dtype=stored.kv_cache_dtype[:WORD_LIMIT],
        lm_head_quantized=stored.lm_head_quantized or head,
    )


BY_OTHERS = ("desc_act", "sym", "zero_point", "version")
"""Keys of AutoGPTQ and AutoAWQ, which MLX does not write."""


def _by_mlx(raw: Any) -> dict[str, Any]:
    """``raw`` where MLX wrote it, which names no method; else nothing."""
    known = isinstance(raw, dict) and {"bits", "group_size"} <= raw.keys()
    return raw if known and raw.keys().isdisjoint(BY_OTHERS) else {}


def _awq(raw: dict[str, Any]) -> StoredQuantization:
    bits = integer(raw.get("bits")) or integer(raw.get("w_bit")) or 4
    return StoredQuantization(
        method="awq",
        bits=bits,
        group_size=integer(raw.get("group_size")) or integer(raw.get("q_group_size")),
        scheme=f"W{bits}A16",
    )


NOT_QUANTIZED = "-:"
"""Begins a rule of GPTQ's ``dynamic`` for modules that stay as they were. Others change the settings."""


def _gptq(raw: dict[str, Any]) -> StoredQuantization:
    """The quantization of GPTQ, whose rules give some modules other settings.

    Parts of a split model must hold whole groups, of the largest size.
    """
    rules = mapping(raw.get("dynamic")).items()
    changed = [mapping(rule) for pattern, rule in rules if not pattern.startswith(NOT_QUANTIZED)]
    settings = [{**raw, **rule} for rule in ({}, *changed)]
    schemes = {
        f"W{integer(one.get('bits')) or 4}A16" + ("-asym" if one.get("sym") is False else "")
        for one in settings
    }
    reordered = any(one.get("desc_act") is True and one.get("group_size") != -1 for one in settings)
    return StoredQuantization(
        method="gptq",
        bits=integer(raw.get("bits")) or 4,
        group_size=max(0, *(integer(one.get("group_size")) for one in settings)),
        scheme=SCHEMES_JOINED.join((*sorted(schemes), *((REORDERED,) if reordered else ()))),
        lm_head_quantized=raw.get("lm_head") is True,
    )


def _compressed_tensors(raw: dict[str, Any]) -> StoredQuantization:
    """The quantization of compressed-tensors, whose config groups apply to layers by name, class or regular
    expression.

    Parts of a split model must hold whole blocks, of the largest group.
    """
    groups = [mapping(group) for group in mapping(raw.get("config_groups")).values()]
    found = [(mapping(one.get("weights")), mapping(one.get("input_activations"))) for one in groups]
    quantized = [(weights, inputs) for weights, inputs in found if integer(weights.get("num_bits"))]
    cache, schemes = mapping(raw.get("kv_cache_scheme")), {_scheme(*one) for one in quantized}
    if sequence(mapping(raw.get("sparsity_config")).get("targets")) or raw.get("format") == "marlin-24":
        schemes.add(SPARSE)
    orders = [weights.get("actorder") for weights, _ in quantized]
    if any(order is True or text(order).lower() in ("group", "dynamic") for order in orders):
        schemes.add(REORDERED)
    return StoredQuantization(
        method="compressed-tensors",
        bits=min((integer(weights.get("num_bits")) for weights, _ in quantized), default=0),
        group_size=max((_block(weights) for weights, _ in quantized), default=0),
        scheme=SCHEMES_JOINED.join(sorted(schemes, key=lambda one: (one not in IRREGULAR, one))),
        kv_cache_dtype=f"fp{integer(cache.get('num_bits'))}" if cache.get("type") == "float" else "",
    )


def _block(weights: dict[str, Any]) -> int:
    """The side of a config group's blocks: the size of a group, or of an FP8 block, a list or "128x128"."""
    block = weights.get("block_structure")
    sides = [int(n) for n in text(block)[:9].split("x") if n.isdecimal()] or sequence(block)[:2]
    return max([integer(weights.get("group_size")), *map(integer, sides)])


def _scheme(weights: dict[str, Any], inputs: dict[str, Any]) -> str:
    """Name of a config group's variant; it includes the type of the activations if that has not 16 bits."""
    bits, input_bits = integer(weights.get("num_bits")), integer(inputs.get("num_bits")) or 16
    kind = text((inputs if input_bits < 16 else weights).get("type")) or "int"
    return f"W{bits}A{input_bits}" + (f"-{kind}" if input_bits < 16 or kind != "int" else "")


def _fp8(raw: dict[str, Any]) -> StoredQuantization:
    block = sequence(raw.get("weight_block_size"))
    return StoredQuantization(
        method="fp8",
        bits=8,
        group_size=integer(block[0]) if block else 0,
        scheme=("block" if block else "tensor") + f"-{text(raw.get('activation_scheme')) or 'dynamic'}",
        kv_cache_dtype="fp8" if "fp8" in text(raw.get("kv_cache_scheme")).lower() else "",
    )


def _bitsandbytes(raw: dict[str, Any]) -> StoredQuantization:
    four = raw.get("load_in_4bit") is True or raw.get("_load_in_4bit") is True
    storage = text(raw.get("bnb_4bit_quant_storage")) or "uint8"
    four_bits = (text(raw.get("bnb_4bit_quant_type")) or "fp4") + (
        f"-{storage}" if storage != "uint8" else ""
    )
    return StoredQuantization(
        method="bitsandbytes",
        bits=4 if four else 8,
        group_size=64 if four else 0,
        scheme=four_bits if four else "int8",
        double_quant=four and raw.get("bnb_4bit_use_double_quant") is True,
    )


def _mxfp4(_: dict[str, Any]) -> StoredQuantization:
    return StoredQuantization(method="mxfp4", bits=4, group_size=32, scheme="W4A16-mxfp4")


def _modelopt(raw: dict[str, Any]) -> StoredQuantization:
    inner = mapping(raw.get("quantization")) or raw
    algorithm = text(inner.get("quant_algo")).upper()
    cache = text(inner.get("kv_cache_quant_algo")).lower() or text(
        mapping(raw.get("kv_cache_scheme")).get("type")
    )
    four = "FP4" in algorithm or "W4" in algorithm
    return StoredQuantization(
        method="modelopt",
        bits=4 if four else 8,
        group_size=integer(inner.get("group_size")) or (16 if "NVFP4" in algorithm else 0),
        scheme=algorithm,
        kv_cache_dtype="fp8" if cache in ("fp8", "float") else cache,
    )


def _other(raw: dict[str, Any]) -> StoredQuantization:
    return StoredQuantization(
        method=text(raw["quant_method"])[:40] or "unknown",
        bits=integer(raw.get("bits")) or integer(raw.get("num_bits")),
        group_size=max(0, integer(raw.get("group_size"))),
    )


READERS = {
    "awq": _awq,
    "gptq": _gptq,
    "compressed-tensors": _compressed_tensors,
    "compressed_tensors": _compressed_tensors,
    "fp8": _fp8,
    "bitsandbytes": _bitsandbytes,
    "mxfp4": _mxfp4,
    "modelopt": _modelopt,
    "modelopt_fp4": _modelopt,
}
"""Reader function by ``quant_method`` in the configuration. For any other method only the name is kept, and
the planner refuses it.
"""
