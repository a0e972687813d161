"""What a plan says of settings that the engine may refuse, and what to do about those that it refuses."""

from __future__ import annotations

import dataclasses

import pytest

from benchmarks.planner.models import facts
from tacho_operator.core.planner.inputs import nodes_read
from tacho_operator.core.planner.plan import plan_model
from tacho_operator.core.planner.types import ModelPlan
from tests.unit.planner.choosing import L4, fitting, refused
from tools.mock.specs import CONFIG, cpu_node, smollm2, spec


@pytest.mark.parametrize(
    ("fields", "step"),
    [
        ({"parallelism": {"tensor": 3}}, "Set parallelism.tensor to 1, 2, 4 or 8; gpu.count is the product"),
        (
            {"gpu": {"products": ["H100"], "count": 4}, "parallelism": {"tensor": 2, "pipeline": 1}},
            "Set gpu.count to the product of parallelism.tensor and parallelism.pipeline",
        ),
    ],
)
def test_what_to_do_about_a_parallelism_that_the_model_does_not_have(fields, step):
    """It was another GPU or another method, and neither would have helped."""
    asks = {"gpu": {"products": ["H100"]}, "engine": {"name": "vllm"}, **fields}
    found = refused("llama-3.1-8b", **asks).failure
    assert found.next_step.startswith(step)


@pytest.mark.parametrize(
    ("image", "said"),
    [
        ("vllm/vllm-openai:latest", True),
        ("vllm/vllm-openai@sha256:" + "0" * 64, True),
        ("vllm/vllm-openai:v0.32.0", False),
        ("", False),
    ],
)
def test_a_version_that_is_assumed_of_an_image_is_a_warning(image, said):
    engine = {"name": "vllm", "image": image} if image else {"name": "vllm"}
    found = fitting("llama-3.1-8b", gpu={"products": ["H100"]}, engine=engine)
    assert any("names no version: planned as vLLM 0.32.0" in item for item in found.warnings) is said


@pytest.mark.parametrize(
    ("tag", "version"),
    [
        ("server-cuda-b6123", "b6123"),
        ("server-b6123", "b6123"),
        ("b6123", "b6123"),
        ("server-cuda", ""),
        ("server-cuda-beta1", ""),
    ],
)
def test_a_number_of_a_build_is_a_version_of_llamacpp(tag, version):
    engine = {"name": "llamacpp", "image": f"ghcr.io/ggml-org/llama.cpp:{tag}"}
    asks = spec(engine=engine, gpu={"products": ["L4"]})
    found = plan_model(asks, smollm2(), nodes=None, history=(), config=CONFIG)
    assert any("names no version: planned as llama.cpp 2026.10" in one for one in found.warnings) is not bool(
        version
    )
    assert found.engine_version == (version or "2026.10")


def test_an_unknown_architecture_and_an_unknown_switch_are_warnings_of_the_plan():
    known = facts("llama-3.1-8b")
    model = dataclasses.replace(
        known, architecture=dataclasses.replace(known.architecture, name="FooForCausalLM")
    )
    asks = {"engine": {"name": "vllm", "extraArgs": ["--no-such-flag"]}, "gpu": {"products": ["H100"]}}
    found = plan_model(spec(**asks), model, nodes=None, history=(), config=CONFIG)
    assert [item.split()[0] for item in found.warnings] == ["FooForCausalLM", "vLLM"]
    assert all(item in found.message for item in found.warnings)


@pytest.mark.parametrize(
    ("resource", "said"),
    [("amd.com/gpu", True), ("gpu.intel.com/i915", True), ("qat.intel.com/generic", False)],
)
def test_a_small_model_beside_gpus_of_another_vendor_says_that_it_runs_on_the_cpu(resource, said):
    """It went there without a word, and was taken for slow."""
    node = cpu_node("mi300x", memory="64Gi")
    nodes = (dataclasses.replace(node, allocatable={**node.allocatable, resource: "8"}),)
    found = fitting("qwen2.5-0.5b", nodes)
    assert found.gpu_product == "CPU"
    sentence = f"Nodes mi300x ({resource}) have GPUs of another vendor."
    assert any(item.startswith(sentence) for item in found.warnings) is said
    assert (sentence in found.message) is said
    for fields, others in (({"gpu": {"count": 0}}, ()), ({}, (L4,))):
        assert not any(
            "another vendor" in item for item in fitting("qwen2.5-0.5b", (*nodes, *others), **fields).warnings
        )


def test_of_many_nodes_of_another_vendor_five_are_named_and_none_without_a_gpu():
    """Those whose device plugin is away have none, and are before the others by name."""
    nodes = (
        *(with_gpus(f"away{number}", "0") for number in range(9)),
        *(with_gpus(f"has{number}", "8") for number in range(9)),
        with_gpus("large", "4", memory="512Gi"),
    )
    read = nodes_read(spec(), nodes, CONFIG)
    assert len(read) < len(nodes)
    assert read[-1].allocatable == {"memory": "512Gi", "amd.com/gpu": "4"}
    for known in (nodes, read):
        (warning,) = (item for item in fitting("qwen2.5-0.5b", known).warnings if "another vendor" in item)
        named = ", ".join(f"has{number} (amd.com/gpu)" for number in range(5))
        assert warning.startswith(f"Nodes {named} have GPUs")


def with_gpus(name, count, **more):
    node = cpu_node(name, **more)
    return dataclasses.replace(node, allocatable={**node.allocatable, "amd.com/gpu": count})


@pytest.mark.parametrize(
    ("image", "product"),
    [
        ("registry:5000/mirror/tacho-vllm-cpu:v0.32.0", "CPU"),
        ("ecr.aws/q9t5s3a7/vllm-cpu-release-repo:v0.32.0", "CPU"),
        ("ours/vllm:v0.32.0-cpu", "CPU"),
        ("cpu/vllm:v0.32.0", ""),
        ("vllm/vllm-openai:v0.32.0", ""),
    ],
)
def test_an_image_for_the_cpu_asks_for_it(image, product):
    engine, nodes = {"name": "vllm", "image": image}, (cpu_node(memory="128Gi"),)
    found = plan_model(spec(engine=engine), facts("llama-3.1-8b"), nodes=nodes, history=(), config=CONFIG)
    assert (found.gpu_product if isinstance(found, ModelPlan) else "") == product
