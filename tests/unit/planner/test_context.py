"""The context of a plan: its length and number of requests where nothing, or too much, is asked."""

from __future__ import annotations

import dataclasses

import pytest

from benchmarks.planner.models import facts
from tacho_operator.core.planner.fit import OVERHEAD_MARGIN
from tacho_operator.core.planner.plan import plan_model
from tacho_operator.core.planner.types import ModelPlan
from tests.unit.planner.choosing import fitting, refused
from tools.mock.specs import CONFIG, spec


def test_an_absent_length_is_the_longest_useful_that_fits():
    free = fitting("llama-3.1-8b", gpu={"products": ["H200"], "count": 1}, engine={"name": "vllm"})
    assert free.max_model_len > 8192
    longer = refused(
        "llama-3.1-8b",
        gpu={"products": ["H200"], "count": 1},
        engine={"name": "vllm"},
        quantization={"method": free.quantization_method},
        context={"maxModelLen": free.max_model_len + 256, "concurrency": free.concurrency},
    )
    assert longer.failure.details["fitsMaxModelLen"] == str(free.max_model_len)


def test_the_kv_cache_figures_agree_with_each_other():
    found = fitting("llama-3.1-8b", gpu={"products": ["H200"]}, context={"maxModelLen": 8192})
    seen = found.predicted
    assert seen.kv_cache_tokens == pytest.approx(seen.max_concurrency * 8192, rel=0.001)
    assert seen.kv_cache_bytes == pytest.approx(seen.kv_cache_tokens * 131072, rel=0.001)
    parts = (seen.weights_bytes, seen.kv_cache_bytes, seen.activation_bytes, seen.graph_bytes)
    assert sum(parts) < seen.total_bytes


def test_a_plan_leaves_a_margin():
    found = fitting(
        "llama-3.1-8b", gpu={"products": ["L4"]}, engine={"name": "vllm"}, context={"concurrency": 1}
    )
    seen = found.predicted
    spare = seen.kv_cache_bytes - found.max_model_len * 131072
    margin = OVERHEAD_MARGIN * (seen.budget_bytes - seen.kv_cache_bytes - seen.weights_bytes)
    assert spare >= int(margin) > 2**28
    assert spare < margin + 257 * 131072


def test_hybrid_models_bound_the_sequences():
    found = fitting("jamba-v0.1", gpu={"products": ["H200"], "count": 1}, engine={"name": "vllm"})
    assert "--max-num-seqs" in found.arguments


def test_a_context_too_short_for_the_workload_is_not_a_plan():
    """64 requests on an L4: 16 bits leave each 256 tokens, 8 bits more than a request takes."""
    found = fitting("llama-3.1-8b", gpu={"products": ["L4"], "count": 1}, context={"concurrency": 64})
    assert found.quantization_method == "fp8"
    assert found.max_model_len >= 512 + 200
    longer = {"inputTokens": 3000, "outputTokens": 100}
    asks = {"gpu": {"products": ["L4"], "count": 1}, "context": {"concurrency": 24}, "workload": longer}
    assert fitting("llama-3.1-8b", **asks, engine={"name": "vllm"}).max_model_len >= 3100
    none = refused("llama-3.1-8b", **asks, engine={"name": "vllm"}, quantization={"method": "none"})
    length = int(none.failure.details["fitsMaxModelLen"])
    assert length < 3100
    asks["context"] = {"concurrency": 24, "maxModelLen": length}
    assert fitting("llama-3.1-8b", **asks, engine={"name": "vllm"}, quantization={"method": "none"})


def test_a_model_shorter_than_the_workload_is_planned_whole():
    small = dataclasses.replace(
        facts("qwen2.5-0.5b"),
        architecture=dataclasses.replace(facts("qwen2.5-0.5b").architecture, max_positions=512),
    )
    found = plan_model(spec(gpu={"products": ["L4"]}), small, nodes=None, history=(), config=CONFIG)
    assert isinstance(found, ModelPlan)
    assert found.max_model_len == 512


@pytest.mark.parametrize("nodes", [(), None])
def test_a_host_of_unknown_memory_is_not_taken_for_an_endless_one(nodes):
    found = fitting("llama-3.1-8b", nodes, gpu={"count": 0})
    assert "is not checked" in found.message
    assert found.max_model_len == 8192
    assert (found.predicted.budget_bytes, found.gpu_memory_bytes) == (None, 0)
    assert found.predicted.max_concurrency == found.concurrency
    assert "1048576" not in found.message


def test_concurrency_is_given_up_for_requests_longer_than_a_comfortable_context():
    found = fitting(
        "llama-3.1-8b",
        gpu={"products": ["L4"], "count": 1},
        workload={"inputTokens": 50_000, "outputTokens": 200},
    )
    assert found.max_model_len >= 50_200
    assert found.concurrency == 1
