"""Formats of quantized checkpoints: what loads them, on which GPUs, and what names them."""

from __future__ import annotations

import dataclasses

import pytest

from benchmarks.planner.models import facts
from tacho_contract.model import StoredQuantization, TensorClass
from tacho_operator.core.planner.types import ModelPlan, PlanFailure
from tests.unit.planner.test_support import plan, planned, stored_as


@pytest.mark.parametrize("method", ["hqq", "aqlm", "EETQ", "bitnet", "mlx"])
@pytest.mark.parametrize("engine", [{}, {"name": "vllm"}, {"name": "transformers"}], ids=str)
def test_a_checkpoint_that_nothing_loads_is_refused_before_it_is_downloaded(method, engine):
    found = planned(stored_as(method), gpu={"products": ["L4"]}, engine=engine)
    assert isinstance(found, PlanFailure)
    assert found.failure.failure_class == "UnsupportedQuantization"


@pytest.mark.parametrize(("method", "bits", "scheme"), [
    ("awq", 3, "W3A16"), ("gptq", 4, "W4A16-asym"), ("gptq", 3, "W3A16"), ("modelopt", 4, "W4A8_AWQ"),
    ("bitsandbytes", 4, "nf4-bfloat16"), ("compressed-tensors", 8, "W8A8-float+sparse"),
    ("gptq", 4, "W4A16+act-order"), ("compressed-tensors", 4, "W4A16+act-order"),
    ("gptq", 4, "W3A16+W4A16"),
])  # fmt: skip
def test_schemes_that_vllm_no_longer_loads_are_refused_before_they_are_downloaded(method, bits, scheme):
    base = facts("qwen2.5-0.5b")
    stored = dataclasses.replace(base.quantization, method=method, bits=bits, scheme=scheme)
    engine = {"name": "vllm"}
    found = planned(dataclasses.replace(base, quantization=stored), gpu={"products": ["L4"]}, engine=engine)
    assert isinstance(found, PlanFailure)
    assert found.failure.failure_class == "UnsupportedQuantization"
    assert f"{method} checkpoints of the scheme {scheme}" in found.failure.message


def test_a_users_image_may_load_what_upstreams_does_not():
    engine = {"name": "vllm", "image": "registry.example/vllm-hqq:v0.32.0"}
    assert isinstance(planned(stored_as("hqq"), gpu={"products": ["L4"]}, engine=engine), ModelPlan)


def test_upstreams_image_loads_no_more_because_it_is_named():
    engine = {"name": "vllm", "image": "mirror.example:5000/vllm/vllm-openai:v0.32.0"}
    assert isinstance(planned(stored_as("hqq"), gpu={"products": ["L4"]}, engine=engine), PlanFailure)


@pytest.mark.parametrize("method", ["torchao", "quark", "modelopt_fp4", "auto-round"])
def test_formats_without_a_method_of_their_own_run_as_stored(method):
    found = planned(stored_as(method), gpu={"products": ["L4"]})
    assert isinstance(found, ModelPlan)
    assert (found.engine, found.quantization_method) == ("vllm", method)
    assert found.message.startswith(f"vllm 0.32.0 with {method} on NVIDIA-L4: ")
    asked = planned(stored_as(method), gpu={"products": ["L4"]}, quantization={"method": "none"})
    assert asked.quantization_method == method


def test_a_scheme_is_named_with_its_format():
    found = planned(stored_as("modelopt", "NVFP4"), gpu={"products": ["L4"]})
    assert found.message.startswith("vllm 0.32.0 with modelopt (NVFP4) on NVIDIA-L4: ")


@pytest.mark.parametrize(("method", "file"), [("awq", "quant_config.json"), ("gptq", "quantize_config.json")])
def test_vllm_is_told_a_method_that_it_would_not_find(method, file):
    """vLLM looks for quantization_config and hf_quant_config.json by itself; for other files, if told."""
    base = facts(f"llama-3.1-8b-{method}")
    beside = dataclasses.replace(base, quantization=dataclasses.replace(base.quantization, file=file))
    for asks in ({}, {"quantization": {"method": method}}):
        found = planned(beside, gpu={"products": ["L40S"]}, **asks)
        place = found.arguments.index("--quantization")
        assert (found.arguments[place + 1], found.quantization_method) == (method, method)
    assert "--quantization" not in planned(base, gpu={"products": ["L40S"]}).arguments
    own = {"name": "transformers", "image": "registry.example/with-gptqmodel:v5.19"}
    refused = planned(beside, gpu={"products": ["L40S"]}, engine=own)
    assert refused.failure.failure_class == "UnsupportedQuantization"
    assert f"transformers does not read {file}" in refused.failure.message


@pytest.mark.parametrize("suffix", ["-awq", "-gptq", "-w4a16", "-w8a8", "-fp8", "-bnb-nf4", "-bnb-int8"])
@pytest.mark.parametrize(
    "asks", [{}, {"engine": {"name": "vllm"}, "quantization": {"method": "fp8"}}], ids=str
)
def test_packed_weights_of_which_no_file_says_how_are_refused(suffix, asks):
    lost = dataclasses.replace(facts(f"llama-3.1-8b{suffix}"), quantization=StoredQuantization())
    found = planned(lost, gpu={"products": ["L40S"]}, **asks)
    assert found.failure.failure_class == "ModelInvalid"
    for said in ("packed (", "quantization_config", "quant_config.json", "hf_quant_config.json"):
        assert said in found.failure.message
    custom = {"name": "custom", "image": "registry.example/mine:1"}
    assert isinstance(planned(lost, gpu={"products": ["L40S"]}, engine=custom), ModelPlan)


@pytest.mark.parametrize(
    ("kind", "dtype"),
    [
        ("linear", "I64"),
        ("linear", "BOOL"),
        ("other", "I32"),
        ("bias", "U8"),
        ("router", "I32"),
        ("draft", "U8"),
    ],
)
def test_indices_and_masks_are_no_packed_weights(kind, dtype):
    base = facts("llama-3.1-8b")
    buffer = TensorClass(kind=kind, dtype=dtype, tensors=32, parameters=8192, stored_bytes=65536)
    found = planned(dataclasses.replace(base, tensors=(*base.tensors, buffer)), gpu={"products": ["L40S"]})
    assert isinstance(found, ModelPlan)


def test_deprecated_formats_need_a_switch():
    """vLLM: "is deprecated and will be removed ... To bypass, set `--allow-deprecated-quantization`"."""
    asks = {"gpu": {"products": ["L4"]}, "quantization": {"method": "fp8"}}
    found = planned(stored_as("fbgemm_fp8"), engine={"name": "vllm"}, **asks)
    assert isinstance(found, PlanFailure)
    switch = ["--allow-deprecated-quantization"]
    assert switch[0] in found.failure.message + found.failure.next_step
    allowed = planned(stored_as("fbgemm_fp8"), engine={"name": "vllm", "extraArgs": switch}, **asks)
    assert isinstance(allowed, ModelPlan), allowed


@pytest.mark.parametrize(
    ("method", "scheme", "gpu", "runs"),
    [
        ("modelopt", "FP8", "T4", False),
        ("modelopt", "FP8", "A10", True),
        ("modelopt", "NVFP4", "T4", True),
        ("experts_int8", "", "T4", False),
        ("compressed-tensors", "W4A8-float", "L4", False),
        ("compressed-tensors", "W4A8-float", "H200", True),
        ("compressed-tensors", "W4A8-float+W8A8-float", "L4", False),
        ("compressed-tensors", "W4A4-float+W8A8-float", "L4", True),
        ("compressed-tensors", "W4A16", "T4", True),
        ("compressed-tensors", "W4A8-float", "B200", False),
        ("compressed-tensors", "W4A8-float", "RTX5090", False),
    ],
)
def test_formats_and_their_schemes_need_their_compute_capability(method, scheme, gpu, runs):
    asks = {"gpu": {"products": [gpu]}, "context": {"maxModelLen": 1024, "concurrency": 1}}
    found = planned(stored_as(method, scheme), engine={"name": "vllm"}, **asks)
    assert isinstance(found, ModelPlan) is runs, found
    assert runs or found.failure.failure_class == "UnsupportedGPU"


@pytest.mark.parametrize(("scheme", "group", "gpu", "least"), [
    ("W4A16-float", 32, "T4", "8.0"), ("W4A4-float", 32, "T4", "8.0"), ("W4A4-float", 32, "A10", ""),
    ("W4A8-float", 32, "L4", ""), ("W4A8-float", 32, "T4", "8.0"), ("W4A8-float", 128, "B200", "9.0 alone"),
    ("W4A4-float", 16, "T4", ""), ("W4A16-float", 16, "T4", ""),
])  # fmt: skip
def test_of_4_bits_the_size_of_groups_tells_the_format(scheme, group, gpu, least):
    """vLLM 0.32 runs groups of 16 (NVFP4) from 7.5 on, of 32 (MXFP4) from 8.0 on."""
    asks = {"gpu": {"products": [gpu]}, "context": {"maxModelLen": 1024, "concurrency": 1}}
    found = planned(stored_as("compressed-tensors", scheme, group), engine={"name": "vllm"}, **asks)
    assert isinstance(found, PlanFailure) is bool(least), found
    assert not least or least in found.failure.message


@pytest.mark.parametrize(("method", "scheme"), [("modelopt", "NVFP4"), ("torchao", ""), ("mxfp8", "")])
def test_formats_that_volta_does_not_run_whatever_cuda_the_image_has(method, scheme):
    engine = {"name": "vllm", "image": "vllm/vllm-openai:v0.32.0-cu129"}
    found = planned(stored_as(method, scheme), gpu={"products": ["V100"]}, engine=engine)
    assert found.failure.failure_class == "UnsupportedGPU"
    assert "7.5" in found.failure.message


@pytest.mark.parametrize(("scheme", "said"), [("W8A8-float", True), ("W8A8-int", False), ("W4A16", False)])
def test_a_checkpoint_in_fp8_falls_back_where_the_gpu_has_no_fp8(scheme, said):
    asks = {"gpu": {"products": ["A10"]}, "context": {"maxModelLen": 1024, "concurrency": 1}}
    found = planned(stored_as("compressed-tensors", scheme), engine={"name": "vllm"}, **asks)
    assert isinstance(found, ModelPlan)
    assert ("FP8 weights only, by Marlin" in found.message) == said


@pytest.mark.parametrize(
    ("version", "named"), [("0.26.0", "fp8"), ("0.30.0", "fp8"), ("0.31.0", "fp8_per_tensor")]
)
def test_fp8_in_flight_is_named_as_the_version_takes_it(version, named):
    """vLLM 0.31: "The `fp8` quantization method no longer supports online quantization"."""
    found = plan("qwen2.5-0.5b", "L4", version=version, quantization={"method": "fp8"})
    assert isinstance(found, ModelPlan)
    assert found.arguments[found.arguments.index("--quantization") + 1] == named


@pytest.mark.parametrize(
    ("version", "gpu", "runs"),
    [
        ("0.32.0", "T4", True),
        ("0.14.0", "T4", True),
        ("0.13.0", "T4", False),
        ("0.13.0", "A10", True),
        ("0.5.0", "A10", False),
        ("0.5.0", "L4", True),
    ],
)
def test_fp8_came_to_older_gpus_with_later_versions(version, gpu, runs):
    """get_min_capability of fp8.py: 80 in the wheel of 0.13.0, 75 in that of 0.14.0."""
    asks = {
        "quantization": {"method": "fp8"},
        "context": {"maxModelLen": 1024, "concurrency": 1},
    }
    found = plan("qwen2.5-0.5b", gpu, version=version, **asks)
    if runs:
        assert isinstance(found, ModelPlan), found
    else:
        assert found.failure.failure_class == "UnsupportedGPU"
        assert f"vllm {version} needs compute capability" in found.failure.message
