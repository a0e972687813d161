"""What may be divided between GPUs: groups of quantized experts, and the GPUs themselves."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from benchmarks.planner.models import facts
from benchmarks.planner.placements import placement
from tacho_engines.base import EngineRefusal, Splits
from tacho_engines.vllm.parallel import splits


def expert_splits(
    method: str,
    gpu: str = "L4",
    *,
    name: str = "Qwen3MoeForCausalLM",
    tensor: int | None = None,
    count: int = 4,
    version: str = "0.32.0",
    arguments: tuple[str, ...] = (),
) -> Splits | EngineRefusal:
    """Of a Qwen3-30B-A3B, whose experts are 768 wide, over four GPUs."""
    base = facts("qwen3-30b-a3b")
    stored = dataclasses.replace(
        base.quantization, method=method, bits=8 if method == "fp8" else 4, group_size=128
    )
    assert base.architecture is not None
    shape = dataclasses.replace(base.architecture, name=name)
    model = dataclasses.replace(base, quantization=stored, architecture=shape)
    return splits(
        placement(
            "vllm", model, "none", gpu, count=count, tensor=tensor, version=version, arguments=arguments
        )
    )


@pytest.mark.parametrize("method", ["awq", "gptq", "fp8"])
def test_groups_of_experts_are_made_finer_where_the_user_sets_the_size(method: str) -> None:
    """vLLM 0.32: "FP8 MoE block scales refined from [128, 128] to [64, 64]"."""
    assert expert_splits(method, tensor=4) == ((4, 1),)
    assert expert_splits(method) == ((2, 2), (1, 4)), "the slower kernels are the user's choice alone"


@pytest.mark.parametrize(
    ("method", "more"),
    [
        ("compressed-tensors", {}),
        ("fp8", {"gpu": "A100"}),
        ("fp8", {"version": "0.31.0"}),
        ("fp8", {"name": "Qwen3NextForCausalLM"}),  # its shared expert stays whole
    ],
)
def test_groups_that_vllm_makes_no_finer(method: str, more: dict[str, Any]) -> None:
    found = expert_splits(method, tensor=4, **more)
    assert isinstance(found, EngineRefusal)
    assert "width 768 over 4 GPUs" in found.message


def test_the_least_group_and_the_gpus_of_finer_ones() -> None:
    assert expert_splits("awq", "T4", tensor=4) == ((4, 1),)
    odd = expert_splits("fp8", tensor=3, count=3)
    assert isinstance(odd, EngineRefusal)
    assert "1, 2, 4 or 8" in odd.next_step, "groups are made finer for 4 and 8"
    narrow = expert_splits("awq", tensor=16, count=16)
    assert isinstance(narrow, EngineRefusal), "48 values hold no whole group of 32"


@pytest.mark.parametrize("method", ["fp8", "compressed-tensors"])
def test_experts_that_are_whole_on_one_gpu_hold_whole_groups(method: str) -> None:
    given = ("--enable-expert-parallel",)
    assert expert_splits(method, arguments=given) == ((4, 1), (2, 2), (1, 4))
    assert expert_splits(method, tensor=4, arguments=given) == ((4, 1),)
    other = expert_splits(method, tensor=4, arguments=given, name="Qwen3NextForCausalLM")
    assert isinstance(other, EngineRefusal), "its shared expert is divided"


@pytest.mark.parametrize("method", ["awq", "gptq", "compressed-tensors", "fp8"])
def test_groups_of_an_attention_output_stay_whole(method: str) -> None:
    """Of a Qwen2.5-0.5B: 14 heads of 64 over two GPUs are 448 values, 3.5 groups of 128. vLLM 0.32: "The
    input size is not aligned with the quantized weight shape"."""
    base = facts("qwen2.5-0.5b")
    packed = tuple(dataclasses.replace(one, dtype="U8") for one in base.tensors if one.kind == "linear")

    def found(group: int, **more: Any) -> Splits | EngineRefusal:
        stored = dataclasses.replace(base.quantization, method=method, bits=4, group_size=group)
        model = dataclasses.replace(base, quantization=stored, tensors=packed)
        return splits(placement("vllm", model, "none", count=2, **more))

    assert found(128) == ((1, 2),)
    assert found(64) == ((2, 1), (1, 2))
    asked = found(128, tensor=2)
    assert isinstance(asked, EngineRefusal)
    assert "width 896 over 2 GPUs does not hold whole quantization groups of 128" in asked.message


@pytest.mark.parametrize("count", [1, 2])
@pytest.mark.parametrize("given", ["--data-parallel-size=2", "-dp=2", "--prefill-context-parallel-size=2"])
def test_all_gpus_of_a_replica_hold_one_model(count: int, given: str) -> None:
    """vLLM 0.32 would need twice the GPUs: it multiplies the sizes."""
    found = splits(placement("vllm", "llama-3.1-8b", "none", count=count, arguments=(given,)))
    assert isinstance(found, EngineRefusal)
    assert found.failure_class == "InvalidConfig"
    assert "2 needs 2 times as many GPUs" in found.message
    once = (given.replace("=2", "=1"),)
    assert splits(placement("vllm", "llama-3.1-8b", "none", count=count, arguments=once))[0] == (count, 1)


def test_some_architectures_have_no_pipeline_stages() -> None:
    """vLLM 0.32: "Pipeline parallelism is not supported for this model"."""
    base = facts("llama-3.1-8b")
    assert base.architecture is not None
    # As a Zamba2-7B: two GPUs share its recurrent layers.
    shape = dataclasses.replace(base.architecture, name="Zamba2ForCausalLM", state_heads=2)
    model = dataclasses.replace(base, architecture=shape)

    def found(count: int, **more: Any) -> Splits | EngineRefusal:
        return splits(placement("vllm", model, "none", count=count, **more))

    assert found(2) == ((2, 1),)
    assert isinstance(found(4), EngineRefusal)
    asked = found(2, pipeline=2)
    assert isinstance(asked, EngineRefusal)
    assert "no pipeline stages of Zamba2ForCausalLM" in asked.message
    assert found(2, pipeline=2, arguments=("--model-impl=transformers",)) == ((1, 2),)
    assert found(2, pipeline=2, own_image=True, image="registry.example/vllm:v0.32.0") == ((1, 2),)


FORMATS = [
    *(("awq", "W4A16", 128), ("gptq", "W4A16", 128), ("compressed-tensors", "W4A16", 128)),
    *(("fp8", "block-dynamic", 128), ("compressed-tensors", "W8A8-float", 128), ("auto-round", "", 128)),
    *(("inc", "W4A16", 128), ("torchao", "", 128), ("quark", "", 128), ("modelopt", "FP8_PB_WO", 128)),
    *(("modelopt", "NVFP4", 16), ("compressed-tensors", "W4A4-float", 16), ("mxfp8", "", 0)),
    *(("modelopt", "MXFP8", 0), ("quark", "MXFP4", 0), ("compressed-tensors", "W4A16-float", 32)),
]


def dense_splits(
    method: str, scheme: str, group: int, *, tensor: int | None = 2, dtype: str = "U8", **shape: int
) -> Splits | EngineRefusal:
    """Of a Llama-3.1-8B in this format over two GPUs, with other sizes. ``dtype``: of its linear layers."""
    base = facts("llama-3.1-8b")
    assert base.architecture is not None
    stored = dataclasses.replace(base.quantization, method=method, scheme=scheme, group_size=group)
    sized = dataclasses.replace(base.architecture, **shape)  # type: ignore[arg-type]
    packed = (dataclasses.replace(one, dtype=dtype) for one in base.tensors if one.kind == "linear")
    model = dataclasses.replace(base, quantization=stored, architecture=sized, tensors=tuple(packed))
    return splits(placement("vllm", model, "none", "L40S", count=tensor or 2, tensor=tensor))


@pytest.mark.parametrize(("method", "scheme", "group"), FORMATS)
def test_no_gpu_gets_part_of_a_group_whatever_the_format(method: str, scheme: str, group: int) -> None:
    """A Qwen2-72B is 29568 = 231 x 128 wide, of which two GPUs have no whole groups."""
    whole = group or 32
    found = dense_splits(method, scheme, group, intermediate_size=231 * whole)
    assert isinstance(found, EngineRefusal)
    assert (
        f"width {231 * whole} over 2 GPUs does not hold whole quantization groups of {whole}" in found.message
    )
    assert "Set parallelism.tensor to 1;" in found.next_step
    assert dense_splits(method, scheme, group, tensor=None, intermediate_size=231 * whole) == ((1, 2),)
    assert dense_splits(method, scheme, group, intermediate_size=232 * whole) == ((2, 1),)


@pytest.mark.parametrize(("method", "scheme", "refused"), [
    ("fp8", "block-dynamic", True), ("compressed-tensors", "W8A8-float", True), ("gptq", "W4A16", False),
])  # fmt: skip
def test_square_blocks_are_not_cut_in_keys_and_values_either(method: str, scheme: str, refused: bool) -> None:
    """vLLM 0.32: "output_partition_size = 64 is not divisible by weight quantization block_n = 128"."""
    found = dense_splits(method, scheme, 128, tensor=8, head_dim=64, attention_heads=64)
    assert isinstance(found, EngineRefusal) is refused


def test_attention_that_is_left_in_16_bits_has_no_groups_to_cut() -> None:
    found = dense_splits("fp8", "block-dynamic", 128, tensor=8, head_dim=64, attention_heads=64, dtype="BF16")
    assert found == ((8, 1),)


def test_experts_of_nemotron_nano_in_nvfp4() -> None:
    """1856 = 116 x 16: four GPUs have 29 groups each, eight have 14.5."""
    asks = {"experts": 128, "moe_intermediate_size": 1856, "attention_heads": 32, "head_dim": 128}
    assert dense_splits("modelopt", "NVFP4", 16, tensor=4, **asks) == ((4, 1),)
    found = dense_splits("modelopt", "NVFP4", 16, tensor=8, **asks)
    assert isinstance(found, EngineRefusal)
    assert "1, 2 or 4" in found.next_step


def test_the_groups_of_gpt_oss_are_padded() -> None:
    base = facts("gpt-oss-20b")
    assert splits(placement("vllm", base, "none", "H100", count=8, tensor=8)) == ((8, 1),)
