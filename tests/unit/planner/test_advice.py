"""What DoesNotFit says would fit fits when it is done."""

from __future__ import annotations

from hypothesis import HealthCheck, given, settings, strategies as st

from tacho_engines.hardware.gpu_table import GPUS
from tacho_operator.core.planner.plan import plan_model
from tacho_operator.core.planner.types import ModelPlan, PlanFailure
from tests.unit.planner.builders import CONFIG, gpu_node, spec
from tests.unit.planner.models import facts

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


@settings(max_examples=250, deadline=None, suppress_health_check=[HealthCheck.too_slow])
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
