# ruff: noqa: E501 - tables, a row each
from __future__ import annotations

from typing import Any

import pytest

from tacho_contract.model import StoredQuantization
from tacho_runtime.headers.quantization import stored_quantization
from tacho_runtime.headers.tensors import StoredTensor
from tools.mock.checkpoints import facts_for

SQ = StoredQuantization


@pytest.mark.parametrize(
    ("suffix", "expected", "gigabytes"),
    [
        # Published sizes of Llama-3.1-8B: AWQ 5.73 GB; FP8 9.08; bf16 16.06.
        ("-awq", SQ(method="awq", bits=4, group_size=128, scheme="W4A16"), 5.73),
        ("-gptq", SQ(method="gptq", bits=4, group_size=128, scheme="W4A16"), 5.73),
        ("-w4a16", SQ(method="compressed-tensors", bits=4, group_size=128, scheme="W4A16"), 5.70),
        ("-w8a8", SQ(method="compressed-tensors", bits=8, scheme="W8A8-int"), 9.08),
        ("-fp8", SQ(method="compressed-tensors", bits=8, scheme="W8A8-float"), 9.08),
        ("-bnb-nf4", SQ(method="bitsandbytes", bits=4, group_size=64, scheme="nf4", double_quant=True), 5.70),
        ("-bnb-int8", SQ(method="bitsandbytes", bits=8, scheme="int8"), 9.09),
        ("", SQ(), 16.06),
    ],
)  # fmt: skip
def test_stored_llama(suffix: str, expected: StoredQuantization, gigabytes: float) -> None:
    facts = facts_for(f"llama-3.1-8b{suffix}")
    assert facts.quantization == expected
    assert facts.files.total_bytes / 1e9 == pytest.approx(gigabytes, rel=0.002)


@pytest.mark.parametrize(
    ("name", "method", "bits", "group"), [("deepseek-v3", "fp8", 8, 128), ("gpt-oss-120b", "mxfp4", 4, 32)]
)
def test_native_formats(name: str, method: str, bits: int, group: int) -> None:
    q = facts_for(name).quantization
    assert (q.method, q.bits, q.group_size) == (method, bits, group)


def _group(bits: int, kind: str, input_bits: int, input_kind: str, target: str, *, size: int = 0) -> Any:
    inputs = {"num_bits": input_bits, "type": input_kind, "dynamic": True} if input_bits else None
    weights = {"num_bits": bits, "type": kind, "group_size": size or None, "symmetric": True}
    return {"targets": [target], "weights": weights, "input_activations": inputs}


def _groups(*groups: Any) -> dict[str, Any]:
    """As llm-compressor writes several of them: examples/quantization_non_uniform."""
    named = {f"group_{place}": group for place, group in enumerate(groups)}
    return {"quant_method": "compressed-tensors", "format": "mixed-precision", "config_groups": named}


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        ({"quant_method": "awq", "w_bit": 4, "q_group_size": 32, "zero_point": False,
          "modules_to_not_convert": ["visual"]},
         SQ(method="awq", bits=4, group_size=32, scheme="W4A16")),
        ({"quant_method": "gptq", "bits": 8, "group_size": -1, "sym": False, "lm_head": True,
          "dynamic": {"-:a": {}, "+:b": {}}},
         SQ(method="gptq", bits=8, scheme="W8A16-asym", lm_head_quantized=True)),
        ({"quant_method": "bitsandbytes", "load_in_4bit": True, "bnb_4bit_quant_type": "nf4",
          "bnb_4bit_quant_storage": "bfloat16"},
         SQ(method="bitsandbytes", bits=4, group_size=64, scheme="nf4-bfloat16")),
        ({"quant_method": "fp8", "activation_scheme": "static", "ignored_layers": ["lm_head", "x"],
          "kv_cache_scheme": "fp8"},
         SQ(method="fp8", bits=8, scheme="tensor-static", kv_cache_dtype="fp8")),
        ({"quant_method": "bitsandbytes", "load_in_4bit": True, "bnb_4bit_quant_type": "fp4",
          "llm_int8_skip_modules": ["lm_head"]},
         SQ(method="bitsandbytes", bits=4, group_size=64, scheme="fp4")),
        ({"load_in_8bit": True}, SQ(method="bitsandbytes", bits=8, scheme="int8")),
        ({"quantization": {"quant_algo": "FP8", "kv_cache_quant_algo": "FP8", "exclude_modules": ["lm_head"]}},
         SQ(method="modelopt", bits=8, scheme="FP8", kv_cache_dtype="fp8")),
        ({"quant_method": "modelopt", "quant_algo": "NVFP4", "ignore": ["a", "b"], "kv_cache_scheme":
          {"type": "float", "num_bits": 8}},
         SQ(method="modelopt", bits=4, group_size=16, scheme="NVFP4", kv_cache_dtype="fp8")),
        ({"format": "pack-quantized", "config_groups": {"g": {"weights": {"num_bits": 4, "group_size": 32,
          "type": "float", "symmetric": False}}}, "kv_cache_scheme": {"type": "float", "num_bits": 8}},
         SQ(method="compressed-tensors", bits=4, group_size=32, scheme="W4A16-float",
            kv_cache_dtype="fp8")),
        (_groups(_group(8, "float", 8, "float", "re:.*down_proj.*"),
                 _group(4, "float", 4, "float", "re:.*gate_proj.*", size=16)),
         SQ(method="compressed-tensors", bits=4, group_size=16, scheme="W4A4-float+W8A8-float")),
        (_groups(_group(8, "int", 8, "int", "re:.*down_proj.*"), _group(4, "int", 0, "", "Linear", size=128)),
         SQ(method="compressed-tensors", bits=4, group_size=128, scheme="W4A16+W8A8-int")),
        (_groups(_group(8, "float", 8, "float", "re:.*self_attn.*"), _group(8, "float", 8, "float", "Linear")),
         SQ(method="compressed-tensors", bits=8, scheme="W8A8-float")),
        (_groups({"targets": ["LlamaAttention"], "weights": None}, _group(4, "int", 8, "float", "Linear", size=128)),
         SQ(method="compressed-tensors", bits=4, group_size=128, scheme="W4A8-float")),
        ({"config_groups": {"g": {"weights": {"num_bits": 8, "type": "float", "block_structure": [128, 128]},
          "input_activations": {"num_bits": 8, "type": "float", "group_size": 128}}}},
         SQ(method="compressed-tensors", bits=8, group_size=128, scheme="W8A8-float")),
        ({"config_groups": {"g": {"weights": {"num_bits": 8, "type": "float", "block_structure": "64x64"}}}},
         SQ(method="compressed-tensors", bits=8, group_size=64, scheme="W8A16-float")),
        ({"quant_method": "compressed-tensors", "format": "dense", "sparsity_config":
          {"format": "sparse-24-bitmask", "sparsity_structure": "2:4", "targets": ["Linear"]}},
         SQ(method="compressed-tensors", scheme="sparse")),
        ({"format": "marlin-24", "config_groups": {"g": {"weights": {"num_bits": 4, "group_size": 128}}}},
         SQ(method="compressed-tensors", bits=4, group_size=128, scheme="sparse+W4A16")),
        ({"quant_method": "gptq", "bits": 4, "group_size": 128, "sym": True, "desc_act": True},
         SQ(method="gptq", bits=4, group_size=128, scheme="W4A16+act-order")),
        ({"quant_method": "gptq", "bits": 4, "group_size": 64, "dynamic": {"-:.*mlp.*": {"bits": 2}, "x": {},
          r"+:.*\.16\..*": {"bits": 8, "group_size": 128}}},
         SQ(method="gptq", bits=4, group_size=128, scheme="W4A16+W8A16")),
        ({"quant_method": "gptq", "bits": 4, "group_size": 128, "sym": True, "desc_act": False, "dynamic":
          {"x": {"bits": 3, "sym": False, "desc_act": True}, "y": {"desc_act": True, "group_size": -1}}},
         SQ(method="gptq", bits=4, group_size=128, scheme="W3A16-asym+W4A16+act-order")),
        ({"quant_method": "gptq", "bits": 4, "group_size": 128, "dynamic": {"x": False}},
         SQ(method="gptq", bits=4, group_size=128, scheme="W4A16")),
        ({"quant_method": "gptq", "bits": 4, "group_size": -1, "sym": True, "desc_act": True},
         SQ(method="gptq", bits=4, scheme="W4A16")),
        ({"config_groups": {"g": {"weights": {"num_bits": 4, "group_size": 128, "actorder": "group"}}}},
         SQ(method="compressed-tensors", bits=4, group_size=128, scheme="act-order+W4A16")),
        ({"config_groups": {"g": {"weights": {"num_bits": 4, "group_size": 128, "actorder": True}}}},
         SQ(method="compressed-tensors", bits=4, group_size=128, scheme="act-order+W4A16")),
        ({"config_groups": {"g": {"weights": {"num_bits": 4, "group_size": 128, "actorder": "GROUP"}}}},
         SQ(method="compressed-tensors", bits=4, group_size=128, scheme="act-order+W4A16")),
        ({"config_groups": {"g": {"weights": {"num_bits": 8, "type": "float", "block_structure": [64, 128, 512]}}}},
         SQ(method="compressed-tensors", bits=8, group_size=128, scheme="W8A16-float")),
        ({"config_groups": {"g": {"weights": {"num_bits": 4, "group_size": 128, "actorder": "weight"}}}},
         SQ(method="compressed-tensors", bits=4, group_size=128, scheme="W4A16")),
        ({"format": "dense", "sparsity_config": {"format": "dense", "global_sparsity": 0.1}},
         SQ(method="compressed-tensors")),
        ({"quant_method": "compressed_tensors"}, SQ(method="compressed-tensors")),
        ({"quant_method": "hqq", "bits": 3, "group_size": 64}, SQ(method="hqq", bits=3, group_size=64)),
        ({"quant_method": "awq", "bits": "four", "group_size": None, "modules_to_not_convert": "lm_head"},
         SQ(method="awq", bits=4, scheme="W4A16")),
        ({"quant_method": 5, "unrelated": 1}, SQ(method="unknown")),
        ({}, SQ()),
    ],
)  # fmt: skip
def test_configurations(raw: Any, expected: StoredQuantization) -> None:
    assert stored_quantization({"quantization_config": raw}) == expected


@pytest.mark.parametrize("key", ["quantization", "quantization_config"])
def test_mlx_names_no_method(key: str) -> None:
    config = {key: {"group_size": 64, "bits": 4, "model.embed_tokens": {"group_size": 64, "bits": 6}}}
    assert stored_quantization(config) == SQ(method="mlx", bits=4, group_size=64)


@pytest.mark.parametrize("more", [{"desc_act": False}, {"sym": True}, {"zero_point": True}])
def test_a_checkpoint_of_others_without_a_method_is_not_of_mlx(more: dict[str, Any]) -> None:
    found = stored_quantization({"quantization_config": {"bits": 4, "group_size": 128, **more}})
    assert found.method != "mlx"


def test_a_long_list_of_schemes_keeps_what_is_irregular() -> None:
    groups = {
        f"g{bits}-{inputs}": _group(bits, "int", inputs, "float", f"re:.*{bits}.{inputs}")
        for bits in range(2, 9)
        for inputs in range(4, 16)
    }
    groups["last"] = {"targets": ["Linear"], "weights": {"num_bits": 4, "actorder": "group"}}
    found = stored_quantization({"quantization_config": {"config_groups": groups}})
    assert len(found.scheme) >= 128
    assert found.is_irregular


def test_other_settings_of_that_name_are_no_quantization() -> None:
    assert stored_quantization({"quantization": "none"}) == stored_quantization({"quantization": {}}) == SQ()


def test_of_a_multimodal_model() -> None:
    inner = {"quantization_config": {"quant_method": "gptq", "bits": 4, "group_size": 128}}
    assert stored_quantization({"text_config": inner}).method == "gptq"


def test_head_is_judged_by_its_tensors() -> None:
    config = {"quantization_config": {"quant_method": "awq", "bits": 4, "group_size": 128}}
    packed = [StoredTensor("lm_head.qweight", "I32", (8, 8), 256)]
    plain = [StoredTensor("lm_head.weight", "BF16", (8, 8), 128)]
    assert stored_quantization(config, packed).lm_head_quantized
    assert not stored_quantization(config, plain).lm_head_quantized


@pytest.mark.parametrize(
    "raw",
    [
        {"quant_method": "bitsandbytes", "load_in_4bit": True, "bnb_4bit_quant_type": "x" * 9999},
        {"quant_method": "fp8", "activation_scheme": "x" * 9999},
        {"quant_algo": "x" * 9999, "kv_cache_quant_algo": "y" * 9999},
        {"config_groups": {"a": {"weights": {"num_bits": 4, "type": "x" * 9999}}}},
    ],
)
def test_words_of_any_length_leave_room_for_the_other_facts(raw: dict[str, Any]) -> None:
    found = stored_quantization({"quantization_config": raw})
    assert 0 < len(found.scheme) <= 128
    assert len(found.kv_cache_dtype) <= 128
