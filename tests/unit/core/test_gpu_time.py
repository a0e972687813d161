"""GPU time: every second of every GPU counts once, and no gap counts as use."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import pytest
from hypothesis import given, strategies as st

from tacho_operator.core.measurement.cost import (
    GAP_SECONDS,
    GpuHolding,
    Price,
    counted_seconds,
    gpu_interval,
    holdings_of,
    own_cost,
)
from tacho_operator.core.types import NodeFacts
from tools.harness.resources import CONFIG, resource
from tools.harness.world import MOCK_SPEC, World, changed

USES = st.sampled_from(["serving", "probing", "unready"])
TIMES = st.floats(min_value=-1e10, max_value=1e10)


@given(
    pods=st.dictionaries(st.text(max_size=3), USES, max_size=8),
    gpus=st.integers(1, 16),
    price=st.none() | st.floats(0.001, 100),
    idle=st.dictionaries(st.text(max_size=3), st.booleans()),
    last=st.none() | TIMES,
    now=TIMES,
)
def test_an_interval_counts_each_gpu_once_whatever_the_clock_does(
    pods: dict[str, Any],
    gpus: int,
    price: float | None,
    idle: dict[str, bool],
    last: float | None,
    now: float,
) -> None:
    seconds = counted_seconds(last, now)
    assert 0 <= seconds <= GAP_SECONDS
    if last is None or now <= last:
        assert seconds == 0
    known = Price(per_gpu_hour=price, currency="EUR") if price else None
    spent, cost = gpu_interval(GpuHolding(gpus, "G", known, tuple(pods.items())), idle, seconds)
    assert math.isclose(math.fsum(spent.values()), gpus * len(pods) * seconds, abs_tol=1e-9)
    probing = sum(use == "probing" for use in pods.values())
    assert math.isclose(spent.get("probing", 0.0), gpus * probing * seconds, abs_tol=1e-9)
    unused = sum(use == "serving" and idle.get(uid, False) for uid, use in pods.items())
    assert math.isclose(spent.get("idle", 0.0), gpus * unused * seconds, abs_tol=1e-9)
    if known is None:
        assert cost == {}
    else:
        hours = {use: found / 3600 for use, found in spent.items()}
        assert cost == pytest.approx({use: known.per_gpu_hour * found for use, found in hours.items()})


def node(product: str, gpus: int) -> NodeFacts:
    labels = {"nvidia.com/gpu.product": product}
    return NodeFacts(name=f"node-{product}", labels=labels, allocatable={"nvidia.com/gpu": str(gpus)})


def gpu_world(**fields: Any) -> World:
    world = World(changed(MOCK_SPEC, gpu={"count": 1, "products": ["NVIDIA-L4"]}, **fields))
    world.nodes = (node("NVIDIA-L4", 1), node("NVIDIA-H200", 4))
    world.come_up()
    return world


def test_pods_on_a_node_hold_the_gpus_of_the_plan() -> None:
    world = gpu_world(cost={"pricePerGPUHour": "2", "currency": "EUR"}, replicas=2)
    (found,) = holdings_of(world.observed(), CONFIG)
    assert (found.gpus_per_pod, found.product) == (1, "NVIDIA-L4")
    assert found.price == Price(per_gpu_hour=2, currency="EUR")
    priced = dataclasses.replace(CONFIG, gpu_prices={"NVIDIA-L4": "3.50"})
    (ours,) = holdings_of(world.observed(), priced)
    assert ours.price == Price(per_gpu_hour=3.5, currency="USD"), "a tenant sets no price of its own"
    assert [use for _, use in found.pods] == ["serving", "serving"]
    first, second = world.pods("server")
    second["status"]["phase"] = "Failed"
    del first["spec"]["nodeName"]
    assert holdings_of(world.observed(), CONFIG) == ()


def test_each_pod_holds_the_gpus_of_its_own_revision_at_their_own_price() -> None:
    """A rollout may last for days, as where a candidate waits for a GPU."""
    world = gpu_world(cost={"pricePerGPUHour": "0.60"})
    before = world.status["summary"]["costPerMillionOutputTokens"]
    world.change(gpu={"count": 4, "products": ["NVIDIA-H200"]}, cost={"pricePerGPUHour": "3.50"})
    world.reconcile(1)
    world.deployment_controller()
    (candidate,) = [pod for pod in world.pods("server") if "status" not in pod]
    world.runs(candidate, "Starting")
    decision = world.reconcile(1)
    held = holdings_of(world.observed(), CONFIG)
    assert [(item.product, item.gpus_per_pod, item.price) for item in held] == [
        ("NVIDIA-L4", 1, None),
        ("NVIDIA-H200", 4, Price(per_gpu_hour=3.5)),
    ]
    assert decision.status is not None
    assert decision.status.summary is not None
    assert decision.status.summary.output_tokens_per_second is not None
    assert decision.status.summary.cost_per_million_output_tokens is None, "the new price is no L4's"
    world.config = dataclasses.replace(world.config, gpu_prices={"nvidia-l4": "0.60"})
    world.reconcile(1)
    assert world.status["summary"]["costPerMillionOutputTokens"] == before
    world.serves(candidate)
    world.settle(world.serve_all)
    (found,) = holdings_of(world.observed(), CONFIG)
    assert (found.product, found.gpus_per_pod) == ("NVIDIA-H200", 4)
    assert world.status["summary"]["costPerMillionOutputTokens"] != before


def test_where_spec_names_no_product_its_plan_says_what_its_price_is_of() -> None:
    """Only H200s are four on a node."""
    world = gpu_world(cost={"pricePerGPUHour": "0.60"})
    world.change(gpu={"count": 4}, cost={"pricePerGPUHour": "3.50"})
    world.reconcile(1)
    (found,) = holdings_of(world.observed(), CONFIG)
    assert (found.product, found.price) == ("NVIDIA-L4", None)
    assert "costShown" not in world.status["summary"]


@pytest.mark.parametrize(
    ("products", "planned", "applies"),
    [
        (["NVIDIA-H200"], None, False),
        (["NVIDIA-H200", "L4"], None, True),
        ([], None, True),
        (["NVIDIA-H200", "NVIDIA-L4"], "NVIDIA-H200", False),
        (["NVIDIA-H200"], "NVIDIA-L4", True),
        ([], "", False),
    ],
)
def test_the_price_in_spec_is_that_of_the_gpus_that_spec_asks_for(
    products: list[str], planned: str | None, applies: bool
) -> None:
    gpu = {"count": 1, **({"products": products} if products else {})}
    spec = resource(changed(MOCK_SPEC, gpu=gpu, cost={"pricePerGPUHour": "2"})).spec
    assert own_cost(spec, "NVIDIA-L4", planned) == (spec.cost if applies else None)


SHARED = "nvidia.com/gpu.shared"


def test_a_share_of_a_gpu_under_its_renamed_resource_is_a_product_of_its_own() -> None:
    """With renameByDefault no label of the node says that its GPUs are shared."""
    world = gpu_world()
    whole = world.status["summary"]["outputTokensPerSecond"]
    (first,) = world.names("ControllerRevision")
    shared = dataclasses.replace(
        node("NVIDIA-L4", 4),
        labels={"nvidia.com/gpu.product": "NVIDIA-L4", "nvidia.com/gpu.replicas": "4"},
        allocatable={SHARED: "4"},
    )
    world.nodes = (shared,)
    world.config = dataclasses.replace(CONFIG, gpu_prices={"NVIDIA-L4": "0.60"})
    world.reconcile(1)
    assert "costShown" in world.status["summary"]
    world.change(gpu={"count": 1, "products": ["NVIDIA-L4"], "resourceName": SHARED})
    world.reconcile(1)
    (second,) = world.names("ControllerRevision") - {first}
    assert world.plan_key(second) != world.plan_key(first), "it is measured in full"
    world.deployment_controller()
    world.settle(world.serve_all)
    (found,) = holdings_of(world.observed(), world.config)
    assert (found.product, found.price) == ("NVIDIA-L4-SHARED", None)
    assert world.status["summary"]["outputTokensPerSecond"] == whole
    assert "costShown" not in world.status["summary"], "the price of a whole GPU is not that of a share"
    world.config = dataclasses.replace(CONFIG, gpu_prices={"NVIDIA-L4-SHARED": "0.15"})
    world.reconcile(1)
    assert "costShown" in world.status["summary"]


@pytest.mark.parametrize(
    ("planned", "applies"), [(None, True), ("NVIDIA-L4-SHARED", True), ("NVIDIA-L4", False)]
)
def test_the_price_in_spec_is_of_a_share_where_spec_asks_for_one(planned: str | None, applies: bool) -> None:
    gpu = {"count": 1, "products": ["NVIDIA-L4"], "resourceName": SHARED}
    spec = resource(changed(MOCK_SPEC, gpu=gpu, cost={"pricePerGPUHour": "2"})).spec
    assert own_cost(spec, "NVIDIA-L4-SHARED", planned) == (spec.cost if applies else None)
