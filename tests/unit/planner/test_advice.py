"""What DoesNotFit says would fit fits when it is done."""

from __future__ import annotations

import pytest
from hypothesis import given, strategies as st

from benchmarks.planner.models import facts
from tacho_contract.units import GIB, gib_or_more
from tacho_engines.hardware.gpu_table import GPUS
from tacho_operator.core.planner.plan import plan_model
from tacho_operator.core.planner.types import ModelPlan, PlanFailure
from tacho_operator.core.types import PastMeasurement
from tests.properties import examples
from tools.mock.specs import CONFIG, cpu_node, gpu_node, smollm2, spec

MODELS = (
    "llama-2-7b", "llama-3.1-8b", "llama-3.1-8b-awq", "llama-3.1-70b", "mixtral-8x7b", "octocoder",
    "qwen2.5-7b", "gemma-3-4b", "deepseek-v3", "gpt-oss-20b", "jamba-v0.1", "nemotron-h-8b",
)  # fmt: skip
NODES = (
    gpu_node("t4", "Tesla-T4", 2, memory_mib=15360, compute="7.5"),
    gpu_node("a10", "NVIDIA-A10", 4, memory_mib=23028, compute="8.6"),
    gpu_node("h100", "NVIDIA-H100-80GB-HBM3", 8, memory_mib=81559, compute="9.0"),
)


def answer(model, nodes, engine, method, product, count, length, concurrency):
    gpu = {"products": [product], **({"count": count} if count else {})}
    context = {"maxModelLen": length, "concurrency": concurrency}
    asks = spec(
        gpu=gpu,
        context={name: value for name, value in context.items() if value},
        **({"engine": {"name": engine}} if engine else {}),
        **({"quantization": {"method": method}} if method else {}),
    )
    return plan_model(asks, facts(model), nodes=nodes, history=(), config=CONFIG)


@examples(2.5)
@given(
    st.sampled_from(MODELS),
    st.sampled_from((None, NODES)),
    st.sampled_from(("", "vllm", "transformers", "ctranslate2")),
    st.sampled_from(("", "none", "fp8", "bnb-nf4")),
    st.sampled_from(sorted(row.label for row in GPUS)),
    st.sampled_from((None, 1, 2, 4)),
    st.sampled_from((None, 2048, 8192, 32_768, 100_000)),
    st.sampled_from((None, 1, 4, 32)),
)
def test_what_is_said_to_fit_fits(model, nodes, engine, method, product, count, length, concurrency):
    found = answer(model, nodes, engine, method, product, count, length, concurrency)
    if isinstance(found, ModelPlan) or found.failure.failure_class != "DoesNotFit":
        return
    said = found.failure.details
    shorter = int(said["fitsMaxModelLen"]) if "fitsMaxModelLen" in said else length
    fewer = int(said["fitsConcurrency"]) if "fitsConcurrency" in said else concurrency
    with_method = f"quantize with {said.get('fitsMethod')}" in found.failure.next_step.lower()
    shortened_by_method = with_method and "and set context.maxModelLen" in found.failure.next_step
    if "fitsMaxModelLen" in said and not shortened_by_method:
        assert fits(model, nodes, engine, method, product, count, shorter, fewer)
    if "fitsMethod" in said:
        part = (shorter, fewer) if shortened_by_method else (length, concurrency)
        assert fits(model, nodes, said["fitsEngine"], said["fitsMethod"], product, count, *part)
    if "fitsGpuCount" in said:
        more = int(said["fitsGpuCount"])
        assert fits(model, nodes, engine, method, product, more, length, concurrency)
    if "fitsProduct" in said:
        other, several = said["fitsProduct"], int(said["fitsProductCount"])
        assert fits(model, nodes, engine, method, other, several, length, concurrency)


def fits(*question) -> bool:
    found = answer(*question)
    assert isinstance(found, ModelPlan), found
    return True


def refused(model, nodes, count, length, concurrency, *, product="T4", engine="vllm", method="none"):
    found = answer(model, nodes, engine, method, product, count, length, concurrency)
    assert isinstance(found, PlanFailure), found
    return found


ONE_T4 = (gpu_node("t4", "Tesla-T4", 1, memory_mib=15360, compute="7.5"),)
TWO_T4 = NODES[:1]
ONE_L4 = (gpu_node("l4", "NVIDIA-L4", 1, memory_mib=23034, compute="8.9"),)


@pytest.mark.parametrize(
    ("model", "nodes", "length", "concurrency", "step"),
    [
        ("llama-3.1-8b", TWO_T4, 4096, 4, "Quantize with fp8 (vllm), or set gpu.count to 2."),
        ("llama-3.1-8b", ONE_T4, 8192, 4, "Quantize with bnb-nf4 (vllm)."),
        ("deepseek-v3", ONE_T4, None, None, "Use a smaller model or a larger GPU."),
        ("llama-3.1-8b", ONE_L4, 8192, 64, "Set context.maxModelLen to 256 or less."),
        (
            "llama-3.1-8b",
            ONE_L4,
            1024,
            4096,
            "Set context.maxModelLen to 1024 or less with context.concurrency 1.",
        ),
    ],
)
def test_what_is_advised(model, nodes, length, concurrency, step):
    method = "fp8" if model == "deepseek-v3" else "none"
    product = nodes[0].labels["nvidia.com/gpu.product"]
    found = refused(model, nodes, 1, length, concurrency, product=product, method=method)
    assert found.failure.next_step == step


def test_another_gpu_is_advised_by_its_name_and_on_a_host_with_the_count_that_takes_it():
    small = refused("llama-3.1-8b", (*ONE_T4, *ONE_L4), 1, 4096, 4)
    assert small.failure.next_step == "Quantize with fp8 (vllm), or use NVIDIA-L4."
    nodes = (*ONE_L4, cpu_node(memory="1Gi"))
    host = {"gpu": {"count": 0}, "context": {"maxModelLen": 8192, "concurrency": 4}}
    asks = spec(**host, engine={"name": "transformers"})
    told = plan_model(asks, facts("qwen2.5-0.5b"), nodes=nodes, history=(), config=CONFIG).failure
    assert told.next_step.startswith("Set gpu.count to 1, for NVIDIA-L4, or ")
    gguf = plan_model(
        spec(**host, engine={"name": "llamacpp"}),
        smollm2(),
        nodes=(*ONE_L4, cpu_node(memory="300Mi")),
        history=(),
        config=CONFIG,
    )
    assert "to 1, for NVIDIA-L4, or " in gguf.failure.next_step


def test_fewer_requests_are_figures_only_where_they_are_advised():
    few, many = (
        refused("llama-3.1-8b", ONE_L4, 1, 8192, n, product="L4").failure.details for n in (64, 4096)
    )
    assert "fitsConcurrency" not in few
    assert many["fitsConcurrency"] == "1"


def test_a_failure_has_the_figures_of_the_attempt_it_explains():
    found = refused("llama-3.1-8b", ONE_T4, 1, 8192, 4)
    assert 14 * GIB < found.gpu_memory_bytes < 15 * GIB
    assert ("vllm", "bnb-nf4") in {(a.engine, a.method) for a in found.alternatives if a.fits}


# --- a host --------------------------------------------------------------------------------------------
def on_host(memory, *, facts=None, history=(), length=8192, concurrency=4):
    asks = spec(gpu={"count": 0}, context={"maxModelLen": length, "concurrency": concurrency})
    nodes = (cpu_node(memory=memory),)
    return plan_model(asks, facts or smollm2(), nodes=nodes, history=history, config=CONFIG)


def test_a_memory_limit_that_is_too_low_is_the_field_to_raise():
    asks = spec(
        gpu={"count": 0},
        context={"maxModelLen": 8192, "concurrency": 4},
        engine={"name": "llamacpp", "resources": {"limits": {"memory": "300Mi"}}},
    )
    told = plan_model(asks, smollm2(), nodes=(cpu_node(memory="8Gi"),), history=(), config=CONFIG).failure
    assert told.message.startswith("964 MiB of memory are needed, 300 MiB are available (the memory limit of")
    assert "raise engine.resources.limits.memory to 1003 MiB or more" in told.next_step


SEEN = PastMeasurement(
    engine="llamacpp",
    engine_version="2026.10",
    gpu_product="CPU",
    predicted_total_bytes=2000,
    actual_total_bytes=2500,
    predicted_known_bytes=1000,
    actual_known_bytes=1000,
)


@pytest.mark.parametrize("history", [(), (SEEN,) * 9])
def test_the_memory_that_is_said_to_be_enough_is_and_less_is_not(history):
    told = on_host("300Mi", history=history).failure
    needed = int(told.details["neededBytes"])
    assert f"use a node of {gib_or_more(needed)} or more" in told.next_step
    assert isinstance(on_host(str(needed), history=history), ModelPlan)
    assert isinstance(on_host(str(needed - 1), history=history), PlanFailure)
    assert ("took 50 % more than predicted" in told.message) == bool(history)


@pytest.mark.parametrize(
    ("facts", "memory", "length", "step"),
    [
        (smollm2(), "60Mi", 256, "Use a smaller model, or use a node"),
        (smollm2(), "250Mi", 256, "Use a GGUF file below 47 MiB, or use a node"),
        (facts("qwen2.5-0.5b"), "600Mi", 256, "Use a smaller model, or use a node"),
        (smollm2(), "300Mi", 8192, "Set context.maxModelLen to 256 or less, or use a node"),
    ],
)
def test_a_host_too_small_for_any_context_needs_a_smaller_model(facts, memory, length, step):
    assert on_host(memory, facts=facts, length=length).failure.next_step.startswith(step)


def test_no_host_is_large_enough_for_a_length_the_model_was_not_made_for():
    told = on_host("512Mi", length=100_000).failure
    assert "supports 8192 tokens" in told.message
    assert told.next_step == "Set context.maxModelLen to 2560 or less."
    told = on_host("60Mi", length=100_000).failure
    assert told.next_step == "Use a smaller model or a node with more memory."


def test_the_method_that_fits_a_part_says_which_part():
    found = answer("qwen2.5-7b", None, "vllm", "none", "RTX4060-LAPTOP", 1, 32_768, 4)
    assert isinstance(found, PlanFailure)
    said = found.failure.details
    assert said["fitsMethod"].startswith("bnb-")
    assert f"and set context.maxModelLen to {said['fitsMaxModelLen']} or less" in found.failure.next_step


def test_the_other_product_says_how_many():
    found = answer("llama-3.1-70b", NODES, "vllm", "none", "T4", 2, 8192, 4)
    assert isinstance(found, PlanFailure)
    assert found.failure.details["fitsProduct"] == "NVIDIA-H100-80GB-HBM3"
    assert int(found.failure.details["fitsProductCount"]) > 1
    assert f"x {found.failure.details['fitsProductCount']}" in found.failure.next_step


@pytest.mark.parametrize(
    ("arguments", "advice"),
    [
        (
            ["--gpu-memory-utilization=0.1"],
            "Raise or remove --gpu-memory-utilization=0.1 in engine.extraArgs",
        ),
        (
            ["--gpu_memory_utilization", "0.1", "--seed=1"],
            "Raise or remove --gpu_memory_utilization 0.1 in engine.extraArgs",
        ),
        (
            ["--seed=1", "--max-num-batched-tokens=400000"],
            "Change or remove --max-num-batched-tokens=400000 in engine.extraArgs",
        ),
    ],
)
def test_the_users_own_switch_is_named_before_a_larger_gpu(arguments, advice):
    gpu = {"products": ["A10"], "count": 1}
    context = {"maxModelLen": 4096, "concurrency": 1}
    asks = spec(gpu=gpu, context=context, engine={"name": "vllm", "extraArgs": arguments})
    found = plan_model(asks, facts("qwen2.5-7b"), nodes=NODES, history=(), config=CONFIG)
    assert found.failure.failure_class == "DoesNotFit"
    assert found.failure.next_step.startswith(advice)


def test_a_switch_that_changes_nothing_is_not_named():
    asks = spec(
        gpu={"products": ["T4"], "count": 1},
        context={"maxModelLen": 4096},
        engine={"name": "vllm", "extraArgs": ["--gpu-memory-utilization=0.85"]},
        quantization={"method": "none"},
    )
    found = plan_model(asks, facts("qwen2.5-7b"), nodes=NODES, history=(), config=CONFIG)
    assert found.failure.failure_class == "DoesNotFit"
    assert "extraArgs" not in found.failure.next_step
