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

    def found(group: int, **more: Any) -> Splits | EngineRefusal:
        stored = dataclasses.replace(base.quantization, method=method, bits=4, group_size=group)
        model = dataclasses.replace(base, quantization=stored)
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
