"""What a plan assumes, or leaves out, and says so: buffers of several GPUs, memory for images."""

from __future__ import annotations

import pytest

from benchmarks.planner.models import facts
from tacho_operator.core.planner.plan import plan_model
from tacho_operator.core.planner.types import ModelPlan, PlanFailure
from tools.mock.specs import CONFIG, gpu_node, spec

ASSUMED = "as on two H200: --gpu-memory-utilization=0.92 in engine.extraArgs avoids the assumption"


def plan(label, gpus=2, *, concurrency=4, model="mistral-7b-v0.2", **engine):
    asked = spec(
        engine={"name": "vllm", "image": "vllm/vllm-openai:v0.32.0", **engine},
        quantization={"method": "none"},
        gpu={"products": [label], "count": gpus},
        context={"maxModelLen": 4096, "concurrency": concurrency},
    )
    nodes = (gpu_node("node", label, gpus),)
    return plan_model(asked, facts(model), nodes=nodes, history=(), config=CONFIG)


def test_a_lower_utilization_of_small_gpus_is_told_as_assumed():
    found = plan("Tesla-T4")
    assert "--gpu-memory-utilization" in found.arguments
    taken = "The plan assumes that data exchange takes 973 MiB of each GPU before the engine measures it"
    assert f"{taken}, {ASSUMED}" in found.message


def test_so_is_it_where_nothing_fits():
    found = plan("Tesla-T4", concurrency=22)
    assert isinstance(found, PlanFailure)
    assert ASSUMED in found.failure.message


def test_gpus_on_which_it_changes_nothing_are_told_nothing():
    for found in (plan("NVIDIA-L4"), plan("NVIDIA-L4", 1), plan("NVIDIA-H200")):
        assert "--gpu-memory-utilization" not in found.arguments
        assert "assumption" not in found.message


def test_a_users_own_utilization_is_not_refused_for_an_assumption():
    found = plan("Tesla-T4", concurrency=22, extraArgs=["--gpu-memory-utilization=0.92"])
    assert isinstance(found, ModelPlan)
    assert "assumption" not in found.message
    refused = plan("Tesla-T4", extraArgs=["--gpu-memory-utilization=0.99"])
    assert "512 MiB are needed beside it" in refused.failure.message


@pytest.mark.parametrize("switch", ["", "--language-model-only", "--limit-mm-per-prompt.image=0"])
def test_memory_for_images_is_not_planned_and_that_is_said(switch):
    """vLLM encodes the largest image at its start: Qwen2.5-VL failed so on GPUs of 24 GB."""
    found = plan("NVIDIA-L4", 1, model="gemma-3-4b", extraArgs=[switch] if switch else [])
    assert ("needs to encode the largest ones is not planned" in found.message) is (not switch)
    assert "images" not in plan("NVIDIA-L4", 1).message
