"""How a checkpoint is already quantized, read from the configuration of each quantization format."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Any

from tacho_contract.model import (
    IRREGULAR,
    REORDERED,
    SCHEMES_JOINED,
    SPARSE,
    StoredQuantization,
    TensorClass,
)
from tacho_contract.units import listed
from tacho_runtime.headers.json_values import integer, mapping, sequence, text
from tacho_runtime.headers.source import invalid

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


BY_MODELOPT, BY_AWQ, BY_GPTQ = "hf_quant_config.json", "quant_config.json", "quantize_config.json"
SIDE_FILES = (BY_MODELOPT, BY_AWQ, BY_GPTQ)
"""Files beside config.json in which some tools say how the weights are quantized. Source: vLLM 0.32
transformers_utils/config.py get_config; get_config_filenames of auto_awq.py and auto_gptq.py."""
NEEDED = {
    "awq": (("w_bit", "bits"), ("q_group_size", "group_size"), ("zero_point",)),
    "gptq": (("bits",), ("group_size",), ("desc_act",), ("sym",)),
}
"""Keys without which vLLM does not read such a file, each by its names. Source: from_config, as above."""
PACKED_DTYPE = "I32"
"""Type of the packed weights of AWQ and GPTQ."""


def stored_quantization(
    config: dict[str, Any],
    tensors: Iterable[TensorClass] = (),
    side_files: Mapping[str, dict[str, Any]] = MappingProxyType({}),
) -> StoredQuantization:
    """The quantization as vLLM reads it: in config.json, or in SIDE_FILES, by their names. Method "" where
    none is named.

    Raises FailedError for one that is no object, or has NaN or Infinity (no weights are unquantized, or of a
    usual width, by an error), and for a file beside config.json that is incomplete, or not the only one.
    """
    text_config = mapping(config.get("text_config", config.get("llm_config")))
    places = (
        config.get("quantization_config"),
        side_files.get(BY_MODELOPT),
        config.get("compression_config"),
        text_config.get("quantization_config"),
        _by_mlx(config.get("quantization")) or None,
    )
    raw = next((found for found in places if found is not None), None)
    classes = tuple(tensors)
    if raw is None:
        packed = any(one.dtype == PACKED_DTYPE and one.kind in ("linear", "expert") for one in classes)
        stored = _for_vllm(side_files) if packed else StoredQuantization()
    else:
        stored = _declared(raw)
    if not stored.method:
        return StoredQuantization()
    head = any(one.kind == "lm_head" and one.dtype not in ("BF16", "F16", "F32") for one in classes)
    return replace(
        stored,
        scheme=stored.scheme[:WORD_LIMIT],
        kv_cache_dtype=stored.kv_cache_dtype[:WORD_LIMIT],
        lm_head_quantized=stored.lm_head_quantized or head,
    )


def _declared(raw: Any) -> StoredQuantization:
    """The quantization that a ``quantization_config`` names; method "" where it names none."""
    try:
        json.dumps(raw, allow_nan=False)
    except ValueError:
        raw = None
    if not isinstance(raw, dict):
        raise invalid("The model's quantization_config is no JSON object, or has NaN or Infinity in it.")
    method = text(raw.get("quant_method")).lower().replace("compressed_tensors", "compressed-tensors")
    if _is_modelopts_file(raw):
        method = "modelopt"
    if not method and ("load_in_4bit" in raw or "load_in_8bit" in raw):
        method = "bitsandbytes"
    if not method and _by_mlx(raw):
        method = "mlx"
    if not method:
        return StoredQuantization()
    return READERS.get(method, _other)({**raw, "quant_method": method})


def _for_vllm(side_files: Mapping[str, dict[str, Any]]) -> StoredQuantization:
    """The quantization of a file that vLLM reads only if it is told the method; method "" without one."""
    found = [name for name in (BY_AWQ, BY_GPTQ) if name in side_files]
    if not found:
        return StoredQuantization()
    if len(found) > 1:
        raise invalid(
            f"{BY_AWQ} and {BY_GPTQ} both say how the weights are quantized, and engines read one.",
            "Remove the one that is not of these weights from a copy of the model.",
        )
    name, raw = found[0], side_files[found[0]]
    usual = "gptq" if name == BY_GPTQ and "zero_point" not in raw else "awq"
    method = text(raw.get("quant_method")).lower() or usual
    lacks = [names[0] for names in NEEDED.get(method, ()) if raw.keys().isdisjoint(names)]
    if lacks:
        raise invalid(
            f"{name} lacks {listed(lacks)}, without which vLLM reads no {method} weights.",
            f"Complete {name} in a copy of the model, or use another checkpoint.",
        )
    read = method in NEEDED and (method == "awq" or name == BY_GPTQ)
    return replace(_declared({**raw, "quant_method": method}), file=name) if read else StoredQuantization()


BY_OTHERS = ("desc_act", "sym", "zero_point", "version")
"""Keys of AutoGPTQ and AutoAWQ, which MLX does not write."""


def _by_mlx(raw: Any) -> dict[str, Any]:
    """``raw`` where MLX wrote it, which names no method; else nothing."""
    known = isinstance(raw, dict) and {"bits", "group_size"} <= raw.keys()
    return raw if known and raw.keys().isdisjoint(BY_OTHERS) else {}


OTHER_LAYOUTS = ("gemv", "gemv_fast", "marlin")
"""Versions of AutoAWQ that pack weights in another order than its usual "gemm". vLLM 0.32 reads that order
alone, and no version (auto_awq.py create_weights)."""


def _awq(raw: dict[str, Any]) -> StoredQuantization:
    bits = integer(raw.get("bits")) or integer(raw.get("w_bit")) or 4
    version = text(raw.get("version")).lower()
    return StoredQuantization(
        method="awq",
        bits=bits,
        group_size=integer(raw.get("group_size")) or integer(raw.get("q_group_size")),
        scheme=f"W{bits}A16" + (f"-{version}" if version in OTHER_LAYOUTS else ""),
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


BY_FILE_ALONE = ("FP8", "FP8_PER_CHANNEL_PER_TOKEN", "FP8_PB_WO", "NVFP4")
"""ModelOpt's algorithms that vLLM takes without a ``quant_method``, as hf_quant_config.json has none. Source:
wheel 0.32.0, transformers_utils/model_arch_config_convertor.py _normalize_quantization_config."""


def _is_modelopts_file(raw: dict[str, Any]) -> bool:
    """Whether ``raw`` is laid out as hf_quant_config.json, with an algorithm."""
    inner = mapping(raw.get("quantization"))
    its = mapping(raw.get("producer")).get("name") == "modelopt" or "modelopt_quant_config" in inner
    return its and bool(text(inner.get("quant_algo")))


def _modelopt(raw: dict[str, Any]) -> StoredQuantization:
    inner = mapping(raw.get("quantization")) or raw
    algorithm = text(inner.get("quant_algo")).upper()
    refused = _is_modelopts_file(raw) and algorithm not in BY_FILE_ALONE
    cache = text(inner.get("kv_cache_quant_algo")).lower() or text(
        mapping(raw.get("kv_cache_scheme")).get("type")
    )
    four = "FP4" in algorithm or "W4" in algorithm
    return StoredQuantization(
        method="modelopt",
        bits=4 if four else 8,
        group_size=integer(inner.get("group_size")) or (16 if "NVFP4" in algorithm else 0),
        scheme=f"{algorithm} in {BY_MODELOPT}" if refused else algorithm,
        kv_cache_dtype="fp8" if cache in ("fp8", "float") else cache,
    )


def _other(raw: dict[str, Any]) -> StoredQuantization:
    return StoredQuantization(
        method=text(raw["quant_method"])[:40],
        bits=integer(raw.get("bits")) or integer(raw.get("num_bits")),
        group_size=max(0, integer(raw.get("group_size"))),
    )


READERS = {
    "awq": _awq,
    "gptq": _gptq,
    "compressed-tensors": _compressed_tensors,
    "fp8": _fp8,
    "bitsandbytes": _bitsandbytes,
    "mxfp4": _mxfp4,
    **dict.fromkeys(("modelopt", "modelopt_fp4", "modelopt_mxfp8", "modelopt_mixed"), _modelopt),
}
"""Reader function by ``quant_method`` in the configuration. For any other method only the name is kept, and
the planner refuses it.
"""
