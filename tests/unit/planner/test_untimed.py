"""What a plan says of a speed that was not measured in such a setup."""

from __future__ import annotations

import dataclasses
from typing import Any

from benchmarks.planner.models import facts
from tacho_contract.model import ModelFacts
from tacho_operator.core.planner.plan import plan_model
from tacho_operator.core.planner.types import ModelPlan
from tools.mock.specs import CONFIG, spec


def stored(scheme: str) -> ModelFacts:
    base = facts("qwen2.5-7b")
    quantization = dataclasses.replace(base.quantization, method="gptq", bits=4, scheme=scheme)
    return dataclasses.replace(base, quantization=quantization)


def message(model: ModelFacts, *arguments: str, product: str = "H200", version: str = "0.32.0") -> str:
    engine: dict[str, Any] = {"name": "vllm", "image": f"vllm/vllm-openai:v{version}"}
    asked = spec(gpu={"products": [product], "count": 1}, engine={**engine, "extraArgs": list(arguments)})
    found = plan_model(asked, model, nodes=None, history=(), config=CONFIG)
    assert isinstance(found, ModelPlan), found
    return found.message


def test_modules_of_other_bits_have_not_the_speed_of_four() -> None:
    assert "as vLLM 0.32 ran" in message(stored("W4A16"))
    assert "as vLLM 0.32 ran" not in message(stored("W4A16+W8A16"))
