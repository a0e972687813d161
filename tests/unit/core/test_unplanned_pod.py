"""What is known of a pod before its plan: tried before inspection, and never more than a plan asks for."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, strategies as st

from tacho_operator.api.base import parse_quantity
from tacho_operator.core.manifests.containers import engine_resources
from tacho_operator.core.manifests.pod_template import unplanned_pod_template
from tacho_operator.core.planner.types import Prediction
from tacho_operator.core.types import NodeFacts
from tools.harness.resources import CLAIM_SPEC, CONFIG, changed, facts, plan, resource
from tools.harness.world import MOCK_SPEC, World

GIB = 2**30
OWN = [{}, {"limits": {"memory": "8Gi"}, "requests": {"cpu": "3"}}]


@given(
    gpus=st.integers(0, 8),
    total=st.none() | st.integers(1, 900 * GIB),
    start=st.none() | st.integers(0, 900 * GIB),
    counted=st.booleans(),
    own=st.sampled_from(OWN),
)
def test_a_maximum_that_refuses_it_refuses_every_plan(
    gpus: int, total: int | None, start: int | None, counted: bool, own: dict[str, Any]
) -> None:
    engine = {"name": "llamacpp", "resources": own}
    subject = resource(changed(CLAIM_SPEC, engine=engine, gpu={"count": gpus} if counted else None))
    (container,) = unplanned_pod_template(subject, CONFIG)["spec"]["containers"]
    predicted = Prediction(total_bytes=total or GIB, start_bytes=start)
    planned = engine_resources(subject, plan(gpu_count=gpus, predicted=predicted))
    for kind, amounts in container["resources"].items():
        for name, amount in amounts.items():
            least = planned.get(kind, {}).get(name)
            assert least is None or parse_quantity(amount) <= parse_quantity(least), (kind, name)


@pytest.mark.parametrize(
    ("spec", "gpus"),
    [
        ({"engine": {"name": "vllm"}, "gpu": None}, None),
        ({"engine": {"name": "vllm"}, "gpu": None, "parallelism": {"tensor": 4}}, "4"),
        ({"engine": None, "quantization": None, "gpu": {"products": ["L4"]}}, "1"),
        ({"engine": None, "quantization": None, "gpu": None}, None),
    ],
)
def test_gpus_that_every_plan_has_are_requested(spec: dict[str, Any], gpus: str | None) -> None:
    pod = unplanned_pod_template(resource(changed(CLAIM_SPEC, **spec)), CONFIG)
    (container,) = pod["spec"]["containers"]
    assert container["resources"]["requests"].get("nvidia.com/gpu") == gpus
    assert container["image"]


def test_a_gpu_that_no_node_has_is_told_before_inspection_and_inspected_for_once_one_has_it() -> None:
    gpu = {"nvidia.com/gpu": "1", "memory": "64Gi", "cpu": "8"}
    world = World(changed(CLAIM_SPEC, quantization=None, engine={"name": "vllm"}, gpu={"count": 1}))
    world.nodes = (NodeFacts(name="cpu-only", labels={}, allocatable={"memory": "64Gi", "cpu": "8"}),)
    world.reconcile()
    assert world.brief("Planned") == ("False", "UnsupportedGPU")
    assert "No eligible node has a GPU" in world.condition("Planned")["message"]
    assert world.pods("inspect") == []
    world.nodes += (NodeFacts(name="gpu", labels={"nvidia.com/gpu.product": "NVIDIA-L4"}, allocatable=gpu),)
    world.reconcile()
    assert world.brief("Planned") == ("Unknown", "Inspecting")
    assert len(world.pods("inspect")) == 1


def test_the_pod_is_tried_before_its_model_is_inspected_and_quota_counts_for_the_first_alone() -> None:
    world = World(MOCK_SPEC)
    tried = world.reconcile().trial
    assert tried is not None
    assert {kind for kind, _ in tried.withheld} == {"Pod"}
    assert tried.needs_quota
    assert world.reconcile().trial is None, "the inspect pod exists"
    world.inspected(facts())
    world.settle(world.serve_all)
    world.change(model={"uri": "pvc://models/another"})
    successor = world.reconcile().trial
    assert successor is not None
    assert not successor.needs_quota
    assert successor.key != tried.key
