"""GPUs that are too new or too old for a model's kernels."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from benchmarks.planner.models import facts
from tacho_operator.core.planner.plan import plan_model
from tacho_operator.core.planner.types import ModelPlan, PlanFailure
from tools.mock.specs import CONFIG, spec

MODEL = "llama-3.1-8b-w8a8"


def planned(product: str, **engine: Any) -> ModelPlan | PlanFailure:
    asked = spec(gpu={"products": [product], "count": 1}, engine={"name": "vllm", **engine})
    return plan_model(asked, facts(MODEL), nodes=None, history=(), config=CONFIG)


@pytest.mark.parametrize("product", ["B200", "RTX5090", "RTX-PRO-6000"])
def test_eight_bit_integers_end_on_blackwell(product: str) -> None:
    """vLLM 0.32: "Int8 not supported on SM120. Use FP8 quantization instead, or run on older arch"."""
    found = planned(product)
    assert isinstance(found, PlanFailure)
    assert found.failure.failure_class == "UnsupportedGPU"
    assert "runs W8A8-int up to compute capability 9.0" in found.failure.message
    name, _, value = found.failure.next_step.partition("or set ")[2].partition(" ")[0].partition("=")
    assert isinstance(planned(product, env=[{"name": name, "value": value}]), ModelPlan)
    assert isinstance(planned(product, extraArgs=["--linear-backend=triton"]), ModelPlan)


@pytest.mark.parametrize("product", ["A100", "L4", "H200"])
def test_and_run_on_gpus_before(product: str) -> None:
    assert isinstance(planned(product), ModelPlan)


@pytest.mark.parametrize("image", ["vllm/vllm-openai:v0.33.0", "registry.example/vllm:v0.32.0"])
def test_of_other_builds_nothing_is_said(image: str) -> None:
    assert isinstance(planned("B200", image=image), ModelPlan)


@pytest.mark.parametrize(
    ("product", "runs"), [("A100-80GB", False), ("L40S", False), ("H200", True), ("B200", True)]
)
@pytest.mark.parametrize("name", ["DeepseekV32ForCausalLM", "GlmMoeDsaForCausalLM"])
def test_sparse_attention_begins_on_hopper(product: str, runs: bool, name: str) -> None:
    """vLLM 0.32 v1/attention/backends/mla: every sparse backend takes 9.x, 10.x or 12.x alone."""
    base = facts("llama-3.1-8b")
    assert base.architecture is not None
    model = dataclasses.replace(base, architecture=dataclasses.replace(base.architecture, name=name))
    asked = spec(gpu={"products": [product], "count": 1}, engine={"name": "vllm"})
    found = plan_model(asked, model, nodes=None, history=(), config=CONFIG)
    if runs:
        assert isinstance(found, ModelPlan)
    else:
        assert isinstance(found, PlanFailure)
        assert f"runs {name} from compute capability 9.0 on" in found.failure.message


def test_architectures_that_bitsandbytes_does_not_load() -> None:
    """vLLM: "Model StableLmForCausalLM does not support BitsAndBytes quantization yet"."""
    base = facts("llama-3.1-8b")
    assert base.architecture is not None
    model = dataclasses.replace(
        base, architecture=dataclasses.replace(base.architecture, name="StableLmForCausalLM")
    )
    asked = {"gpu": {"products": ["L4"], "count": 1}, "quantization": {"method": "bnb-nf4"}}
    for one, runs in ((model, False), (base, True)):
        found = plan_model(spec(engine={"name": "vllm"}, **asked), one, nodes=None, history=(), config=CONFIG)
        assert isinstance(found, ModelPlan) is runs
        if isinstance(found, PlanFailure):
            assert "loads no StableLmForCausalLM by bitsandbytes" in found.failure.message
