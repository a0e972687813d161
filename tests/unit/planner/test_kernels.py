"""GPUs that are too new or too old for a model's kernels."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from benchmarks.planner.models import facts
from benchmarks.planner.placements import placement
from tacho_contract.model import ModelFacts
from tacho_engines.memory.kv import layer_groups
from tacho_engines.vllm import compatibility
from tacho_operator.core.planner.plan import plan_model
from tacho_operator.core.planner.types import ModelPlan, PlanFailure
from tools.mock.specs import CONFIG, spec

MODEL = "llama-3.1-8b-w8a8"
NO_MULTIPLE = "wide on a GPU is no multiple of their groups of 128"


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
    for given in ("--linear-backend=triton", "--kernel-config.linear_backend=triton", "--kernel-config={}"):
        assert isinstance(planned(product, extraArgs=[given]), ModelPlan)
    assert isinstance(planned(product, extraArgs=["--linear-backend=auto"]), PlanFailure)


@pytest.mark.parametrize("product", ["A100", "L4", "H200"])
def test_and_run_on_gpus_before(product: str) -> None:
    assert isinstance(planned(product), ModelPlan)


@pytest.mark.parametrize("image", ["vllm/vllm-openai:v0.33.0", "registry.example/vllm:v0.32.0"])
def test_of_other_builds_nothing_is_said(image: str) -> None:
    assert isinstance(planned("B200", image=image), ModelPlan)


@pytest.mark.parametrize(
    ("product", "runs"), [("A100-80GB", False), ("L40S", False), ("H200", True), ("B200", True)]
)
@pytest.mark.parametrize("name", ["DeepseekV32ForCausalLM", "GlmMoeDsaForCausalLM"])
def test_sparse_attention_begins_on_hopper(product: str, runs: bool, name: str) -> None:
    """vLLM 0.32 v1/attention/backends/mla: every sparse backend takes 9.x, 10.x or 12.x alone."""
    base = facts("llama-3.1-8b")
    assert base.architecture is not None
    model = dataclasses.replace(base, architecture=dataclasses.replace(base.architecture, name=name))
    asked = spec(gpu={"products": [product], "count": 1}, engine={"name": "vllm"})
    found = plan_model(asked, model, nodes=None, history=(), config=CONFIG)
    if runs:
        assert isinstance(found, ModelPlan)
    else:
        assert isinstance(found, PlanFailure)
        assert f"needs compute capability 9.0 or higher for {name};" in found.failure.message


BY_TRANSFORMERS = {"extraArgs": ["--model-impl=transformers"]}
OWN = {"image": "registry.example/vllm:v0.32.0"}


def named(name: str, model: str = "llama-3.1-8b", **more: Any) -> ModelFacts:
    base = facts(model)
    assert base.architecture is not None
    return dataclasses.replace(base, architecture=dataclasses.replace(base.architecture, name=name, **more))


@pytest.mark.parametrize(
    ("engine", "runs"),
    [
        ({}, False),
        (BY_TRANSFORMERS, True),
        (OWN, True),
        ({"image": "vllm/vllm-openai:v0.26.0"}, True),
        ({"extraArgs": ["--model-impl=vllm"]}, False),
    ],
)
def test_architectures_that_bitsandbytes_does_not_load(engine: dict[str, Any], runs: bool) -> None:
    """vLLM: "Model StableLmForCausalLM does not support BitsAndBytes quantization yet"."""
    asked = {"gpu": {"products": ["L4"], "count": 1}, "quantization": {"method": "bnb-nf4"}}
    for one, expected in ((named("StableLmForCausalLM"), runs), (facts("llama-3.1-8b"), True)):
        wish = spec(engine={"name": "vllm", **engine}, **asked)
        found = plan_model(wish, one, nodes=None, history=(), config=CONFIG)
        assert isinstance(found, ModelPlan) is expected
        if isinstance(found, PlanFailure):
            assert "loads no StableLmForCausalLM by bitsandbytes" in found.failure.message


def cached(product: str, model: ModelFacts, kind: str = "fp8", **engine: Any) -> ModelPlan | PlanFailure:
    wish = spec(
        gpu={"products": [product], "count": 1},
        engine={"name": "vllm", **engine},
        quantization={"method": "none", **({"kvCacheDtype": kind} if kind else {})},
        context={"maxModelLen": 1024, "concurrency": 1},
    )
    return plan_model(wish, model, nodes=None, history=(), config=CONFIG)


SWITCH = {"extraArgs": ["--kv-cache-dtype=fp8"]}


@pytest.mark.parametrize(
    ("product", "model", "step"),
    [
        ("A100", "phi-2", "Set --kv-cache-dtype=float16"),  # its weights are in float16
        ("A100", "gpt-oss-20b", "Set --kv-cache-dtype=bfloat16"),
        ("T4", "qwen2.5-0.5b", "Set --kv-cache-dtype=float16"),
    ],
)
def test_a_cache_that_the_gpu_has_no_kernel_for_names_a_step_that_works(
    product: str, model: str, step: str
) -> None:
    own, asked = cached(product, facts(model), "", **SWITCH), cached(product, facts(model))
    assert isinstance(own, PlanFailure)
    assert isinstance(asked, PlanFailure)
    assert "an FP8 KV cache needs compute capability" in own.failure.message
    assert step in own.failure.next_step
    assert asked.failure.next_step.startswith("Remove quantization.kvCacheDtype")
    both = cached(product, facts(model), **SWITCH)
    assert isinstance(both, PlanFailure)
    assert step in both.failure.next_step, "without kvCacheDtype the switch would still ask for it"
    dtype = step.rpartition("=")[2]
    assert isinstance(cached(product, facts(model), "", extraArgs=[f"--kv-cache-dtype={dtype}"]), ModelPlan)


@pytest.mark.parametrize("head", [64, 128, 256, 512])
def test_attention_of_flashinfer_has_an_fp8_cache_on_ampere(head: int) -> None:
    shape = facts("llama-3.1-8b").architecture
    assert shape is not None
    groups = tuple(dataclasses.replace(group, key_head_dim=head) for group in layer_groups(shape))
    one = named("LlamaForCausalLM", layer_groups=groups, head_dim=head)
    assert isinstance(cached("A100", one), ModelPlan)
    odd = tuple(dataclasses.replace(group, key_head_dim=96) for group in groups)
    other = named("LlamaForCausalLM", layer_groups=odd, head_dim=96)
    assert isinstance(cached("A100", other), PlanFailure)
    assert isinstance(cached("L40S", other), ModelPlan)
    assert isinstance(cached("A100", other, image="vllm/vllm-openai:v0.26.0"), ModelPlan)


@pytest.mark.parametrize(
    ("product", "extra", "runs"),
    [
        ("A100", [], False),
        ("A100", ['--limit-mm-per-prompt={"image": 2}'], False),
        ("A100", ['--limit-mm-per-prompt={"image": 0}'], True),
        ("A100", ["--limit-mm-per-prompt.image", "0"], True),
        ("A100", ['--limit-mm-per-prompt={"video": 0}'], False),
        ("A100", ["--limit-mm-per-prompt.video=0"], False),
        ("A100", ['--limit-mm-per-prompt={"image": {"width": 512, "count": 0}, "video": 1}'], True),
        ("A100", ['--limit-mm-per-prompt={"image": 0}', "--enable-mm-embeds"], False),
        ("A100", ["--language-model-only"], True),
        ("L40S", [], True),
        ("H200", [], True),
    ],
)
def test_attention_to_whole_images_has_an_fp8_cache_by_triton_alone(
    product: str, extra: list[str], runs: bool
) -> None:
    """vLLM's platforms/cuda.py leaves Triton and Flex for Gemma 3; the second has no FP8 cache."""
    found = cached(product, facts("gemma-3-4b"), extraArgs=extra)
    assert isinstance(found, ModelPlan) is runs
    if isinstance(found, PlanFailure):
        assert "an FP8 KV cache needs compute capability 8.9" in found.failure.message
        assert "or add --language-model-only to engine.extraArgs" in found.failure.next_step


def test_gemma_in_32_bits_runs_on_a_gpu_without_bfloat16() -> None:
    """vLLM: "Please use bfloat16 or float32 instead"."""
    one = named("Gemma2ForCausalLM", "qwen2.5-0.5b")
    assert isinstance(cached("T4", one, ""), PlanFailure)
    for dtype in ("float32", "float"):
        assert isinstance(cached("T4", one, "", extraArgs=[f"--dtype={dtype}"]), ModelPlan)


@pytest.mark.parametrize(("product", "has"), [("A100", False), ("L40S", True)])
def test_latent_attention_has_an_fp8_cache_by_triton_alone(product: str, has: bool) -> None:
    latent = facts("deepseek-v3").architecture
    assert latent is not None
    small = named("DeepseekV2ForCausalLM", layer_groups=layer_groups(latent)[:1])
    assert isinstance(cached(product, small), ModelPlan) is has


@pytest.mark.parametrize(
    ("model", "method", "gpus", "args", "said"),
    [
        ("phi-mini-moe-as-qwen3-gptq", "gptq", 1, (), f"960 {NO_MULTIPLE}"),
        (
            *("qwen3-30b-a3b-awq", "awq", 4, ()),
            f"192 {NO_MULTIPLE}; --enable-expert-parallel in engine.extraArgs keeps them whole",
        ),
        ("qwen3-30b-a3b-awq", "awq", 4, ("--enable-expert-parallel",), ""),
        ("phi-mini-moe-as-qwen3-gptq", "gptq", 1, ("--enable-expert-parallel",), f"960 {NO_MULTIPLE}"),
        ("phi-mini-moe-as-qwen3-gptq", "gptq", 4, (), f"240 {NO_MULTIPLE}"),
        ("qwen3-30b-a3b-awq", "awq", 2, (), ""),
        ("phi-mini-moe-as-qwen3", "none", 1, (), ""),
        ("llama-3.1-8b-gptq", "gptq", 1, (), ""),
    ],
)
def test_a_plan_says_that_experts_have_slow_kernels(
    model: str, method: str, gpus: int, args: tuple[str, ...], said: str
) -> None:
    one = placement("vllm", model, method, "NVIDIA-H200", version="0.32.0", count=gpus, tensor=gpus)
    one = dataclasses.replace(one, options=dataclasses.replace(one.options, arguments=args))
    assert compatibility.fallbacks(one) == ((f"slow kernels for experts: {said}",) if said else ())
