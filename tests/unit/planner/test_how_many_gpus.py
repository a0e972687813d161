"""How many GPUs a plan and its alternatives are for, and what is said where no node has them."""

from __future__ import annotations

import dataclasses

import pytest

from tacho_operator.core.planner.plan import fails_for_any_model
from tests.unit.planner.choosing import H100, L4, fitting, refused
from tools.mock.specs import CONFIG, cpu_node, gpu_node, spec


def lines(found):
    return {(item.engine, item.method): item for item in found.alternatives}


# --- alternatives ---------------------------------------------------------------------------------
def test_an_alternative_is_of_the_fewest_gpus_that_it_fits():
    """Where nothing fitted, they were of eight, with the speed of eight."""
    found = lines(refused("llama-3.1-8b", gpu={"products": ["L4"]}, quantization={"method": "awq"}))
    alone = fitting("llama-3.1-8b", gpu={"products": ["L4"], "count": 1}, engine={"name": "vllm"})
    same = found["vllm", alone.quantization_method]
    assert same.product == "NVIDIA-L4"
    assert same.expected_decode_tokens_per_second == alone.predicted.expected_decode_tokens_per_second
    assert found["ctranslate2", "none"].fits, "it runs on one GPU only"


def test_an_alternative_says_on_how_many_gpus_it_was_tried():
    found = fitting("llama-3.1-70b", gpu={"products": ["L4"], "count": 4})
    assert lines(found)["vllm", "none"].product == "4 x NVIDIA-L4"
    assert lines(found)["vllm", "awq"].product == "NVIDIA-L4", "no number of GPUs would help"


def test_what_does_not_fit_is_no_alternative_to_itself_on_fewer_gpus():
    found = refused("llama-3.1-8b", gpu={"products": ["L4"]}, quantization={"method": "awq"})
    assert ("vllm", "awq") not in lines(found)


@pytest.mark.parametrize("engine", ["transformers", "ctranslate2"])
def test_an_engine_of_one_gpu_is_not_planned_on_several(engine):
    """Transformers' batching has its KV cache on the first GPU, where layers on others could not write."""
    asks = {"engine": {"name": engine}, "context": {"maxModelLen": 2048, "concurrency": 2}}
    found = refused("llama-3.1-8b", gpu={"products": ["L4"], "count": 2}, **asks).failure
    assert (found.failure_class, found.next_step[:18]) == ("UnsupportedGPU", "Set gpu.count to 1")
    assert f"{engine} runs on one GPU" in found.message
    chosen = fitting("llama-3.1-8b", gpu={"products": ["L4", "H100"]}, **asks)
    assert chosen.gpu_count == 1
    stages = {"gpu": {"products": ["H100"], "count": 1}, "parallelism": {"pipeline": 2}}
    assert "parallelism.pipeline has no effect" in refused("llama-3.1-8b", **stages, **asks).failure.message


# --- more than a node has -------------------------------------------------------------------------
@pytest.mark.parametrize(
    "fields",
    [
        {"gpu": {"products": ["H100"], "count": 16}},
        {"gpu": {"products": ["H100"], "count": 9}, "parallelism": {"tensor": 1, "pipeline": 9}},
        {"gpu": {"products": ["H100"]}, "parallelism": {"tensor": 16}},
    ],
)
@pytest.mark.parametrize("nodes", [(), (H100,)])
def test_more_gpus_than_a_node_has_are_refused(fields, nodes):
    found = refused("llama-3.1-70b", nodes, **fields).failure
    assert found.failure_class == "UnsupportedGPU"
    assert "No known node has over 8." in found.message
    assert found.next_step.startswith("Set gpu.count to 8 or less")
    assert fails_for_any_model(spec(**fields), nodes, CONFIG).failure == found


def test_engines_that_are_not_planned_may_have_any_number_of_gpus():
    """Other vendors' nodes have other limits."""
    custom = {"name": "custom", "image": "example/engine:1", "custom": {"command": ["serve"], "port": 8000}}
    fields = {"engine": custom, "gpu": {"products": ["H100"], "count": 16}}
    assert fitting("llama-3.1-8b", (H100,), **fields).gpu_count == 16


def test_where_nodes_are_not_read_any_number_of_gpus_is_planned():
    assert fitting("llama-3.1-70b", None, gpu={"products": ["H100"], "count": 16}).gpu_count == 16


def test_a_node_that_takes_no_pods_at_present_counts():
    node = gpu_node("large", "NVIDIA-H100-80GB-HBM3", 16, memory_mib=81559, compute="9.0")
    cordoned = dataclasses.replace(node, unschedulable=True)
    fields = {"gpu": {"products": ["H100"], "count": 16}}
    assert fails_for_any_model(spec(**fields), (cordoned,), CONFIG) is None


def test_a_node_with_sixteen_gpus_takes_a_plan_for_them():
    node = gpu_node("large", "NVIDIA-H100-80GB-HBM3", 16, memory_mib=81559, compute="9.0")
    assert fitting("llama-3.1-70b", (node,), gpu={"count": 16}).gpu_count == 16
    assert fitting("llama-3.1-70b", (L4,), gpu={"products": ["H100"], "count": 8}).gpu_count == 8


# --- several streams below one --------------------------------------------------------------------
@pytest.mark.parametrize(
    ("model", "fields", "why"),
    [
        (
            "llama-3.1-8b",
            {"engine": {"name": "ctranslate2"}, "gpu": {"products": ["A40"]}},
            "the engine computes one stream after the other",
        ),
        (
            "qwen3-30b-a3b",
            {"quantization": {"method": "bnb-nf4"}, "gpu": {"products": ["A40"], "count": 1}},
            "a step of several streams reads or unpacks more weights",
        ),
    ],
)
def test_why_streams_together_are_slower_than_one_alone_is_said(model, fields, why):
    found = fitting(model, context={"concurrency": 8, "maxModelLen": 2048}, **fields)
    assert (
        found.predicted.expected_output_tokens_per_second < found.predicted.expected_decode_tokens_per_second
    )
    assert f"Some of these are below the rate of one stream: {why}" in found.message


def test_nothing_is_said_where_streams_together_are_faster():
    assert "below the rate" not in fitting("llama-3.1-8b", gpu={"products": ["L4"]}).message


# --- nodes without the label ----------------------------------------------------------------------
BARE = dataclasses.replace(H100, labels={})


def test_nodes_that_pods_of_the_plan_cannot_select_are_a_warning():
    """Naming the product gave a plan, and a pod that waited for ever beside such a node."""
    found = fitting("llama-3.1-8b", (BARE,), gpu={"products": ["H100"]})
    (warning,) = found.warnings
    assert warning.startswith("Nodes h100 have GPUs without the label nvidia.com/gpu.product")
    label = "nvidia.com/gpu.product=NVIDIA-H100-80GB-HBM3"
    assert label in warning
    assert found.message.endswith(warning)
    labelled = dataclasses.replace(BARE, labels=dict([label.split("=")]))
    assert fitting("llama-3.1-8b", (labelled,), gpu={"products": ["H100"]}).warnings == ()
    assert "from the catalog" not in fitting("llama-3.1-8b", (labelled,)).message, "as advised"
    assert fitting("llama-3.1-8b", (BARE, L4), gpu={"products": ["L4"]}).warnings == ()


def test_what_a_person_can_do_about_gpus_without_a_label():
    step = refused("llama-3.1-8b", (BARE,)).failure.next_step
    assert "label these nodes or their pool nvidia.com/gpu.product=PRODUCT" in step
    assert "gpu.products" not in step, "a pod selects the label whoever names the product"


@pytest.mark.parametrize("fields", [{}, {"gpu": {"count": 1}}])
def test_a_node_autoscaler_needs_the_label_too(fields):
    step = refused("llama-3.1-8b", (cpu_node(),), **fields).failure.next_step
    assert "pool's template" in step
    assert "nvidia.com/gpu.product" in step


def test_a_product_without_a_size_is_told_from_one_without_a_label():
    """A node with the product label was said to have none."""
    unsized = gpu_node("foo", "NVIDIA-FOO-9000")
    found = refused("llama-3.1-8b", (unsized,)).failure
    assert found.message == (
        "Nodes foo (NVIDIA-FOO-9000) have GPUs that the catalog lacks, or has of several sizes, and no label "
        "nvidia.com/gpu.memory."
    )
    assert "nvidia.com/gpu.memory=MIB" in found.next_step
    sized = gpu_node("foo", "NVIDIA-FOO-9000", memory_mib=48000, compute="8.9")
    assert fitting("llama-3.1-8b", (sized,)).gpu_product == "NVIDIA-FOO-9000"


def test_a_nodes_label_that_is_a_short_name_of_several_is_said_to_be():
    """The catalog was said to lack an A100, and its speed was a third of what it is, or three times it."""
    found = refused("llama-3.1-8b", (gpu_node("foo", "A100"),)).failure
    assert found.message.startswith(
        "Nodes foo (A100) have GPUs that the catalog lacks, or has of several sizes,"
    )
    sized = fitting("llama-3.1-8b", (gpu_node("foo", "A100", memory_mib=81920, compute="8.0"),))
    assert sized.gpu_product == "A100"
    assert "A100 stands for NVIDIA-A100-SXM4-80GB and NVIDIA-A100-80GB-PCIe and" in sized.message
    assert "a factor of 3" not in sized.message
    unknown = fitting("llama-3.1-8b", (gpu_node("foo", "NVIDIA-FOO-9000", memory_mib=81920, compute="8.0"),))
    assert "NVIDIA-FOO-9000 is not in the catalog; planned from its labels." in unknown.message
    assert "a factor of 3" in unknown.message


# --- of other vendors -----------------------------------------------------------------------------
@pytest.mark.parametrize("gpu", [{"products": ["MI300X"]}, {"resourceName": "amd.com/gpu"}])
@pytest.mark.parametrize("nodes", [None, (cpu_node(),)])
def test_gpus_of_other_vendors_are_refused_as_such(gpu, nodes):
    """The advice was NVIDIA's GPU Feature Discovery, or a small model went to the CPU."""
    found = refused("qwen2.5-0.5b", nodes, gpu=gpu).failure
    assert found.failure_class == "UnsupportedGPU"
    assert "tacho plans NVIDIA GPUs only" in found.message
    assert "gpu.count to 0" in found.next_step


def test_engine_custom_runs_on_gpus_of_other_vendors_too():
    custom = {"name": "custom", "image": "example/engine:1", "custom": {"command": ["serve"], "port": 8000}}
    asks = {"engine": custom, "gpu": {"resourceName": "amd.com/gpu", "count": 1}}
    assert fitting("llama-3.1-8b", (cpu_node(),), **asks).gpu_count == 1
