"""What fits only with less left free than a plan would leave by itself."""

from __future__ import annotations

from dataclasses import replace

import pytest

from benchmarks.planner.models import facts
from benchmarks.planner.placements import placement
from tacho_contract.model import ModelFacts, StoredQuantization
from tacho_engines.base import Context
from tacho_engines.hardware.device import Device
from tacho_engines.hardware.gpus import named_gpu
from tacho_engines.memory.account import Account
from tacho_engines.registry import engine_profile, planner_adapter
from tacho_engines.vllm.memory import WITHIN_BYTES
from tacho_operator.core.planner.attempt import Attempt
from tacho_operator.core.planner.devices import DeviceOption
from tacho_operator.core.planner.fit import fits, margin_bytes
from tacho_operator.core.planner.messages import learned
from tacho_operator.core.planner.plan import plan_model
from tacho_operator.core.planner.types import ModelPlan, PlanFailure
from tools.mock.specs import CONFIG, gpu_node, spec

TIGHT, SHORT = 0.05003, 0.04923
"""Parts of an H200 for an 8B in AWQ and 1024 tokens: with 59 MiB beside what it needs, and 56 too small."""


def plan(utilization: float, version: str = "0.26.0", **fields) -> ModelPlan | PlanFailure:
    engine = {
        "image": f"vllm/vllm-openai:v{version}",
        "extraArgs": [f"--gpu-memory-utilization={utilization}"],
    }
    asked = {
        "engine": {"name": "vllm", **engine},
        "quantization": {"method": "awq"},
        "gpu": {"products": ["NVIDIA-H200"], "count": 1},
        "context": {"maxModelLen": 1024, "concurrency": 1},
        "workload": {"inputTokens": 8, "outputTokens": 8},
    }
    nodes = (gpu_node("node", "NVIDIA-H200", 2),)
    return plan_model(
        spec(**(asked | fields)), facts("llama-3.1-8b-awq"), nodes=nodes, history=(), config=CONFIG
    )


def test_what_was_asked_for_is_planned_and_said_to_be_tight() -> None:
    found = plan(TIGHT)
    assert isinstance(found, ModelPlan)
    assert (found.max_model_len, found.concurrency) == (1024, 1)
    assert " Tight: 59 MiB stay free instead of 344 MiB. If the engine uses more" in found.message


def test_what_lacks_more_is_refused_and_told_what_suffices() -> None:
    found = plan(SHORT)
    assert isinstance(found, PlanFailure)
    assert found.failure.failure_class == "DoesNotFit"
    # Between the two: it would fit, but for what must stay free.
    barely = plan(0.0497)
    assert isinstance(barely, PlanFailure)
    assert "and 24 MiB must stay free" in barely.failure.message


def test_a_chosen_length_is_refused_by_the_whole_margin() -> None:
    found = plan(0.0495, context={})
    assert isinstance(found, PlanFailure)
    assert "and 344 MiB must stay free" in found.failure.message


def test_a_tight_plan_leaves_less_free_than_was_learned() -> None:
    asked = placement("vllm", "llama-3.1-8b", "none", named("NVIDIA-H200"), version="0.26.0")
    found = Attempt(
        engine=engine_profile("vllm"),
        placement=asked,
        device_option=DeviceOption(asked.device),
        excess=0.8,
        account=planner_adapter("vllm").account(asked, Context(2048, 1)),
    )
    assert "took 80 % more" in learned(found)
    assert learned(replace(found, tight=True)) == ""
    assert learned(replace(found, least_margin=True)) == "", "the minimum was applied"


def test_where_nothing_was_measured_the_whole_margin_stays() -> None:
    """0.27 needs 0.59 GiB more, and keeps the whole margin beside it."""
    found = plan(0.0565, version="0.27.0")
    assert isinstance(found, PlanFailure)
    assert "and 480 MiB must stay free" in found.failure.message
    assert isinstance(plan(0.057, version="0.27.0"), ModelPlan)


def known(
    model: str | ModelFacts = "llama-3.1-8b",
    gpu: Device | None = None,
    count: int = 1,
    method: str = "none",
) -> int | None:
    asked = placement("vllm", model, method, gpu or named("NVIDIA-H200"), count=count, version="0.26.0")
    account = planner_adapter("vllm").account(asked, Context(2048, 1))
    assert account is not None
    return account.known_within_bytes


def named(product: str) -> Device:
    found = named_gpu(product)
    assert found is not None
    return found


def test_what_is_known_is_known_of_dense_models_on_a_gpu_of_their_own() -> None:
    assert known() == WITHIN_BYTES
    assert known("qwen3-30b-a3b") is known("gemma-2-9b") is known("deepseek-v3") is None
    assert known(gpu=named("H100")) is None
    assert known(gpu=replace(named("NVIDIA-H200"), sharers=2)) is None
    assert known(count=2) is None


@pytest.mark.parametrize(
    ("method", "stored", "scheme", "started"),
    [
        ("fp8", "", "", True),
        ("bnb-nf4", "", "", True),
        ("awq", "awq", "W4A16", True),
        ("compressed-tensors", "compressed-tensors", "W4A16", True),
        ("compressed-tensors", "compressed-tensors", "W8A8-int", False),
        ("compressed-tensors", "compressed-tensors", "W8A8-float", False),
        ("compressed-tensors", "compressed-tensors", "W8A16", False),
        ("compressed-tensors", "compressed-tensors", "W4A16+W8A8-float", False),
        ("compressed-tensors", "compressed-tensors", "", False),
        ("fp8", "fp8", "", False),
        ("bnb-nf4", "bitsandbytes", "nf4", False),
        ("bnb-fp4", "", "", False),
        ("bnb-int8", "bitsandbytes", "int8", False),
    ],
)
def test_what_is_known_is_known_of_weights_that_started(method, stored, scheme, started) -> None:
    form = StoredQuantization(method=stored, scheme=scheme, bits=8 if stored else 0)
    found = known(replace(facts("llama-3.1-8b"), quantization=form), method=method)
    assert (found is not None) == started


def test_of_a_large_overhead_a_share_stays_free() -> None:
    asked = placement("vllm", "llama-3.1-70b", "none", named("NVIDIA-H200"), version="0.26.0")
    account = planner_adapter("vllm").account(asked, Context(2048, 1))
    assert account is not None
    assert account.known_within_bytes == account.overhead_bytes // 64 > WITHIN_BYTES


def test_a_context_that_a_plan_chooses_leaves_the_whole_margin() -> None:
    found = plan(TIGHT, context={})
    assert isinstance(found, PlanFailure) or "Tight" not in found.message


def test_more_requests_than_were_asked_for_are_no_reason_to_be_tight() -> None:
    found = plan(TIGHT, context={"maxModelLen": 1024})
    assert isinstance(found, ModelPlan)
    assert found.concurrency == 1


def test_who_leaves_the_number_of_gpus_open_gets_one_more_instead() -> None:
    found = plan(TIGHT, gpu={"products": ["NVIDIA-H200"]})
    assert isinstance(found, ModelPlan)
    assert found.gpu_count == 2
    assert "Tight" not in found.message


def test_of_two_ways_the_one_with_room_is_taken() -> None:
    """As stored an 8B fits tightly, and is the better; in FP8 it leaves half of that part free."""
    asked = {"engine": {"name": "vllm", "image": "vllm/vllm-openai:v0.26.0"}}
    asked["engine"] |= {"extraArgs": ["--gpu-memory-utilization=0.11903"]}
    asked |= {
        "gpu": {"products": ["NVIDIA-H200"], "count": 1},
        "workload": {"inputTokens": 8, "outputTokens": 8},
    }
    asked |= {"context": {"maxModelLen": 2048, "concurrency": 1}}
    nodes = (gpu_node("node", "NVIDIA-H200", 1),)
    free, stored = (
        plan_model(spec(**asked | how), facts("llama-3.1-8b"), nodes=nodes, history=(), config=CONFIG)
        for how in ({}, {"quantization": {"method": "none"}})
    )
    assert isinstance(stored, ModelPlan)
    assert "Tight" in stored.message
    assert isinstance(free, ModelPlan)
    assert free.quantization_method == "fp8"
    assert "Tight" not in free.message


def test_what_the_allocator_keeps_is_read_by_no_step() -> None:
    asked = {
        "engine": {"name": "vllm", "image": "vllm/vllm-openai:v0.26.0"},
        "quantization": {"method": "none"},
    }
    nodes = (gpu_node("node", "NVIDIA-H200", 1),)
    found = plan_model(
        spec(**asked | {"gpu": {"count": 1}}), facts("qwen2.5-1.5b"), nodes=nodes, history=(), config=CONFIG
    )
    assert isinstance(found, ModelPlan)
    assert found.predicted.weights_bytes is not None
    assert found.predicted.step_weights_bytes is not None
    beside = found.predicted.weights_bytes - found.predicted.step_weights_bytes
    assert beside >= 91 * 2**20


@pytest.mark.parametrize(("overhead", "margin"), [(4 * WITHIN_BYTES, WITHIN_BYTES), (400, 100)])
def test_the_least_margin_is_no_more_than_the_usual_one(overhead: int, margin: int) -> None:
    account = Account(
        weights_bytes=100,
        cache_bytes=0,
        cache_tokens=0,
        concurrency=0,
        activation_bytes=0,
        other_bytes=0,
        budget_bytes=110 + overhead + margin,
        fixed_bytes=100 + overhead,
        request_bytes=10,
        known_within_bytes=WITHIN_BYTES,
    )
    assert margin_bytes(account, tight=True) == margin
    assert fits(account, 1, tight=True)
