"""GPUs that are too new for a checkpoint's kernel."""

from __future__ import annotations

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
