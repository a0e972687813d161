"""What no amount of memory mends: starts that the engine or the hardware refuses."""

from __future__ import annotations

import dataclasses

import pytest

from benchmarks.planner.models import facts
from tacho_operator.core.planner.plan import plan_model
from tacho_operator.core.planner.types import ModelPlan, PlanFailure
from tools.mock.specs import CONFIG, gpu_node, smollm2, spec

SHARED = gpu_node("s", "NVIDIA-L4-SHARED", 4, memory_mib=23034, compute="8.9")
MIG = "NVIDIA-A100-SXM4-40GB-MIG-1g.5gb"


def plan(model, product, nodes=None, *, count=1, version="0.32.0", args=(), **fields):
    asks = {
        "gpu": {"products": [product], **({"count": count} if count else {})},
        "engine": {"name": "vllm", "image": f"vllm/vllm-openai:v{version}", "extraArgs": list(args)},
        **fields,
    }
    return plan_model(spec(**asks), facts(model), nodes=nodes, history=(), config=CONFIG)


def refusal(*args, **kwargs):
    found = plan(*args, **kwargs)
    assert isinstance(found, PlanFailure), found
    return found.failure


@pytest.mark.parametrize("model", ["gemma-2-9b", "gemma-3-4b"])
def test_gemma_does_not_run_where_there_is_no_bf16(model):
    """vLLM: "The model type 'gemma3' does not support float16. Reason: Numerical instability"."""
    found = refusal(model, "T4", count=4)
    assert found.failure_class == "UnsupportedGPU"
    assert "float16" in found.message
    assert isinstance(plan(model, "L4", count=1, context={"maxModelLen": 2048, "concurrency": 1}), ModelPlan)


def test_mxfp4_needs_bf16():
    found = refusal("gpt-oss-20b", "T4", count=2)
    assert (found.failure_class, "needs compute capability 8.0 or higher for mxfp4;" in found.message) == (
        "UnsupportedGPU",
        True,
    )
    assert isinstance(plan("gpt-oss-20b", "A100-40GB"), ModelPlan)


@pytest.mark.parametrize(("version", "image", "refused"), [
    ("0.32.0", "vllm/vllm-openai:v0.32.0", True),
    ("0.10.2", "vllm/vllm-openai:v0.10.2", False),
    ("0.32.0", "me/vllm:v0.32.0", False),
])  # fmt: skip
def test_an_architecture_that_vllm_no_longer_has(version, image, refused):
    """vLLM 0.32: "was supported in vLLM until v0.10.2, and is not supported anymore". Another's image may."""
    base = facts("llama-3.1-8b")
    shape = dataclasses.replace(base.architecture, name="MllamaForConditionalGeneration")
    model = dataclasses.replace(base, architecture=shape)
    found = planned(model, engine={"name": "vllm", "image": image}, gpu={"products": ["H100"], "count": 1})
    assert isinstance(found, PlanFailure) is refused
    if refused:
        assert found.failure.failure_class == "EngineNotSupported"
        assert "until 0.10.2; this is 0.32.0" in found.failure.message


def stored_as(method, scheme="", group=0):
    base = facts("qwen2.5-0.5b")
    fields = {"method": method, "bits": 8, "scheme": scheme, "group_size": group}
    return dataclasses.replace(base, quantization=dataclasses.replace(base.quantization, **fields))


def planned(found, /, **asks):
    return plan_model(spec(**asks), found, nodes=None, history=(), config=CONFIG)


@pytest.mark.parametrize(("name", "step"), [
    *((name, "--runner pooling") for name in (
        "BertModel", "XLMRobertaForSequenceClassification", "Qwen2ForRewardModel", "nomic-bert",
        "JinaVLForRanking", "ColQwen3", "CLIPModel", "Qwen3VLNemotronEmbedModel")),
    *((name, "the model that it drafts for") for name in (
        "LlamaForCausalLMEagle3", "EagleLlamaForCausalLM", "PEagleDraftModel", "DeepSeekMTPModel",
        "Qwen3NextMTP", "MedusaModel", "DFlashDraftModel")),
    ("WhisperForConditionalGeneration", "Deployment of your own"),
    ("T5ForConditionalGeneration", "that generates text"),
])  # fmt: skip
@pytest.mark.parametrize("engine", [{}, {"name": "vllm"}, {"name": "transformers"}], ids=str)
def test_what_is_no_language_model_is_refused_before_it_is_downloaded(name, step, engine):
    found = facts("qwen2.5-0.5b")
    other = dataclasses.replace(found, architecture=dataclasses.replace(found.architecture, name=name))
    refused = planned(other, gpu={"products": ["L4"]}, engine=engine)
    assert isinstance(refused, PlanFailure)
    assert refused.failure.failure_class == "EngineNotSupported"
    assert name in refused.failure.message
    assert step in refused.failure.next_step


@pytest.mark.parametrize("name", [
    "InternVLChatModel", "ChatGLMModel", "GPT2LMHeadModel", "UltravoxModel", "Qwen2_5OmniModel",
    "MossAudioModel", "Eagle2_5_VLForConditionalGeneration", "Qwen2ForCausalLM", "Phi3ForCausalLM",
    "DeciLMForCausalLM", "LlavaNextForConditionalGeneration", "VoxtralForConditionalGeneration",
    "MiMoForCausalLM",
])  # fmt: skip
def test_names_like_those_of_embedding_and_draft_models_that_generate_text(name):
    """Some of them are in vLLM's registry of embedding models, too."""
    found = facts("qwen2.5-0.5b")
    shape = dataclasses.replace(found.architecture, name=name)
    assert isinstance(
        planned(dataclasses.replace(found, architecture=shape), gpu={"products": ["L4"]}), ModelPlan
    )


def with_code(name, configuration, others=(), /, **asks):
    """A plan of a model whose repository has code for its classes."""
    found = facts("qwen2.5-0.5b")
    fields = {"name": name, "configuration": configuration, "needs_remote_code": True}
    shape = dataclasses.replace(found.architecture, **fields)
    return planned(
        dataclasses.replace(found, architecture=shape, **dict(others)),
        **{"gpu": {"products": ["L4"], "count": 1}, **asks},
    )


@pytest.mark.parametrize(("name", "configuration", "engine", "missing"), [
    ("StarVectorForCausalLM", "starvector", "vllm", "starvector and StarVectorForCausalLM but"),
    ("StarVectorForCausalLM", "starvector", "transformers", "the configuration starvector but"),
    ("InternVLChatModel", "internvl_chat", "vllm", "no class for the configuration internvl_chat but"),
    ("AcmeForCausalLM", "llama", "vllm", "no class for AcmeForCausalLM but"),
    ("InternLM2ForCausalLM", "", "vllm", "the configuration without a model_type but"),
    ("KimiK25ForConditionalGeneration", "kimi_k25", "vllm", ""),
    ("NemotronHForCausalLM", "nemotron_h", "vllm", ""),
    ("LongcatFlashForCausalLM", "", "vllm", ""),
    ("AcmeForCausalLM", "llama", "transformers", ""),
])  # fmt: skip
def test_code_of_the_repository_is_asked_for_where_the_engine_has_none(name, configuration, engine, missing):
    """vLLM 0.32 and Transformers 5.19 end at their start, after the download."""
    found = with_code(name, configuration, engine={"name": engine})
    assert isinstance(found, PlanFailure) is bool(missing), found
    if missing:
        assert (found.failure.failure_class, missing in found.failure.message) == ("InvalidConfig", True)
        assert "model.trustRemoteCode to true" in found.failure.next_step
        model = {"uri": "hf://acme/model", "trustRemoteCode": True}
        trusted = with_code(name, configuration, engine={"name": engine}, model=model)
        assert isinstance(trusted, ModelPlan)


def test_a_tokenizer_that_may_be_code_of_the_repository():
    found = with_code("DeepseekV3ForCausalLM", "kimi_k2", {"tokenizer": False}, engine={"name": "vllm"})
    assert found.failure.failure_class == "ModelInvalid"
    assert "model.trustRemoteCode to true if code of its repository may run as one" in found.failure.next_step


@pytest.mark.parametrize("image", ["me/vllm:v0.32.0", "vllm/vllm-openai:v0.31.0", "vllm/vllm-openai:v0.33.0"])
def test_what_other_builds_have_classes_for_is_not_known(image):
    found = with_code("AcmeForCausalLM", "acme", engine={"name": "vllm", "image": image})
    assert isinstance(found, ModelPlan)


def test_the_cache_type_of_the_arguments_is_judged_too():
    found = refusal("llama-3.1-8b-awq", "T4", args=("--kv-cache-dtype", "fp8"))
    assert (found.failure_class, "FP8 KV cache" in found.message) == ("UnsupportedGPU", True)
    assert isinstance(plan("llama-3.1-8b-awq", "L4", args=("--kv-cache-dtype", "fp8")), ModelPlan)


def test_a_cache_type_of_another_engine_is_refused():
    found = refusal("llama-3.1-8b-awq", "L4", quantization={"kvCacheDtype": "q8_0"})
    assert found.failure_class == "UnsupportedQuantization"
    assert "no KV cache of type q8_0" in found.message
    asks = spec(
        gpu={"products": ["L4"], "count": 1},
        engine={"name": "llamacpp"},
        quantization={"kvCacheDtype": "fp8"},
    )
    other = plan_model(asks, smollm2(), nodes=None, history=(), config=CONFIG)
    assert isinstance(other, PlanFailure)
    assert "no KV cache of type fp8" in other.failure.message


def test_switches_of_llama_cpp_count_on_a_gpu_too():
    def cache(*args):
        asks = spec(
            gpu={"products": ["L4"], "count": 1},
            engine={"name": "llamacpp", "extraArgs": list(args)},
            context={"maxModelLen": 2048, "concurrency": 2},
        )
        found = plan_model(asks, smollm2(), nodes=None, history=(), config=CONFIG)
        assert isinstance(found, ModelPlan)
        return found.predicted

    plain, packed = cache(), cache("--cache-type-k", "q8_0", "--cache-type-v", "q8_0")
    assert packed.kv_cache_bytes == pytest.approx(plain.kv_cache_bytes * 34 / 64)
    assert cache("--ubatch-size", "1024").activation_bytes > plain.activation_bytes


@pytest.mark.parametrize("product", [MIG, "NVIDIA-L4-SHARED"])
def test_a_model_is_not_spread_over_parts_of_a_gpu(product):
    """NCCL: "Duplicate GPU detected"; and CUDA shows a process one MIG slice only."""
    nodes = (SHARED,) if "SHARED" in product else None
    found = refusal("qwen2.5-0.5b", product, nodes, count=2)
    assert found.failure_class == "UnsupportedGPU"
    assert isinstance(plan("qwen2.5-0.5b", product, nodes, count=1), ModelPlan)


def test_where_parts_of_a_gpu_are_too_small_no_more_of_them_are_tried():
    shared = dataclasses.replace(SHARED, labels={**SHARED.labels, "nvidia.com/gpu.replicas": "4"})
    found = refusal(
        "llama-3.1-8b", "NVIDIA-L4-SHARED", (shared,), count=None, quantization={"method": "none"}
    )
    assert found.failure_class == "DoesNotFit"
    assert "fitsGpuCount" not in found.details


@pytest.mark.parametrize("engine", ["vllm", "transformers", ""])
def test_a_context_longer_than_the_model_was_made_for_does_not_fit(engine):
    """vLLM: "User-specified max_model_len (100000) is greater than the derived max_model_len"."""

    def asked(length, **more):
        engine_fields = {"engine": {"name": engine, **more}} if engine else {}
        asks = spec(
            gpu={"products": ["H200"], "count": 1},
            context={"maxModelLen": length, "concurrency": 2},
            **engine_fields,
        )
        return plan_model(asks, facts("llama-2-7b"), nodes=None, history=(), config=CONFIG)

    found = asked(100_000)
    assert isinstance(found, PlanFailure)
    assert found.failure.failure_class == "DoesNotFit"
    assert "supports 4096 tokens" in found.failure.message
    assert found.failure.details["fitsMaxModelLen"] == "4096"
    assert "fitsGpuCount" not in found.failure.details
    assert "fitsMethod" not in found.failure.details
    assert isinstance(asked(4096), ModelPlan)
    if engine == "vllm":
        assert isinstance(asked(16_384, extraArgs=["--hf-overrides", '{"rope_scaling": {}}']), ModelPlan)
        variable = {"name": "VLLM_ALLOW_LONG_MAX_MODEL_LEN", "value": "1"}
        assert isinstance(asked(16_384, env=[variable]), ModelPlan)


@pytest.mark.parametrize(
    ("image", "fits"),
    [
        ("vllm/vllm-openai:v0.32.0", False),
        ("docker.io/vllm/vllm-openai:v0.28.1@sha256:aa", False),
        ("mirror.example:5000/vllm/vllm-openai:v0.32.0", False),
        ("vllm/vllm-openai:v0.27.0", True),
        ("registry.example/team/vllm-with-plugins:v0.32.0", True),
        ("", True),
    ],
)
def test_upstreams_image_has_no_bitsandbytes_since_it_is_a_plugin(image, fits):
    asks = spec(
        gpu={"products": ["L4"], "count": 1},
        engine={"name": "vllm", "image": image},
        quantization={"method": "bnb-nf4"},
    )
    found = plan_model(asks, facts("llama-3.1-8b"), nodes=None, history=(), config=CONFIG)
    assert isinstance(found, ModelPlan) is fits
    if isinstance(found, PlanFailure):
        assert found.failure.failure_class == "UnsupportedQuantization"
        assert "leave engine.image out" in found.failure.message


def test_a_checkpoint_of_bitsandbytes_is_staged_not_split():
    """vLLM: "Prequant BitsAndBytes models with tensor parallelism is not supported"."""
    base = facts("llama-3.1-8b")
    stored = dataclasses.replace(
        base, quantization=dataclasses.replace(base.quantization, method="bitsandbytes", bits=4, scheme="nf4")
    )
    asks = {"gpu": {"products": ["L4"], "count": 2}, "engine": {"name": "vllm"}}
    found = plan_model(spec(**asks), stored, nodes=None, history=(), config=CONFIG)
    assert isinstance(found, ModelPlan)
    assert (found.tensor_parallel, found.pipeline_parallel) == (1, 2)
    split = spec(**asks, parallelism={"tensor": 2, "pipeline": 1})
    refused = plan_model(split, stored, nodes=None, history=(), config=CONFIG)
    assert isinstance(refused, PlanFailure)
    assert "is not split over GPUs" in refused.failure.message


def test_experts_in_eight_bits_of_bitsandbytes_are_not_loaded():
    """vLLM: "Prequant BitsAndBytes 8bit models with RoutedExperts is not supported yet"."""
    base = facts("mixtral-8x7b")
    stored = dataclasses.replace(
        base,
        quantization=dataclasses.replace(base.quantization, method="bitsandbytes", bits=8, scheme="int8"),
    )
    asks = spec(gpu={"products": ["H200"], "count": 1}, engine={"name": "vllm"})
    found = plan_model(asks, stored, nodes=None, history=(), config=CONFIG)
    assert isinstance(found, PlanFailure)
    assert "experts" in found.failure.message


@pytest.mark.parametrize(
    ("model", "converts"),
    [("llama-3.1-8b", True), ("qwen2.5-7b", True), ("mixtral-8x7b", False), ("jamba-v0.1", False)],
)
def test_ctranslate2_runs_what_its_converter_knows(model, converts):
    asks = spec(gpu={"products": ["H200"], "count": 1}, engine={"name": "ctranslate2"})
    found = plan_model(asks, facts(model), nodes=None, history=(), config=CONFIG)
    assert isinstance(found, ModelPlan) is converts
    if isinstance(found, PlanFailure):
        assert found.failure.failure_class == "EngineNotSupported"
        assert "cannot convert" in found.failure.message


@pytest.mark.parametrize(
    ("version", "runs"), [("0.32.0", False), ("0.20.0", False), ("0.32.0-cu129", True), ("0.19.1", True)]
)
def test_volta_is_not_in_builds_with_cuda_13(version, runs):
    found = plan("llama-2-7b", "V100-32GB", version=version, context={"maxModelLen": 2048, "concurrency": 1})
    assert isinstance(found, ModelPlan) is runs
    if isinstance(found, PlanFailure):
        assert found.failure.failure_class == "UnsupportedGPU"
        assert "CUDA 13" in found.failure.message


def test_a_users_own_build_may_have_code_for_volta():
    engine = {"name": "vllm", "image": "registry.example/vllm-volta:v0.32.0"}
    asks = {"gpu": {"products": ["V100"]}, "context": {"maxModelLen": 2048, "concurrency": 1}}
    assert isinstance(planned(facts("qwen2.5-0.5b"), engine=engine, **asks), ModelPlan)


@pytest.mark.parametrize(("gpu", "runs"), [("V100", False), ("T4", True)])
@pytest.mark.parametrize(
    ("engine", "method"), [("transformers", "none"), ("transformers", "bnb-nf4"), ("ctranslate2", "ct2-int8")]
)
def test_torch_of_an_image_has_no_code_for_volta(gpu, runs, engine, method):
    """requirements/torch.txt: a build with CUDA 13, whose cuBLAS CTranslate2 computes with."""
    asks = {"gpu": {"products": [gpu]}, "quantization": {"method": method}}
    found = planned(facts("qwen2.5-0.5b"), engine={"name": engine}, **asks)
    assert isinstance(found, ModelPlan) is runs, found
    assert runs or "built with CUDA 13" in found.failure.message
    own = {"name": engine, "image": f"registry.example/{engine}:cu126"}
    assert isinstance(planned(facts("qwen2.5-0.5b"), engine=own, **asks), ModelPlan)


def test_gptq_needs_what_vllm_has_code_for():
    pascal = gpu_node("p", "Tesla-P100-PCIE-16GB", memory_mib=16384, compute="6.0")
    engine = {"name": "vllm", "image": "vllm/vllm-openai:v0.11.0"}
    asks = {"gpu": {"count": 1}, "engine": engine}
    found = plan_model(spec(**asks), stored_as("gptq", "W4A16"), nodes=(pascal,), history=(), config=CONFIG)
    assert isinstance(found, PlanFailure)
    assert "needs compute capability 7.0 or higher" in found.failure.message


def windowed(name, kinds, *arguments):
    found = facts("qwen2.5-0.5b")
    (all_layers,) = found.architecture.layer_groups
    groups = [dataclasses.replace(all_layers, kind=kind, layers=n, window_tokens=4096) for kind, n in kinds]
    shape = dataclasses.replace(found.architecture, name=name, layer_groups=tuple(groups))
    engine = {"name": "vllm", "extraArgs": list(arguments)}
    asks = {"gpu": {"products": ["L4"], "count": 1}, "engine": engine}
    return planned(dataclasses.replace(found, architecture=shape), **asks)


def test_windows_in_some_layers_of_qwen2_are_refused_and_those_of_others_are_not():
    """vLLM 0.32: "Sliding window for some but all layers is not supported"."""
    some = (("full", 20), ("sliding", 4))
    for name in ("Qwen2ForCausalLM", "Qwen3ForCausalLM"):
        found = windowed(name, some)
        assert found.failure.failure_class == "EngineNotSupported"
        assert "max_window_layers" in found.failure.message
        assert isinstance(windowed(name, some, "--model-impl=transformers"), ModelPlan)
    assert isinstance(windowed("Qwen2ForCausalLM", (("sliding", 24),)), ModelPlan)
    assert isinstance(windowed("Olmo3ForCausalLM", some), ModelPlan)
