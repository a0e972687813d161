"""What a plan says of a speed that was not measured in such a setup."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

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


LLAMA = facts("llama-3.1-8b")


@pytest.mark.parametrize(
    ("model", "more", "why"),
    [
        (stored("W4A16+act-order"), {"version": "0.26.0"}, "with such weights"),
        (stored("W4A16+W8A16"), {}, "with such weights"),
        (stored("W4A16"), {"product": "L40S"}, "on such a GPU"),
        (stored("W4A16+W8A16"), {"product": "L40S"}, "on such a GPU"),
        (LLAMA, {"version": "0.25.0"}, "with so early a version"),
        (LLAMA, {"version": "0.33.0", "product": "H100-NVL"}, "on such a GPU and version"),
        (facts("gemma-3-4b"), {}, "with a model of images"),
        (facts("jamba-v0.1"), {}, "with such layers"),
    ],
)
def test_a_plan_says_what_was_not_measured(model: ModelFacts, more: dict[str, str], why: str) -> None:
    assert f"(a factor of 2 up or down); its steps were not measured {why}." in message(model, **more)


@pytest.mark.parametrize(
    ("given", "why"),
    [
        ("--enforce-eager", "with such arguments or variables"),
        ("--cudagraph-capture-sizes=64", "with such CUDA graphs"),
    ],
)
def test_arguments_that_were_not_measured(given: str, why: str) -> None:
    assert f"its steps were not measured {why}." in message(LLAMA, given)
