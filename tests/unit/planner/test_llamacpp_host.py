"""GGUF models on CPU nodes."""

from __future__ import annotations

import dataclasses

import pytest
from hypothesis import given, strategies as st

from benchmarks.planner.models import facts as facts_of
from benchmarks.planner.placements import host, placement
from tacho_contract.units import GIB, MIB
from tacho_engines.base import Context
from tacho_engines.llamacpp import memory as llamacpp
from tacho_operator.core.planner.fit import margin_bytes
from tacho_operator.core.planner.plan import plan_model
from tacho_operator.core.planner.types import ModelPlan, PlanFailure
from tacho_operator.core.types import PastMeasurement
from tools.mock.specs import CONFIG, cpu_node, gpu_node, smollm2, spec

ONE_NODE = (cpu_node(),)


def plan(nodes=ONE_NODE, facts=None, history=(), **fields):
    return plan_model(spec(**fields), facts or smollm2(), nodes=nodes, history=history, config=CONFIG)


def on_host(length, concurrency):
    return llamacpp.account(placement("llamacpp", smollm2(), "gguf", host()), Context(length, concurrency))


def test_kv_cache_is_what_llama_cpp_printed():
    """Own measurement, xllamacpp 2026.10: `size = 90.00 MiB (1024 cells, 30 layers, 4/4 seqs)`."""
    assert llamacpp.kv_cache_bytes(smollm2().architecture, 1024, 4, 2.0) == 90 * MIB
    assert llamacpp.kv_cache_bytes(smollm2().architecture, 8192, 1, 2.0) == 180 * MIB


@pytest.mark.parametrize(
    ("cells", "sequences", "printed_mib"), [(1024, 4, 15.64), (4096, 4, 18.64), (8192, 1, 22.64)]
)
def test_compute_buffer_is_near_what_llama_cpp_printed(cells, sequences, printed_mib):
    """Own measurement, xllamacpp 2026.10: `sched_reserve: CPU compute buffer size`."""
    predicted = llamacpp.compute_bytes(smollm2().architecture, cells, sequences, 512) / MIB
    assert predicted == pytest.approx(printed_mib, rel=0.12)
    assert predicted >= printed_mib * 0.99


def test_resident_memory_is_above_what_the_process_had():
    """VmRSS 268800, 545348, 360060 kB after a full prompt in each slot, without tacho's own runtime."""
    for cells, sequences, resident_kb in ((1024, 4, 268800), (4096, 4, 545348), (8192, 1, 360060)):
        memory = on_host(cells, sequences)
        assert resident_kb * 1024 < memory.total_bytes < resident_kb * 1024 * 1.35


def test_the_plan_pins_the_model_and_says_what_it_needs():
    result = plan(engine={"name": "llamacpp"}, context={"maxModelLen": 2048, "concurrency": 4})
    assert isinstance(result, ModelPlan)
    assert (result.engine, result.quantization_method, result.gpu_count) == ("llamacpp", "gguf", 0)
    assert result.files == smollm2().files
    assert (result.max_model_len, result.concurrency) == (2048, 4)
    assert result.predicted.kv_cache_tokens == 8192
    assert result.predicted.budget_bytes == 8 * GIB
    assert "KV cache 180 MiB" in result.message


def test_an_absent_context_becomes_the_longest_that_fits():
    roomy, tight = plan(), plan(nodes=(cpu_node(memory="700Mi"),))
    assert (roomy.max_model_len, roomy.concurrency) == (8192, 4)
    assert tight.predicted.total_bytes <= 700 * MIB
    assert (tight.max_model_len, tight.concurrency) == (8192, 2)


def test_an_asked_length_that_does_not_fit_says_which_would():
    result = plan(nodes=(cpu_node(memory="512Mi"),), context={"maxModelLen": 8192, "concurrency": 4})
    assert isinstance(result, PlanFailure)
    assert result.failure.failure_class == "DoesNotFit"
    fitting = int(result.failure.details["fitsMaxModelLen"])
    assert f"context.maxModelLen to {fitting}" in result.failure.next_step
    again = plan(nodes=(cpu_node(memory="512Mi"),), context={"maxModelLen": fitting, "concurrency": 4})
    assert isinstance(again, ModelPlan)
    beyond = plan(nodes=(cpu_node(memory="512Mi"),), context={"maxModelLen": fitting + 256, "concurrency": 4})
    assert isinstance(beyond, PlanFailure)


def test_the_containers_own_limit_counts_where_it_is_smaller_than_the_node():
    result = plan(
        engine={"name": "llamacpp", "resources": {"limits": {"memory": "300Mi"}}},
        context={"maxModelLen": 8192},
    )
    assert isinstance(result, PlanFailure)
    assert "memory limit of engine.resources" in result.failure.message


def test_a_limit_above_what_the_largest_node_has_is_not_there():
    result = plan(
        nodes=(cpu_node("small", "200Mi"), cpu_node("large", "300Mi")),
        engine={"name": "llamacpp", "resources": {"limits": {"memory": "64Gi"}}},
        context={"maxModelLen": 8192},
    )
    assert isinstance(result, PlanFailure)
    assert "allocatable memory of node large" in result.failure.message


def test_a_node_tainted_for_gpus_takes_no_pod_without_one():
    tainted = gpu_node("gpu", "NVIDIA-L4")
    result = plan(nodes=(tainted, cpu_node("cpu", "300Mi")), gpu={"count": 0}, context={"maxModelLen": 8192})
    assert isinstance(result, PlanFailure)
    assert "node cpu" in result.failure.message


def test_only_nodes_the_pod_could_run_on_count():
    nodes = (
        cpu_node("small", "400Mi"),
        dataclasses.replace(cpu_node("cordoned", "64Gi"), unschedulable=True),
        dataclasses.replace(
            cpu_node("tainted", "64Gi"), taints=({"key": "dedicated", "value": "x", "effect": "NoSchedule"},)
        ),
    )
    ask = {"context": {"maxModelLen": 8192, "concurrency": 4}}
    assert isinstance(plan(nodes=nodes, **ask), PlanFailure)
    tolerated = {"spec": {"tolerations": [{"key": "dedicated", "operator": "Exists"}]}}
    assert isinstance(plan(nodes=nodes, podTemplate=tolerated, **ask), ModelPlan)


def test_unreadable_nodes_leave_the_plan_unchecked_and_say_so():
    result = plan(nodes=None, gpu={"count": 0})
    assert isinstance(result, ModelPlan)
    assert result.predicted.budget_bytes is None
    assert "not checked" in result.message


def test_quantized_keys_and_values_take_less():
    full = plan(context={"maxModelLen": 8192, "concurrency": 4})
    packed = plan(quantization={"kvCacheDtype": "q8_0"}, context={"maxModelLen": 8192, "concurrency": 4})
    assert packed.predicted.kv_cache_bytes == pytest.approx(
        full.predicted.kv_cache_bytes * 34 / 64, rel=0.001
    )


def test_safetensors_are_not_for_llama_cpp():
    result = plan(facts=dataclasses.replace(smollm2(), format="safetensors"), engine={"name": "llamacpp"})
    assert result.failure.failure_class == "UnsupportedQuantization"


def test_a_custom_engine_is_sized_and_not_predicted():
    facts = dataclasses.replace(smollm2(), format="custom", architecture=None, tensors=())
    custom = {
        "name": "custom",
        "image": "registry.example/engine:1",
        "custom": {"command": ["serve"], "port": 8000},
    }
    result = plan(facts=facts, engine=custom)
    assert result.image == "registry.example/engine:1"
    assert result.predicted.total_bytes is None
    assert result.quantization_method == "none"
    assert (result.gpu_product, result.gpu_count) == ("CPU", 0)
    assert (result.max_model_len, result.concurrency) == (4096, 16)


def test_a_custom_engine_needs_an_image():
    result = plan(engine={"name": "custom", "custom": {"command": ["serve"], "port": 8000}})
    assert isinstance(result, PlanFailure)
    assert result.failure.failure_class == "InvalidConfig"
    assert "engine.image is empty" in result.failure.message
    assert result.failure.next_step.startswith("Set engine.image")


def test_history_corrects_what_fits():
    account = on_host(8192, 4)
    exact = account.total_bytes + margin_bytes(account)
    nodes = (cpu_node(memory=str(exact + MIB)),)
    short = (cpu_node(memory=str(exact - MIB)),)
    ask = {"context": {"maxModelLen": 8192, "concurrency": 4}}
    assert isinstance(plan(nodes=nodes, **ask), ModelPlan)
    assert isinstance(plan(nodes=short, **ask), PlanFailure)
    seen = PastMeasurement(
        engine="llamacpp", engine_version="2026.10", gpu_product="CPU", predicted_total_bytes=2000,
        actual_total_bytes=2400, predicted_known_bytes=1000, actual_known_bytes=1000,
    )  # fmt: skip
    assert isinstance(plan(nodes=nodes, history=(seen,), **ask), PlanFailure)
    told = plan(history=(seen,), **ask)
    assert "took 40 % more than predicted" in told.message


@given(length=st.integers(16, 200_000), concurrency=st.integers(1, 64))
def test_more_context_never_needs_less(length, concurrency):
    less = on_host(length, concurrency).total_bytes
    assert 0 < less <= on_host(length + 1, concurrency).total_bytes
    assert less <= on_host(length, concurrency + 1).total_bytes


@pytest.mark.parametrize(
    ("products", "label"),
    [(["L4"], "NVIDIA-L4"), (["NVIDIA-L4"], "NVIDIA-L4"), (["Brand-New-GPU"], "Brand-New-GPU"), ([], "")],
)
def test_a_custom_engine_asks_for_its_gpu_by_the_node_label(products: list[str], label: str) -> None:
    facts = dataclasses.replace(smollm2(), format="custom", architecture=None, tensors=())
    custom = {"name": "custom", "image": "example/engine:1", "custom": {"command": ["serve"], "port": 8000}}
    result = plan(facts=facts, engine=custom, gpu={"products": products, "count": 1})
    assert isinstance(result, ModelPlan)
    assert (result.gpu_product, result.gpu_count) == (label, 1)


def test_a_length_beyond_the_models_is_answered_with_the_models_where_no_memory_is_known():
    facts = dataclasses.replace(
        smollm2(), architecture=dataclasses.replace(smollm2().architecture, max_positions=32_768)
    )
    found = plan(nodes=None, facts=facts, gpu={"count": 0}, context={"maxModelLen": 100_000}).failure
    assert found.details["fitsMaxModelLen"] == "32768"
    assert "availableBytes" not in found.details


def test_a_gpu_is_advised_where_the_host_is_too_small():
    node = gpu_node("h", "NVIDIA-H200")
    small = dataclasses.replace(node, allocatable={**node.allocatable, "memory": "150Mi"}, taints=())
    found = plan(nodes=(small,), gpu={"count": 0}).failure
    assert found.failure_class == "DoesNotFit"
    assert found.details["fitsProduct"] == "NVIDIA-H200"


def test_a_larger_micro_batch_widens_the_windows_cache():
    """llama.cpp b11549, llama-kv-cache-iswa.cpp: size_swa = PAD(n_swa + n_ubatch)."""
    gemma = facts_of("gemma-3-4b").architecture
    usual = llamacpp.kv_cache_bytes(gemma, 8192, 1, 2.0)
    wide = llamacpp.kv_cache_bytes(gemma, 8192, 1, 2.0, 2048)
    windows = next(group for group in gemma.layer_groups if group.kind == "sliding")
    a_cell = windows.layers * windows.key_value_heads * 2 * windows.key_head_dim * 2
    assert wide - usual == (2048 - 512) * a_cell
    small, large = (
        llamacpp.account(
            placement("llamacpp", "gemma-3-4b", "gguf", arguments=("--ubatch-size", rows)), Context(8192, 2)
        )
        for rows in ("512", "2048")
    )
    assert large.cache_bytes - small.cache_bytes == 2 * (wide - usual)
    assert large.request_bytes - small.request_bytes == wide - usual
