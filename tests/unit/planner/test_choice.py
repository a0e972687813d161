"""The choice among engines, methods and GPUs, and what is said when nothing fits."""

from __future__ import annotations

import dataclasses

import pytest

from benchmarks.planner.models import LLAMA_IN_Q4_0, facts
from tacho_contract.model import LayerGroup
from tacho_engines import registry
from tacho_engines.registry import engine_profile, engine_profiles
from tacho_operator.core.planner.plan import fails_for_any_model, plan_model
from tacho_operator.core.planner.types import ModelPlan, PlanFailure
from tests.unit.planner.choosing import H100, L4, T4, fitting, refused
from tools.mock.specs import CONFIG, cpu_node, gpu_node, smollm2, spec


def test_sixteen_bits_win_where_they_fit():
    found = fitting("llama-3.1-8b", gpu={"products": ["L4"]})
    assert (found.engine, found.quantization_method) == ("vllm", "none")
    assert "quality 100" in found.message


def test_the_next_best_quality_wins_where_they_do_not():
    found = fitting("llama-3.1-8b", gpu={"products": ["T4"]}, context={"maxModelLen": 8192})
    assert (found.engine, found.quantization_method) == ("vllm", "fp8")
    assert found.arguments == (
        *("--max-model-len", "8192"),
        *("--quantization", "fp8_per_tensor", "--dtype", "half"),
    )
    assert "FP8 weights only, by Marlin: Tesla-T4 does not compute in FP8; float16 instead" in found.message
    why = {(a.engine, a.method): a.reason for a in found.alternatives}
    assert why["vllm", "none"] == "DoesNotFit"
    assert why["vllm", "bnb-nf4"] == "LowerQuality"


def test_every_alternative_has_its_reason():
    found = fitting("llama-3.1-8b", gpu={"products": ["L4"]}, context={"maxModelLen": 4096})
    reasons = {(a.engine, a.method): (a.fits, a.reason) for a in found.alternatives}
    assert reasons["vllm", "fp8"] == (True, "LowerQuality")
    assert reasons["transformers", "none"] == (True, "Slower")
    assert ("vllm", "none") not in reasons
    assert all(a.reason and a.message for a in found.alternatives)
    assert len(found.alternatives) <= 16
    assert all(a.decode_tokens_per_second for a in found.alternatives if a.fits)


def test_a_quantized_checkpoint_is_run_as_it_is():
    found = fitting("qwen2.5-7b-awq", gpu={"products": ["L4"]})
    told = ("--max-model-len", str(found.max_model_len))
    assert (found.quantization_method, found.arguments) == ("awq", told)
    again = refused("qwen2.5-7b-awq", gpu={"products": ["L4"]}, quantization={"method": "fp8"})
    assert again.failure.failure_class == "UnsupportedQuantization"
    assert "already quantized" in again.failure.message


def test_engine_and_method_are_the_users():
    found = fitting(
        "llama-3.1-8b",
        gpu={"products": ["L4"]},
        engine={"name": "transformers"},
        quantization={"method": "bnb-nf4"},
    )
    assert (found.engine, found.quantization_method) == ("transformers", "bnb-nf4")
    others = [a for a in found.alternatives if a.engine == "vllm"]
    assert {a.reason for a in others if a.fits} == {"NotRequested"}


def test_products_are_tried_in_order():
    asks = {"context": {"maxModelLen": 4096, "concurrency": 4}, "quantization": {"method": "none"}}
    one = {"count": 1, "products": ["T4", "L4", "H100"]}
    first = fitting("llama-3.1-8b", gpu=one, engine={"name": "vllm"}, **asks)
    assert first.gpu_product == "NVIDIA-L4"
    other = fitting("llama-3.1-8b", gpu={"products": ["H100", "L4"]}, **asks)
    assert other.gpu_product.startswith("NVIDIA-H100")


def test_one_larger_gpu_comes_before_several_small_ones():
    asks = {"context": {"maxModelLen": 4096, "concurrency": 4}, "quantization": {"method": "none"}}
    assert fitting("llama-3.1-8b", (T4, L4), **asks).gpu_product == "NVIDIA-L4"
    alone = fitting("llama-3.1-8b", (T4,), **asks)
    assert (alone.gpu_count, alone.tensor_parallel) == (2, 2)


def test_an_engine_that_carries_load_on_two_gpus_comes_before_one_that_does_not_on_one(monkeypatch):
    """On the L4, 16 bits and this context fit Transformers, which is slow: vLLM takes two T4."""
    monkeypatch.setattr(registry, "ENGINES", ("vllm", "transformers"))
    asks = {"context": {"maxModelLen": 8192, "concurrency": 4}, "quantization": {"method": "none"}}
    found = fitting("llama-3.1-8b", (T4, L4), **asks)
    assert (found.engine, found.gpu_product, found.gpu_count) == ("vllm", "Tesla-T4", 2)
    alone = fitting("llama-3.1-8b", (L4,), **asks)
    assert not engine_profile(alone.engine).speed.carries_load
    assert alone.engine == "transformers"


def test_a_split_that_does_not_fit_is_followed_by_one_that_does():
    """One key-value head: tensor parallelism repeats its cache on each GPU, stages divide it."""
    asks = {"engine": {"name": "vllm"}, "quantization": {"method": "none"}}
    gpu = {"products": ["T4"], "count": 4}
    short = fitting("octocoder", gpu=gpu, context={"maxModelLen": 2048, "concurrency": 4}, **asks)
    assert (short.tensor_parallel, short.pipeline_parallel) == (4, 1)
    long = fitting("octocoder", gpu=gpu, context={"maxModelLen": 8192, "concurrency": 64}, **asks)
    assert (long.tensor_parallel, long.pipeline_parallel) == (1, 4)


def test_the_attempt_that_is_explained_has_the_best_quality_of_those_that_fit_a_part():
    context = {"maxModelLen": 8192, "concurrency": 8}
    found = refused("llama-3.1-8b", gpu={"products": ["T4"], "count": 1}, context=context)
    assert "(vllm with fp8)" in found.failure.message
    assert int(found.failure.details["fitsMaxModelLen"]) > 256


def test_gpus_follow_from_memory_and_heads():
    context = {"maxModelLen": 8192, "concurrency": 16}
    found = fitting("llama-3.1-70b", (H100,), quantization={"method": "none"}, context=context)
    assert (found.gpu_count, found.tensor_parallel, found.pipeline_parallel) == (4, 4, 1)
    assert "each GPU" in found.message


def test_parallelism_the_user_set_is_kept():
    asks = {"engine": {"name": "vllm"}, "quantization": {"method": "none"}, "context": {"maxModelLen": 4096}}
    gpu = {"products": ["H100"], "count": 4}
    found = fitting("llama-3.1-70b", gpu=gpu, parallelism={"tensor": 2, "pipeline": 2}, **asks)
    assert (found.tensor_parallel, found.pipeline_parallel) == (2, 2)
    wrong = refused("llama-3.1-70b", gpu=gpu, parallelism={"tensor": 8}, **asks)
    assert wrong.failure.failure_class == "UnsupportedGPU"


def test_stages_that_an_engine_does_not_make_are_refused_and_not_ignored():
    asks = {"gpu": {"products": ["L4"], "count": 4}, "context": {"maxModelLen": 2048, "concurrency": 2}}
    asks["engine"] = {"name": "llamacpp"}
    found = fitting(LLAMA_IN_Q4_0, parallelism={"pipeline": 4}, **asks)
    assert (found.tensor_parallel, found.pipeline_parallel) == (1, 4)
    for stages in (1, 2):
        wrong = refused(LLAMA_IN_Q4_0, parallelism={"pipeline": stages}, **asks).failure
        assert wrong.failure_class == "InvalidConfig"
        assert f"parallelism.pipeline {stages} has no effect: llamacpp spreads" in wrong.message


def test_heads_that_do_not_divide_become_pipeline_stages():
    asks = {"gpu": {"products": ["L4"], "count": 8}, "engine": {"name": "vllm"}}
    found = fitting("qwen2.5-7b", **asks)
    assert (found.tensor_parallel, found.pipeline_parallel) == (4, 2)
    assert (
        refused("qwen2.5-7b", parallelism={"pipeline": 1}, **asks).failure.failure_class == "UnsupportedGPU"
    )


def test_what_would_fit_is_said_and_fits():
    asks = {
        "engine": {"name": "vllm"},
        "quantization": {"method": "none"},
        "context": {"maxModelLen": 32768, "concurrency": 4},
    }
    found = refused("llama-3.1-8b", (T4, L4), gpu={"products": ["L4"], "count": 1}, **asks)
    details = found.failure.details
    assert found.failure.failure_class == "DoesNotFit"
    assert int(details["neededBytes"]) > int(details["availableBytes"])
    assert (found.gpu_count, found.max_model_len) == (1, 32768)
    assert found.predicted.budget_bytes == int(details["availableBytes"])
    assert 0 < found.predicted.max_concurrency < 4
    assert found.predicted.total_bytes > found.predicted.weights_bytes > 0
    shorter = {**asks["context"], "maxModelLen": int(details["fitsMaxModelLen"])}
    assert fitting("llama-3.1-8b", (T4, L4), gpu={"products": ["L4"]}, **{**asks, "context": shorter})
    beyond = {**shorter, "maxModelLen": shorter["maxModelLen"] + 256}
    assert refused("llama-3.1-8b", gpu={"products": ["L4"], "count": 1}, **{**asks, "context": beyond})
    assert details["fitsMaxModelLen"] in found.failure.next_step
    assert f"; 4 requests of {details['fitsMaxModelLen']} tokens would fit." in found.failure.message


def test_the_method_that_would_fit_fits():
    asks = {"gpu": {"products": ["T4"], "count": 1}, "context": {"maxModelLen": 2048, "concurrency": 4}}
    found = refused("llama-3.1-8b", engine={"name": "vllm"}, quantization={"method": "none"}, **asks)
    details = found.failure.details
    again = fitting(
        "llama-3.1-8b",
        engine={"name": details["fitsEngine"]},
        quantization={"method": details["fitsMethod"]},
        **asks,
    )
    assert again.quantization_method == details["fitsMethod"] != "none"
    assert details["fitsMethod"] in found.failure.next_step


def test_the_gpu_count_and_the_other_product_that_would_fit_fit():
    asks = {
        "engine": {"name": "vllm"},
        "quantization": {"method": "none"},
        "context": {"maxModelLen": 4096, "concurrency": 4},
    }
    found = refused("llama-3.1-8b", (T4, L4), gpu={"products": ["T4"], "count": 1}, **asks)
    details = found.failure.details
    more = {"products": ["T4"], "count": int(details["fitsGpuCount"])}
    assert fitting("llama-3.1-8b", (T4, L4), gpu=more, **asks)
    assert details["fitsProduct"] == "NVIDIA-L4"
    assert fitting("llama-3.1-8b", (T4, L4), gpu={"products": [details["fitsProduct"]]}, **asks)


def test_the_gpu_count_that_is_said_is_the_first_that_fits():
    """Llama-3.1-8B and 16 requests of 8192 tokens: 31 GiB, of which a T4 gives 13."""
    asks = {"engine": {"name": "vllm"}, "context": {"maxModelLen": 8192, "concurrency": 16}}
    two = {"products": ["T4"], "count": 2}
    assert refused("llama-3.1-8b", quantization={"method": "none"}, gpu=two, **asks)
    found = refused(
        "llama-3.1-8b", quantization={"method": "none"}, gpu={"products": ["T4"], "count": 1}, **asks
    )
    assert found.failure.details["fitsGpuCount"] == "4"


def test_gpu_rules_by_compute_capability():
    found = refused("llama-3.1-8b", gpu={"products": ["T4"]}, quantization={"kvCacheDtype": "fp8"})
    assert found.failure.failure_class == "UnsupportedGPU"
    awq = refused("llama-3.1-8b-awq", gpu={"products": ["V100"]}, engine={"name": "vllm"})
    assert awq.failure.failure_class == "UnsupportedGPU"
    assert "7.5" in awq.failure.message


def test_bf16_models_run_in_half_precision_where_the_gpu_has_no_bf16():
    asks = {"engine": {"name": "vllm"}, "context": {"maxModelLen": 2048}, "quantization": {"method": "none"}}
    assert "--dtype" in fitting("qwen2.5-0.5b", gpu={"products": ["T4"]}, **asks).arguments
    assert "--dtype" not in fitting("qwen2.5-0.5b", gpu={"products": ["L4"]}, **asks).arguments


def test_a_gpu_nobody_has_and_nobody_knows():
    found = refused("llama-3.1-8b", gpu={"products": ["FOO-1"]})
    assert found.failure.failure_class == "UnsupportedGPU"
    assert "FOO-1" in found.failure.message
    nothing = refused("llama-3.1-8b", None, gpu={"count": 1})
    assert "gpu.products" in nothing.failure.next_step


def test_named_products_plan_from_the_catalog_where_nodes_are_not_readable_or_have_none():
    for nodes in (None, (), (cpu_node(),)):
        found = fitting("llama-3.1-8b", nodes, gpu={"products": ["L4"]})
        assert "from the catalog" in found.message
    assert "from the catalog" not in fitting("llama-3.1-8b", (L4,), gpu={"products": ["L4"]}).message


def test_too_little_known_is_said_not_guessed():
    unknown = dataclasses.replace(facts("llama-3.1-8b"), architecture=None, unknown=("no config.json",))
    found = plan_model(spec(gpu={"products": ["L4"]}), unknown, nodes=None, history=(), config=CONFIG)
    assert isinstance(found, PlanFailure)
    assert found.failure.failure_class == "ModelInvalid"
    assert "no config.json" in found.failure.message


def test_a_model_of_which_some_layers_have_heads_without_a_width_has_no_plan():
    """The others have one: a sum over all layers would be too small, and a page of such layers is empty."""
    shape = facts("llama-3.1-8b").architecture
    widthless = LayerGroup(kind="sliding", layers=16, key_value_heads=8, window_tokens=4096)
    whole = LayerGroup(kind="full", layers=16, key_value_heads=8, key_head_dim=128, value_head_dim=128)
    odd = dataclasses.replace(
        facts("llama-3.1-8b"), architecture=dataclasses.replace(shape, layer_groups=(whole, widthless))
    )
    found = plan_model(spec(gpu={"products": ["L4"]}), odd, nodes=None, history=(), config=CONFIG)
    assert isinstance(found, PlanFailure)
    assert found.failure.failure_class == "ModelInvalid"
    assert "attention heads and their width" in found.failure.message


def test_a_model_whose_number_of_heads_is_not_known_has_no_plan():
    """One head was counted: eight times as many requests as the model's eight heads leave room for."""
    shape = dataclasses.replace(
        facts("llama-3.1-8b").architecture,
        attention_heads=0,
        key_value_heads=0,
        layer_groups=(LayerGroup(kind="full", layers=32, key_head_dim=128, value_head_dim=128),),
    )
    for odd in (shape, dataclasses.replace(shape, layer_groups=())):
        headless = dataclasses.replace(facts("llama-3.1-8b"), architecture=odd)
        found = plan_model(spec(gpu={"products": ["L4"]}), headless, nodes=None, history=(), config=CONFIG)
        assert isinstance(found, PlanFailure)
        assert "attention heads and their width" in found.failure.message


def test_what_is_not_known_of_the_model_is_in_the_message():
    partly = dataclasses.replace(facts("llama-3.1-8b"), unknown=("the draft layers",))
    found = plan_model(spec(gpu={"products": ["L4"]}), partly, nodes=None, history=(), config=CONFIG)
    assert isinstance(found, ModelPlan)
    assert "Unknown about the model: the draft layers" in found.message


def test_other_engines_plan_on_the_cpu():
    found = fitting("qwen2.5-0.5b", (cpu_node(memory="16Gi"),), gpu={"count": 0})
    assert (found.gpu_product, found.gpu_count) == ("CPU", 0)
    assert (found.engine, found.quantization_method) == ("vllm", "none")
    asks = {"gpu": {"count": 0}, "engine": {"name": "vllm"}, "quantization": {"method": "fp8"}}
    gpu_only = refused("qwen2.5-0.5b", (cpu_node(memory="16Gi"),), **asks)
    assert gpu_only.failure.failure_class == "UnsupportedGPU"
    assert "vllm runs fp8 on GPUs only" in gpu_only.failure.message


@pytest.mark.parametrize("nodes", [(cpu_node(memory="128Gi"),), ()])
def test_a_model_that_a_cpu_reads_slowly_is_not_planned_there_unasked(nodes):
    """A cluster whose GPU pool is scaled to zero shows no GPU, either."""
    assert fitting("qwen2.5-0.5b", nodes).gpu_product == "CPU"
    found = refused("llama-3.1-8b", nodes).failure
    assert found.failure_class == "UnsupportedGPU"
    assert "15.0 GiB of weights are too slow on a CPU" in found.message
    for step in ("Set gpu.products to the GPU that a node autoscaler brings", "gpu.count to 0 for the CPU"):
        assert step in found.next_step
    assert fitting("llama-3.1-8b", nodes, gpu={"count": 0}).gpu_product == "CPU"
    assert fitting("llama-3.1-8b", (*nodes, H100)).gpu_product == "NVIDIA-H100-80GB-HBM3"
    assert fails_for_any_model(spec(), nodes, CONFIG) is None, "another model may be small"


@pytest.mark.parametrize("method", ["bnb-int8", "bnb-fp4", "bnb-nf4"])
def test_bitsandbytes_runs_on_the_host_in_transformers(method):
    asks = {"gpu": {"count": 0}, "quantization": {"method": method}}
    found = fitting("qwen2.5-0.5b", (cpu_node(memory="64Gi"),), **asks)
    assert (found.engine, found.gpu_product) == ("transformers", "CPU")
    words = found.arguments
    assert words[words.index("--quantization") + 1] == method
    assert words[words.index("--device") + 1] == "cpu"
    assert ("--double-quant" in words) is (method != "bnb-int8"), "as counted, unless the user says otherwise"


def test_a_method_without_kernels_for_the_host():
    asks = {"gpu": {"count": 0}, "engine": {"name": "vllm"}}
    found = refused("qwen2.5-7b-awq", (cpu_node(memory="64Gi"),), **asks)
    assert found.failure.failure_class == "UnsupportedGPU"
    assert "on GPUs only" in found.failure.message


def test_extra_arguments_change_the_plan():
    asks = {"gpu": {"products": ["L4"]}, "context": {"maxModelLen": 8192}}
    plain = fitting("llama-3.1-8b", engine={"name": "vllm"}, quantization={"method": "fp8"}, **asks)
    given = fitting(
        "llama-3.1-8b",
        engine={"name": "vllm", "extraArgs": ["--gpu-memory-utilization", "0.7"]},
        quantization={"method": "fp8"},
        **asks,
    )
    assert given.predicted.budget_bytes < plain.predicted.budget_bytes
    assert given.predicted.kv_cache_tokens < plain.predicted.kv_cache_tokens


def test_the_version_of_the_image_decides():
    asks = {"gpu": {"products": ["L4"]}, "context": {"maxModelLen": 4096}, "quantization": {"method": "none"}}
    old = fitting("llama-3.1-8b", engine={"name": "vllm", "image": "vllm/vllm-openai:v0.11.0"}, **asks)
    new = fitting("llama-3.1-8b", engine={"name": "vllm", "image": "vllm/vllm-openai:v0.26.0"}, **asks)
    assert (old.engine_version, new.engine_version) == ("0.11.0", "0.26.0")
    assert old.predicted.activation_bytes > new.predicted.activation_bytes


def test_every_method_of_an_engine_says_where_it_is_from():
    for engine in engine_profiles():
        names = [row.method for row in engine.methods]
        assert len(names) == len(set(names))
        for row in engine.methods:
            assert row.source
            assert 0 < row.quality <= 100


def test_a_gguf_file_on_a_gpu_is_for_the_engine_that_loads_it_by_itself():
    found = plan_model(
        spec(gpu={"products": ["L4"], "count": 1}), smollm2(), nodes=None, history=(), config=CONFIG
    )
    assert isinstance(found, ModelPlan)
    assert (found.engine, found.arguments) == ("llamacpp", ("--n-gpu-layers", "999", "--fit", "off"))
    assert (found.image, found.gpu_count) == ("tacho-llamacpp-cuda", 1)
    assert [(a.engine, a.reason) for a in found.alternatives] == [("vllm", "LessPreferred")]
    assert "by a plugin only" in found.alternatives[0].message


def test_a_gpu_shared_by_nobody_knows_how_many_is_said():
    shared = gpu_node("s", "NVIDIA-L4-SHARED", 4, memory_mib=23034, compute="8.9")
    assert "no label states the number of pods" in fitting("qwen2.5-0.5b", (shared,)).message
    known = dataclasses.replace(shared, labels={**shared.labels, "nvidia.com/gpu.replicas": "4"})
    found = fitting("qwen2.5-0.5b", (known,))
    assert "shared by 4 pods" in found.message
    assert found.predicted.budget_bytes < found.gpu_memory_bytes / 4


def test_hardware_that_is_not_there_is_said():
    asks = {"engine": {"name": "vllm"}, "quantization": {"method": "none"}}
    two = fitting("llama-3.1-8b", (L4,), gpu={"products": ["L4"], "count": 2}, **asks)
    assert "No node has 2 x NVIDIA-L4 now; the maximum is 1." in two.message
    h100 = fitting("llama-3.1-8b", (L4,), gpu={"products": ["H100"]}, **asks)
    assert "H100 also matches NVIDIA-H100-PCIe; pods are pinned to NVIDIA-H100-80GB-HBM3." in h100.message
    assert "also matches" not in fitting("llama-3.1-8b", None, gpu={"products": ["L4"]}, **asks).message


def test_gpus_that_no_label_describes_are_not_passed_over_for_the_cpu():
    bare = dataclasses.replace(L4, labels={})
    found = refused("llama-3.1-8b", (bare, cpu_node(memory="64Gi")))
    assert found.failure.failure_class == "UnsupportedGPU"
    assert "no label describes" in found.failure.message
    assert fitting("llama-3.1-8b", (bare, cpu_node(memory="64Gi")), gpu={"count": 0}).gpu_count == 0
