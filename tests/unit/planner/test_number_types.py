"""Types of numbers: of the KV cache that a checkpoint asks for, and of a model that a GPU computes in."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from benchmarks.planner.models import facts
from tacho_contract.model import ModelFacts
from tacho_operator.core.planner.plan import plan_model
from tacho_operator.core.planner.types import ModelPlan, PlanFailure
from tools.mock.specs import CONFIG, spec


def planned(model: ModelFacts, *switches: str, **asks: Any) -> ModelPlan | PlanFailure:
    asked = spec(engine={"name": "vllm", "extraArgs": list(switches)}, **asks)
    return plan_model(asked, model, nodes=None, history=(), config=CONFIG)


def test_the_cache_type_of_the_checkpoint_is_judged_too() -> None:
    """vLLM 0.32 v1/attention/backends: Triton's takes FP8 from 8.9 on, FlashInfer's from 8.0."""
    base = facts("llama-3.1-8b-w4a16")
    stored = dataclasses.replace(base.quantization, kv_cache_dtype="fp8")
    model = dataclasses.replace(base, quantization=stored)
    asks: dict[str, Any] = {
        "gpu": {"products": ["T4"], "count": 1},
        "context": {"maxModelLen": 2048, "concurrency": 1},
    }
    found = planned(model, **asks)
    assert isinstance(found, PlanFailure)
    assert "FP8 KV cache" in found.failure.message
    switch = "--kv-cache-dtype=float16"
    assert f"Set {switch} in engine.extraArgs" in found.failure.next_step
    assert isinstance(planned(model, switch, **asks), ModelPlan)


def test_gemma_3n_runs_in_float16() -> None:
    """Its model type is not among vLLM 0.32's _FLOAT16_NOT_SUPPORTED_MODELS."""
    base = facts("qwen2.5-0.5b")
    assert base.architecture is not None
    shape = dataclasses.replace(base.architecture, name="Gemma3nForCausalLM")
    model = dataclasses.replace(base, architecture=shape)
    assert isinstance(planned(model, gpu={"products": ["T4"], "count": 1}), ModelPlan)


@pytest.mark.parametrize(
    ("name", "product", "runs"),
    [
        ("llama-3.1-8b", "A10", True),  # by FlashInfer
        ("gpt-oss-20b", "A10", False),  # sinks
        ("phi-2", "A10", False),  # heads of 80
        ("gpt-oss-20b", "L4", True),
        ("phi-2", "L4", True),
    ],
)
def test_an_fp8_cache_on_ampere_needs_flashinfer(name: str, product: str, runs: bool) -> None:
    """vLLM 0.32: "FP8 KV cache is not supported by the Triton attention backend on … requires SM89+"."""
    asks: dict[str, Any] = {"gpu": {"products": [product], "count": 1}, "context": {"maxModelLen": 1024}}
    found = planned(facts(name), quantization={"kvCacheDtype": "fp8"}, **asks)
    if runs:
        assert isinstance(found, ModelPlan)
    else:
        assert isinstance(found, PlanFailure)
        assert (
            "an FP8 KV cache needs compute capability 8.9 or higher; NVIDIA-A10 has 8.6"
            in found.failure.message
        )
        assert isinstance(planned(facts(name), **asks), ModelPlan)


@pytest.mark.parametrize(
    ("method", "cache", "runs"),
    [("fp8", "", False), ("compressed-tensors", "fp8", False), ("compressed-tensors", "", True)],
)
def test_fp8_checkpoints_have_no_cache_of_e5m2(method: str, cache: str, runs: bool) -> None:
    """vLLM 0.32: "fp8_e5m2 kv-cache is not supported with fp8 checkpoints"."""
    base = facts("llama-3.1-8b-fp8")
    stored = dataclasses.replace(base.quantization, method=method, kv_cache_dtype=cache)
    asks: dict[str, Any] = {"gpu": {"products": ["L4"], "count": 1}, "context": {"maxModelLen": 1024}}
    model = dataclasses.replace(base, quantization=stored)
    found = planned(model, quantization={"kvCacheDtype": "fp8_e5m2"}, **asks)
    assert isinstance(found, ModelPlan) is runs
    if isinstance(found, PlanFailure):
        assert "refuses a KV cache of type fp8_e5m2 for FP8 checkpoints" in found.failure.message
