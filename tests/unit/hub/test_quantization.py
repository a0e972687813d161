# ruff: noqa: E501 - tables, a row each
from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from tacho_contract.failure import FailedError
from tacho_contract.model import StoredQuantization, TensorClass
from tacho_runtime.headers.quantization import stored_quantization
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
        ({"producer": {"name": "modelopt"}, "quantization": {"quant_algo": "FP8", "kv_cache_quant_algo": "FP8"}},
         SQ(method="modelopt", bits=8, scheme="FP8", kv_cache_dtype="fp8")),
        ({"quant_method": "modelopt", "quant_algo": "NVFP4", "ignore": ["a", "b"], "kv_cache_scheme":
          {"type": "float", "num_bits": 8}},
         SQ(method="modelopt", bits=4, group_size=16, scheme="NVFP4", kv_cache_dtype="fp8")),
        ({"quant_method": "compressed-tensors", "format": "pack-quantized", "config_groups": {"g": {"weights": {"num_bits": 4, "group_size": 32,
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
        ({"quant_method": "compressed-tensors", "config_groups": {"g": {"weights": {"num_bits": 8, "type": "float", "block_structure": [128, 128]},
          "input_activations": {"num_bits": 8, "type": "float", "group_size": 128}}}},
         SQ(method="compressed-tensors", bits=8, group_size=128, scheme="W8A8-float")),
        ({"quant_method": "compressed-tensors", "config_groups": {"g": {"weights": {"num_bits": 8, "type": "float", "block_structure": "64x64"}}}},
         SQ(method="compressed-tensors", bits=8, group_size=64, scheme="W8A16-float")),
        ({"quant_method": "compressed-tensors", "format": "dense", "sparsity_config":
          {"format": "sparse-24-bitmask", "sparsity_structure": "2:4", "targets": ["Linear"]}},
         SQ(method="compressed-tensors", scheme="sparse")),
        ({"quant_method": "compressed-tensors", "format": "marlin-24", "config_groups": {"g": {"weights": {"num_bits": 4, "group_size": 128}}}},
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
        ({"quant_method": "compressed-tensors", "config_groups": {"g": {"weights": {"num_bits": 4, "group_size": 128, "actorder": "group"}}}},
         SQ(method="compressed-tensors", bits=4, group_size=128, scheme="act-order+W4A16")),
        ({"quant_method": "compressed-tensors", "config_groups": {"g": {"weights": {"num_bits": 4, "group_size": 128, "actorder": True}}}},
         SQ(method="compressed-tensors", bits=4, group_size=128, scheme="act-order+W4A16")),
        ({"quant_method": "compressed-tensors", "config_groups": {"g": {"weights": {"num_bits": 4, "group_size": 128, "actorder": "GROUP"}}}},
         SQ(method="compressed-tensors", bits=4, group_size=128, scheme="act-order+W4A16")),
        ({"quant_method": "compressed-tensors", "config_groups": {"g": {"weights": {"num_bits": 8, "type": "float", "block_structure": [64, 128, 512]}}}},
         SQ(method="compressed-tensors", bits=8, group_size=128, scheme="W8A16-float")),
        ({"quant_method": "compressed-tensors", "config_groups": {"g": {"weights": {"num_bits": 4, "group_size": 128, "actorder": "weight"}}}},
         SQ(method="compressed-tensors", bits=4, group_size=128, scheme="W4A16")),
        ({"quant_method": "compressed-tensors", "format": "dense", "sparsity_config": {"format": "dense", "global_sparsity": 0.1}},
         SQ(method="compressed-tensors")),
        ({"quant_method": "compressed_tensors"}, SQ(method="compressed-tensors")),
        ({"quant_method": "hqq", "bits": 3, "group_size": 64}, SQ(method="hqq", bits=3, group_size=64)),
        ({"quant_method": "awq", "bits": "four", "group_size": None, "modules_to_not_convert": "lm_head"},
         SQ(method="awq", bits=4, scheme="W4A16")),
        # vLLM takes these for unquantized.
        ({"config_groups": {"g": {"weights": {"num_bits": 4}}}, "format": "pack-quantized"}, SQ()),
        ({"quantization": {"quant_algo": "FP8"}}, SQ()),
        ({"producer": {"name": "modelopt"}, "quantization": {"quant_algo": None, "kv_cache_quant_algo": "FP8"}}, SQ()),
        ({"quant_method": 5, "unrelated": 1}, SQ()),
        ({}, SQ()),
        # "Unknown ModelOpt quant algo", in the file alone.
        ({"producer": {"name": "modelopt"}, "quantization": {"quant_algo": "MXFP8"}},
         SQ(method="modelopt", bits=8, scheme="MXFP8 in hf_quant_config.json")),
        ({"quant_method": "modelopt_mxfp8", "quant_algo": "MXFP8"}, SQ(method="modelopt", bits=8, scheme="MXFP8")),
        ({"quant_method": "AWQ", "bits": 4, "group_size": 128, "version": "GEMV"},
         SQ(method="awq", bits=4, group_size=128, scheme="W4A16-gemv")),
        ({"quant_method": "auto-round", "bits": 4, "group_size": 128, "packing_format": ["auto_round:auto_gptq"]},
         SQ(method="auto-round", bits=4, group_size=128)),
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
    found = stored_quantization(
        {"quantization_config": {"quant_method": "compressed-tensors", "config_groups": groups}}
    )
    assert len(found.scheme) >= 128
    assert found.is_irregular


def test_other_settings_of_that_name_are_no_quantization() -> None:
    assert stored_quantization({"quantization": "none"}) == stored_quantization({"quantization": {}}) == SQ()


GPTQ = {"bits": 4, "group_size": 128, "desc_act": False, "sym": True}
AWQ = {"zero_point": True, "q_group_size": 128, "w_bit": 4, "version": "GEMM"}
FP8 = {"quant_method": "fp8", "activation_scheme": "dynamic"}
MODELOPT = {"producer": {"name": "modelopt"}, "quantization": {"quant_algo": "NVFP4", "group_size": 16}}


@pytest.mark.parametrize(
    ("config", "beside", "method"),
    [
        ({"text_config": {"quantization_config": FP8}}, {}, "fp8"),
        ({"llm_config": {"quantization_config": FP8}}, {}, "fp8"),
        ({"text_config": {}, "llm_config": {"quantization_config": FP8}}, {}, ""),
        ({"text_config": [FP8]}, {}, ""),
        (
            {"compression_config": {"quant_method": "compressed-tensors", "config_groups": []}},
            {},
            "compressed-tensors",
        ),
        # The class that loads these is told nothing.
        ({"text_config": {"compression_config": {"quant_method": "compressed-tensors"}}}, {}, ""),
        (
            {"quantization_config": FP8, "compression_config": {"quant_method": "compressed-tensors"}},
            {},
            "fp8",
        ),
        ({"quantization_config": FP8}, {"hf_quant_config.json": MODELOPT, "quant_config.json": AWQ}, "fp8"),
        ({"quantization_config": None}, {"hf_quant_config.json": MODELOPT}, "modelopt"),
        ({"text_config": {"quantization_config": FP8}}, {"hf_quant_config.json": MODELOPT}, "modelopt"),
        ({"quantization_config": {}}, {"quant_config.json": AWQ}, ""),
        ({}, {"hf_quant_config.json": MODELOPT, "quantize_config.json": GPTQ}, "modelopt"),
    ],
    ids=str,
)
def test_vllm_looks_in_one_place_after_the_other(config: Any, beside: Any, method: str) -> None:
    packed = [_packed("I32")]
    found = stored_quantization(config, packed, beside)
    assert (found.method, found.file) == (method, "")


def _packed(dtype: str, kind: str = "linear") -> TensorClass:
    return TensorClass(kind=kind, dtype=dtype, tensors=8, parameters=8, stored_bytes=32)


@pytest.mark.parametrize(
    ("file", "raw", "expected"),
    [
        ("quant_config.json", AWQ, SQ(method="awq", bits=4, group_size=128, scheme="W4A16")),
        ("quant_config.json", {**AWQ, "version": "gemv_fast"},
         SQ(method="awq", bits=4, group_size=128, scheme="W4A16-gemv_fast")),
        ("quantize_config.json", AWQ, SQ(method="awq", bits=4, group_size=128, scheme="W4A16")),
        ("quantize_config.json", {**GPTQ, "quant_method": "awq", "zero_point": False},
         SQ(method="awq", bits=4, group_size=128, scheme="W4A16")),
        ("quantize_config.json", GPTQ, SQ(method="gptq", bits=4, group_size=128, scheme="W4A16")),
        ("quantize_config.json", {**GPTQ, "desc_act": True},
         SQ(method="gptq", bits=4, group_size=128, scheme="W4A16+act-order")),
        ("quantize_config.json", {**GPTQ, "bits": 3}, SQ(method="gptq", bits=3, group_size=128, scheme="W3A16")),
        # vLLM reads them of no such file.
        ("quant_config.json", {**GPTQ, "quant_method": "gptq"}, SQ()),
        ("quantize_config.json", {**GPTQ, "quant_method": "hqq"}, SQ()),
    ],
    ids=str,
)  # fmt: skip
@pytest.mark.parametrize("kind", ["linear", "expert"])
def test_files_that_vllm_reads_once_it_is_told(file: str, raw: Any, expected: SQ, kind: str) -> None:
    found = stored_quantization({}, [_packed("I32", kind)], {file: raw})
    assert found == (replace(expected, file=file) if expected.method else expected)
    assert stored_quantization({}, [_packed("BF16", kind), _packed("I64", "other")], {file: raw}) == SQ()


@pytest.mark.parametrize(
    ("beside", "said"),
    [
        ({"quant_config.json": {"w_bit": 4, "q_group_size": 128}}, "quant_config.json lacks zero_point"),
        (
            {"quantize_config.json": {"bits": 4, "group_size": 128}},
            "quantize_config.json lacks desc_act, sym",
        ),
        (
            {"quantize_config.json": GPTQ, "quant_config.json": AWQ},
            "quant_config.json and quantize_config.json",
        ),
        ({"quant_config.json": {**AWQ, "w_bit": float("nan")}}, "NaN"),
    ],
)
def test_files_that_vllm_would_not_read_are_refused(beside: Any, said: str) -> None:
    with pytest.raises(FailedError) as refused:
        stored_quantization({}, [_packed("I32")], beside)
    assert said in refused.value.failure.message


@pytest.mark.parametrize("raw", [[], ["fp8"], "fp8", 1, {"bits": float("inf")}])
def test_a_quantization_config_is_an_object(raw: Any) -> None:
    with pytest.raises(FailedError, match="no JSON object"):
        stored_quantization({"quantization_config": raw})


def test_head_is_judged_by_its_tensors() -> None:
    config = {"quantization_config": {"quant_method": "awq", "bits": 4, "group_size": 128}}
    assert stored_quantization(config, [_packed("I32", "lm_head")]).lm_head_quantized
    assert not stored_quantization(config, [_packed("BF16", "lm_head")]).lm_head_quantized


@pytest.mark.parametrize(
    "raw",
    [
        {"quant_method": "bitsandbytes", "load_in_4bit": True, "bnb_4bit_quant_type": "x" * 9999},
        {"quant_method": "fp8", "activation_scheme": "x" * 9999},
        {"quant_method": "modelopt", "quant_algo": "x" * 9999, "kv_cache_quant_algo": "y" * 9999},
        {
            "quant_method": "compressed-tensors",
            "config_groups": {"a": {"weights": {"num_bits": 4, "type": "x" * 9999}}},
        },
    ],
)
def test_words_of_any_length_leave_room_for_the_other_facts(raw: dict[str, Any]) -> None:
    found = stored_quantization({"quantization_config": raw})
    assert 0 < len(found.scheme) <= 128
    assert len(found.kv_cache_dtype) <= 128
