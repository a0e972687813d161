"""What must hold for every plan."""

from __future__ import annotations

import dataclasses

from hypothesis import HealthCheck, given, settings, strategies as st

from tacho_contract.model import Architecture, LayerGroup
from tacho_engines.hardware.gpu_table import GPUS
from tacho_operator.core.planner.plan import plan_model
from tacho_operator.core.planner.types import ModelPlan
from tests.unit.planner.builders import CONFIG, cpu_node, gpu_node, spec
from tests.unit.planner.models import facts

MODELS = (
    "llama-3.1-8b", "llama-3.1-8b-awq", "llama-3.1-70b", "mixtral-8x7b", "phi-2", "octocoder", "qwen2.5-0.5b",
    "qwen2.5-7b", "qwen3-30b-a3b", "gemma-3-4b", "deepseek-v3", "gpt-oss-20b", "jamba-v0.1", "nemotron-h-8b",
)  # fmt: skip
models = st.sampled_from(MODELS)
products = st.sampled_from(sorted({row.label for row in GPUS}))
engines = st.sampled_from(("", "vllm", "transformers", "ctranslate2"))
methods = st.sampled_from(("", "none", "fp8", "bnb-nf4", "ct2-int8"))
lengths = st.integers(16, 200_000)
few = st.integers(1, 64)
ENOUGH = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])


def fields(engine, method, product, gpus, length, concurrency):
    asks = {"gpu": {"products": [product], "count": gpus}}
    if engine:
        asks["engine"] = {"name": engine}
    if method:
        asks["quantization"] = {"method": method}
    context = {}
    if length:
        context["maxModelLen"] = length
    if concurrency:
        context["concurrency"] = concurrency
    return {**asks, "context": context}


def plan(model, engine, method, product, gpus=1, length=None, concurrency=None, nodes=None):
    asks = spec(**fields(engine, method, product, gpus, length, concurrency))
    return plan_model(asks, facts(model), nodes=nodes, history=(), config=CONFIG)


def fits(*args, **kwargs) -> bool:
    return isinstance(plan(*args, **kwargs), ModelPlan)


@ENOUGH
@given(models, engines, methods, products, lengths, few, st.integers(0, 5000), st.integers(0, 8))
def test_more_context_never_fits_better(model, engine, method, product, length, concurrency, longer, more):
    if fits(model, engine, method, product, length=length + longer, concurrency=concurrency + more):
        assert fits(model, engine, method, product, length=length, concurrency=concurrency)


@ENOUGH
@given(models, engines, methods, products, lengths, few, st.sampled_from((1, 2, 4)))
def test_more_gpus_never_fit_less(model, engine, method, product, length, concurrency, gpus):
    if fits(model, engine, method, product, gpus=gpus, length=length, concurrency=concurrency):
        again = plan(model, engine, method, product, gpus=2 * gpus, length=length, concurrency=concurrency)
        assert isinstance(again, ModelPlan) or "one GPU" in again.failure.message, again


@ENOUGH
@given(models, engines, methods, products, st.sampled_from((1, 2, 8)))
def test_nothing_is_negative_and_parts_stay_within_the_gpu(model, engine, method, product, gpus):
    found = plan(model, engine, method, product, gpus=gpus)
    if not isinstance(found, ModelPlan):
        details = found.failure.details
        assert all(not text.startswith("-") for text in details.values()), details
        return
    seen = found.predicted
    figures = [value for value in dataclasses.astuple(seen) if value is not None]
    assert all(value >= 0 for value in figures)
    assert found.max_model_len > 0
    assert found.concurrency > 0
    assert seen.total_bytes <= found.gpu_memory_bytes
    assert seen.weights_bytes < seen.budget_bytes
    assert seen.max_concurrency >= found.concurrency


@ENOUGH
@given(models, st.permutations(("Tesla-T4", "NVIDIA-L4", "NVIDIA-H100-80GB-HBM3", "")), st.integers(1, 8))
def test_the_same_question_has_the_same_answer(model, order, count):
    nodes = tuple(gpu_node(f"n-{p}", p, count) if p else cpu_node(memory="64Gi") for p in order)
    known = tuple(sorted(nodes, key=lambda node: node.name))
    first = plan_model(spec(), facts(model), nodes=nodes, history=(), config=CONFIG)
    assert first == plan_model(spec(), facts(model), nodes=known, history=(), config=CONFIG)


@ENOUGH
@given(models, products)
def test_a_free_plan_is_the_longest(model, product):
    """What the planner chose fits when asked for, in the same engine."""
    free = plan(model, "", "", product)
    if isinstance(free, ModelPlan):
        again = plan(
            model, free.engine, free.quantization_method, product, length=free.max_model_len,
            concurrency=free.concurrency,
        )  # fmt: skip
        assert isinstance(again, ModelPlan)
        assert again.predicted == free.predicted


counts = st.one_of(st.integers(0, 8), st.integers(0, 10**15))
kinds = st.sampled_from(("full", "sliding", "chunked", "mla", "mamba", "linear_attention", "none"))
groups = st.builds(
    LayerGroup, kind=kinds, layers=counts, key_value_heads=counts, key_head_dim=counts, value_head_dim=counts,
    window_tokens=counts, state_bytes=counts,
)  # fmt: skip
architectures = st.builds(
    Architecture, name=st.just("strange"), hidden_size=counts, layers=counts, attention_heads=counts,
    key_value_heads=counts, head_dim=counts, rotary_dim=counts, intermediate_size=counts, vocabulary=counts,
    max_positions=counts, experts=counts, experts_per_token=counts, moe_intermediate_size=counts,
    kv_lora_rank=counts, qk_rope_head_dim=counts, tied_embeddings=st.booleans(),
    layer_groups=st.lists(groups, max_size=3).map(tuple),
)  # fmt: skip


@settings(max_examples=300, deadline=None)
@given(
    architectures,
    engines,
    st.sampled_from((0, 1, 8)),
    st.integers(0, 10**18),
    st.sampled_from(("gguf", "safetensors")),
)
def test_a_config_of_nonsense_gives_an_answer(architecture, engine, gpus, size, form):
    """Whatever numbers a hostile config.json carries: a plan or a reason, at once, and nothing negative."""
    base = facts("llama-3.1-8b")
    tensors = tuple(dataclasses.replace(t, parameters=size // 2, stored_bytes=size) for t in base.tensors)
    files = dataclasses.replace(base.files, total_bytes=size)
    strange = dataclasses.replace(base, architecture=architecture, tensors=tensors, format=form, files=files)
    asks = fields(engine, "", "NVIDIA-L4", gpus, None, None)
    if gpus == 0:
        asks["gpu"] = {"count": 0}
    found = plan_model(spec(**asks), strange, nodes=(cpu_node(),), history=(), config=CONFIG)
    if isinstance(found, ModelPlan):
        assert all(value >= 0 for value in dataclasses.astuple(found.predicted) if value is not None)
    else:
        assert found.failure.failure_class
