"""Which placements are tried, in which order, on which device, and why the others are refused."""

from __future__ import annotations

from dataclasses import replace

import pytest

from benchmarks.planner.models import facts
from tacho_contract.model import Architecture
from tacho_engines.hardware.device import CPU, Device
from tacho_engines.hardware.gpus import named_gpu
from tacho_operator.core.planner.attempt import Evaluator
from tacho_operator.core.planner.devices import DeviceOption
from tacho_operator.core.planner.plan import plan_model
from tacho_operator.core.planner.request import request_of
from tacho_operator.core.planner.search import Search
from tacho_operator.core.planner.types import ModelPlan
from tacho_operator.core.types import PastMeasurement
from tests.unit.planner.choosing import H100, L4, T4, fitting, refused
from tools.mock.specs import CONFIG, cpu_node, gpu_node, smollm2, spec

SMALL = {"context": {"maxModelLen": 4096, "concurrency": 4}, "quantization": {"method": "none"}}


# --- what is tried ----------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("product", "most", "fields", "counts"),
    [
        ("L4", 1, {}, (1,)),
        ("L4", 3, {}, (1, 2)),
        ("L4", 4, {}, (1, 2, 4)),
        ("L4", 8, {}, (1, 2, 4, 8)),
        ("L4", 8, {"gpu": {"count": 3}}, (3,)),
        ("L4", 8, {"gpu": {"count": 4}, "parallelism": {"tensor": 2}}, (4,)),
        ("L4", 8, {"parallelism": {"tensor": 4}}, (4,)),
        ("L4", 8, {"parallelism": {"pipeline": 3}}, (3,)),
        ("L4", 8, {"parallelism": {"tensor": 2, "pipeline": 3}}, (6,)),
        ("A100-MIG-1g.5gb", 7, {}, (1,)),
        (CPU, 0, {}, (0,)),
    ],
)
def test_how_many_gpus_are_tried(product, most, fields, counts):
    device = Device(kind="cpu", product=CPU, memory_bytes=None) if product == CPU else named_gpu(product)
    question = Evaluator(
        request=request_of(spec(**fields)),
        facts=smollm2(),
        architecture=Architecture(),
        history=(),
        config=CONFIG,
    )
    assert Search(question).counts(DeviceOption(device, most)) == counts


def test_two_of_a_product_named_first_come_before_one_of_the_next():
    found = fitting("llama-3.1-8b", (T4, L4), gpu={"products": ["T4", "L4"]}, **SMALL)
    assert (found.gpu_product, found.gpu_count) == ("Tesla-T4", 2)


def test_none_runs_a_quantized_checkpoint_as_it_is():
    found = fitting("qwen2.5-7b-awq", gpu={"products": ["L4"]}, quantization={"method": "none"})
    assert found.quantization_method == "awq"
    assert "with awq" in found.message
    assert "quality as stored" in fitting("qwen2.5-7b-awq", gpu={"products": ["L4"]}).message
    assert "of 100" not in found.message, "nobody rated what was quantized beforehand"


def test_where_speed_is_unknown_an_engine_that_can_be_started_comes_first():
    unknown = gpu_node("f", "NVIDIA-FOO", memory_mib=20000, compute="8.0")
    found = plan_model(spec(gpu={"count": 1}), smollm2(), nodes=(unknown,), history=(), config=CONFIG)
    assert found.engine == "llamacpp"
    assert [(a.engine, a.reason) for a in found.alternatives] == [("vllm", "LessPreferred")]
    same = plan_model(
        spec(gpu={"count": 1}), facts("qwen2.5-0.5b"), nodes=(unknown,), history=(), config=CONFIG
    )
    assert same.engine == "vllm"


def test_where_nothing_fits_the_best_that_would_with_a_shorter_context_is_explained():
    long = {"maxModelLen": 131072, "concurrency": 4}
    only = {"engine": {"name": "vllm"}}
    found = refused("llama-3.1-8b", gpu={"products": ["L4"], "count": 1}, context=long, **only)
    assert "vllm with the weights as stored" in found.failure.message
    assert found.failure.details["fitsMaxModelLen"] == "5888"


# --- what comes of the rest ---------------------------------------------------------------------------
def reasons(found):
    return {(a.engine, a.method): a.reason for a in found.alternatives}


def test_alternatives_that_fit_come_first_and_the_best_of_them_before_the_others():
    found = fitting("llama-3.1-8b", gpu={"products": ["L4"]}, context=SMALL["context"])
    assert [a.fits for a in found.alternatives] == sorted((a.fits for a in found.alternatives), reverse=True)
    lower = [(a.engine, a.method) for a in found.alternatives if a.reason == "LowerQuality"]
    assert lower.index(("vllm", "fp8")) < lower.index(("vllm", "bnb-nf4"))


def test_an_alternative_tried_on_several_numbers_of_gpus_is_told_of_once_where_it_fits():
    """With this context two H100 hold no method, and four hold 8 bits and 4."""
    long = {"maxModelLen": 32768, "concurrency": 16}
    found = fitting("llama-3.1-70b", (H100,), engine={"name": "vllm"}, context=long)
    assert (found.quantization_method, found.gpu_count) == ("fp8", 4)
    assert reasons(found)["vllm", "bnb-nf4"] == "LowerQuality"


@pytest.mark.parametrize(
    ("model", "nodes", "fields", "told", "untold"),
    [
        ("llama-3.1-8b", (L4,), {}, {("vllm", "awq"), ("vllm", "fp8")}, {"llamacpp"}),
        (
            "qwen2.5-0.5b",
            (cpu_node(memory="16Gi"),),
            {"gpu": {"count": 0}},
            {("ctranslate2", "none")},
            {"llamacpp"},
        ),
    ],
)
def test_engines_that_cannot_run_the_format_or_the_device_are_not_told_of(model, nodes, fields, told, untold):
    found = fitting(model, nodes, **SMALL, **fields)
    assert told <= reasons(found).keys()
    assert not untold & {engine for engine, _ in reasons(found)}


def test_of_a_quantized_checkpoint_only_its_own_method_is_told_of():
    assert reasons(fitting("qwen2.5-7b-awq", (L4,))) == {}
    assert {method for _, method in reasons(fitting("llama-3.1-8b-bnb-nf4", (L4,)))} == {"bnb-nf4"}


def test_an_engine_that_does_not_batch_is_called_slower_whatever_its_quality():
    found = fitting("llama-3.1-8b", (L4,), context=SMALL["context"])
    said = {(a.engine, a.method): a for a in found.alternatives}
    slow = said["ctranslate2", "ct2-int8-float16"]
    assert slow.reason == "Slower"
    assert "running batch" in slow.message
    batching = said["transformers", "none"]
    assert batching.reason == "Slower"
    assert "far longer than the device needs" in batching.message, "it batches, and is slow all the same"


# --- what is advised ------------------------------------------------------------------------------------
def test_the_gpus_that_would_fit_are_advised_though_the_asked_parallelism_is_for_fewer():
    one = {"products": ["T4"], "count": 1}
    found = refused("llama-3.1-8b", (T4,), gpu=one, parallelism={"tensor": 1, "pipeline": 1}, **SMALL)
    assert found.failure.details["fitsGpuCount"] == "2"


def test_the_method_that_would_fit_fits_by_what_was_learned_too():
    """Measurements say that vLLM takes nearly twice as much: what fits without them need not with them."""
    seen = PastMeasurement(
        engine="vllm",
        engine_version="0.32.0",
        gpu_product="Tesla-T4",
        predicted_total_bytes=2000,
        actual_total_bytes=2000,
        predicted_known_bytes=1000,
        actual_known_bytes=100,
    )
    asks = {"gpu": {"products": ["T4"], "count": 1}, "context": {"maxModelLen": 8192, "concurrency": 4}}
    first = {"engine": {"name": "vllm"}, "quantization": {"method": "none"}}
    assert refused("llama-3.1-8b", (T4,), **first, **asks).failure.details["fitsMethod"] == "bnb-nf4"
    told = refused("llama-3.1-8b", (T4,), history=(seen,) * 20, **first, **asks).failure.details
    again = {"engine": {"name": told["fitsEngine"]}, "quantization": {"method": told["fitsMethod"]}}
    assert fitting("llama-3.1-8b", (T4,), history=(seen,) * 20, **again, **asks)


# --- on which device --------------------------------------------------------------------------------------
GGUF = smollm2()
SAFE = facts("qwen2.5-0.5b")
CPU_NODE = cpu_node(memory="64Gi")


@pytest.mark.parametrize(
    ("model", "nodes", "fields", "product"),
    [
        # Nothing is said of GPUs: one is taken where one is.
        (GGUF, (L4, CPU_NODE), {}, "NVIDIA-L4"),
        (GGUF, (L4, CPU_NODE), {"engine": {"name": "llamacpp"}}, "NVIDIA-L4"),
        (GGUF, (CPU_NODE,), {}, CPU),
        (GGUF, None, {}, "UnsupportedGPU"),
        (GGUF, (L4, CPU_NODE), {"engine": {"name": "vllm"}}, "NVIDIA-L4"),
        (SAFE, (L4, CPU_NODE), {}, "NVIDIA-L4"),
        (SAFE, (CPU_NODE,), {}, CPU),
        (SAFE, (L4, CPU_NODE), {"engine": {"name": "transformers"}}, "NVIDIA-L4"),
        (SAFE, (CPU_NODE,), {"engine": {"name": "transformers"}}, CPU),
        (SAFE, (CPU_NODE,), {"engine": {"name": "vllm"}}, CPU),
        (SAFE, (L4, CPU_NODE), {"engine": {"name": "vllm"}}, "NVIDIA-L4"),
        (SAFE, None, {}, "UnsupportedGPU"),
        # Something is.
        (GGUF, (L4, CPU_NODE), {"gpu": {"count": 1}}, "NVIDIA-L4"),
        (GGUF, (CPU_NODE,), {"gpu": {"products": ["L4"]}}, "NVIDIA-L4"),
        (SAFE, (CPU_NODE,), {"gpu": {"count": 1}}, "UnsupportedGPU"),
        (SAFE, (CPU_NODE,), {"parallelism": {"tensor": 2}}, "UnsupportedGPU"),
        (SAFE, (CPU_NODE,), {"parallelism": {"pipeline": 2}}, "UnsupportedGPU"),
        (SAFE, (L4, CPU_NODE), {"gpu": {"count": 0}}, CPU),
        (SAFE, (CPU_NODE,), {"gpu": {"count": 0}, "engine": {"name": "vllm"}}, CPU),
        (
            facts("qwen2.5-7b-awq"),
            (CPU_NODE,),
            {"gpu": {"count": 0}, "engine": {"name": "vllm"}},
            "UnsupportedGPU",
        ),
        (GGUF, (CPU_NODE,), {"gpu": {"count": 0}, "engine": {"name": "llamacpp"}}, CPU),
    ],
)
def test_on_which_device_a_model_is_planned(model, nodes, fields, product):
    found = plan_model(spec(**fields), model, nodes=nodes, history=(), config=CONFIG)
    assert product == (found.gpu_product if isinstance(found, ModelPlan) else found.failure.failure_class)


@pytest.mark.parametrize(("nodes", "words"), [(None, "may not read nodes"), ((), "No eligible node")])
def test_why_there_is_no_gpu_to_choose_from(nodes, words):
    assert words in refused("llama-3.1-8b", nodes, gpu={"count": 1}).failure.message


def test_a_method_that_the_engine_does_not_have():
    found = refused("llama-3.1-8b", (L4,), engine={"name": "ctranslate2"}, quantization={"method": "awq"})
    assert found.failure.failure_class == "UnsupportedQuantization"
    assert found.failure.message == "Engine ctranslate2 does not run awq."
    assert "ct2-int8" in found.failure.next_step
    assert "engine.name to one of: vllm;" in found.failure.next_step


@pytest.mark.parametrize("fields", [{}, {"gpu": {"count": 0}}])
@pytest.mark.parametrize("method", ["", "none"])
def test_an_engine_whose_image_lacks_the_package_of_the_checkpoint_is_refused_in_the_plan(fields, method):
    asks = {**fields, "engine": {"name": "transformers"}}
    if method:
        asks["quantization"] = {"method": method}
    found = refused("qwen2.5-7b-awq", (L4, CPU_NODE), **asks)
    assert found.failure.failure_class == "UnsupportedQuantization"
    assert "gptqmodel" in found.failure.message
    assert "vllm" in found.failure.next_step


def test_an_image_of_the_user_is_planned_for_a_checkpoint_whose_package_it_may_have():
    engine = {"name": "transformers", "image": "example.com/with-gptqmodel:1"}
    assert fitting("qwen2.5-7b-awq", (L4,), engine=engine).engine == "transformers"


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({}, True),
        ({"engine": {"name": "vllm"}}, True),
        ({"quantization": {"method": "none"}}, True),
        ({"engine": {"name": "vllm"}, "quantization": {"method": "none"}}, False),
    ],
)
def test_why_a_plan_was_chosen_is_said_where_tacho_chose(fields, told):
    found = fitting("llama-3.1-8b", (L4,), context=SMALL["context"], **fields)
    assert ("Chosen for quality 100.0 of 100" in found.message) == told
    assert found.compute_capability == "8.9"


@pytest.mark.parametrize(
    ("python", "planned"), [({}, "python3"), ({"python": "/opt/bin/python"}, "/opt/bin/python")]
)
def test_the_python_of_a_custom_engine_is_the_users(python, planned):
    custom = {"name": "custom", "image": "example/engine:1", "custom": {"command": ["serve"], "port": 8000}}
    custom["custom"] |= python
    asks = spec(engine=custom, gpu={"count": 1, "products": ["L4"]})
    found = plan_model(asks, GGUF, nodes=None, history=(), config=CONFIG)
    assert found.python == planned


@pytest.mark.parametrize(
    ("model", "said"),
    [
        (replace(GGUF, architecture=None), "GGUF header of hf://owner/name does not describe the model: "),
        (replace(GGUF, tensors=()), "GGUF header of hf://owner/name does not describe the model: "),
        (replace(SAFE, architecture=None), "to plan its memory: no config.json."),
        (replace(SAFE, tensors=(), unknown=("a", "b")), "to plan its memory: a; b."),
    ],
)
def test_what_is_missing_of_a_model_is_named(model, said):
    for engine in ({}, {"engine": {"name": "vllm"}}):
        asks = spec(gpu={"products": ["L4"]}, **engine)
        found = plan_model(asks, model, nodes=None, history=(), config=CONFIG)
        assert found.failure.failure_class == "ModelInvalid"
        assert found.failure.message.endswith(said if model.format != "gguf" else f"{said}no metadata.")
