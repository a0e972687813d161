"""A revision whose kind of GPU is not free gives way to the next kind, if the planner chose the kind."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from tacho_contract.units import format_time
from tacho_operator.core.types import NodeFacts
from tools.harness.resources import HUB_SPEC, changed
from tools.harness.world import World
from tools.mock.specs import smollm2

L4, H100, A100 = "NVIDIA-L4", "NVIDIA-H100-80GB-HBM3", "NVIDIA-A100-SXM4-80GB"
OTHERS = "1 node(s) didn't match Pod's node affinity/selector."
TAKEN = f"0/2 nodes are available: 1 Insufficient nvidia.com/gpu, {OTHERS}"


def node(product: str) -> NodeFacts:
    return NodeFacts(
        name=product.lower(),
        labels={"nvidia.com/gpu.product": product},
        allocatable={"nvidia.com/gpu": "8", "memory": "900Gi", "cpu": "64"},
    )


def world_with(*products: str, **spec: Any) -> World:
    world = World(changed(HUB_SPEC, gpu=spec or {"count": 1}))
    world.nodes = tuple(map(node, products))
    world.reconcile()
    world.inspected(smollm2())
    world.settle(seconds=0.1)
    return world


def wait(world: World, seconds: float, message: str = TAKEN) -> None:
    """The scheduler finds no node for all pods, from now on."""
    for pod in world.pods("server"):
        since = format_time(world.now)
        refused = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable"}
        before = {item["type"]: item for item in pod.get("status", {}).get("conditions", ())}
        kept = before.get("PodScheduled", {}).get("lastTransitionTime", since)
        pod["status"] = {
            "phase": "Pending",
            "conditions": [{**refused, "message": message, "lastTransitionTime": kept}],
        }
    world.reconcile()
    world.reconcile(seconds)
    world.settle(seconds=0.1)


def gpu(world: World) -> dict[str, Any]:
    found: dict[str, Any] = world.status["plan"]["gpu"]
    return found


def selected(world: World) -> list[str]:
    return [pod["spec"]["nodeSelector"]["nvidia.com/gpu.product"] for pod in world.pods("server")]


def test_the_next_kind_is_planned_and_said() -> None:
    world = world_with(L4, H100)
    assert selected(world) == [L4]
    wait(world, 110)
    assert (selected(world), world.brief("Ready")[1]) == ([L4], "Unschedulable")
    wait(world, 12)
    assert (selected(world), gpu(world)["product"], gpu(world)["tried"]) == ([H100], H100, [L4])
    newest, oldest = world.status["revisions"]
    assert (oldest["phase"], oldest["reason"]) == ("Retired", "GPUNotFree")
    assert f"No GPU {L4} was free in time: {newest['name']} is for {H100}." == oldest["message"]
    assert newest["phase"] == "Candidate"
    assert "Tried before, and none was free: NVIDIA-L4." in world.condition("Planned")["message"]
    assert world.events.count(("Warning", "GPUNotFree")) == 1
    world.settle(world.serve_all)
    assert (world.brief("Ready"), world.sizes()) == (("True", "Serving"), {newest["name"]: 1})


def test_each_kind_is_tried_once_and_then_it_stays_with_the_first() -> None:
    world = world_with(L4, A100, H100)
    seen = [selected(world)]
    for _ in range(6):
        wait(world, 130)
        seen.append(selected(world))
    assert len({kind for (kind,) in seen[:3]}) == 3
    assert seen[0] == [L4]
    assert seen[3:] == [[L4]] * 4
    assert gpu(world)["tried"] == [kind for (kind,) in seen[:3]]
    assert "No other kind fits: it stays with NVIDIA-L4." in world.condition("Planned")["message"]


def test_of_several_products_the_next_is_tried_and_the_time_is_the_users() -> None:
    world = world_with(L4, H100, products=["H100", "L4"], count=1, scheduleTimeoutSeconds=300)
    name = world.status["plan"]["revision"]
    wait(world, 290)
    assert selected(world) == [H100]
    world.change(gpu={"products": ["H100", "L4"], "count": 1, "scheduleTimeoutSeconds": 200})
    world.settle(seconds=0.1)
    assert selected(world) == [L4]
    assert name in {item["name"] for item in world.status["revisions"]}


@pytest.mark.parametrize(
    ("products", "spec", "message"),
    [
        ((L4,), {"count": 1}, TAKEN),
        ((L4, H100), {"count": 1, "products": ["L4"]}, TAKEN),
        ((L4, H100), {"count": 1}, f"0/2 nodes are available: 1 Insufficient memory, {OTHERS}"),
        ((L4, H100), {"count": 1}, "0/2 nodes: pod has unbound immediate PersistentVolumeClaims."),
    ],
    ids=["one kind", "one product", "memory", "claim"],
)
def test_where_nothing_is_to_choose_or_no_gpu_is_missing_it_stays(
    products: tuple[str, ...], spec: dict[str, Any], message: str
) -> None:
    world = world_with(*products, **spec)
    wait(world, 130, message)
    wait(world, 130, message)
    assert selected(world) == [L4]
    assert "tried" not in gpu(world)


def test_a_revision_that_has_served_is_never_moved() -> None:
    world = world_with(L4, H100)
    world.settle(world.serve_all)
    world.change(replicas=2)
    world.reconcile()
    world.deployment_controller()
    (first, second) = world.pods("server")
    waiting = second if first.get("status", {}).get("phase") == "Running" else first
    condition = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": TAKEN}
    condition["lastTransitionTime"] = format_time(world.now)
    waiting["status"] = {"phase": "Pending", "conditions": [condition]}
    world.now += timedelta(seconds=200)
    world.settle()
    assert selected(world) == [L4, L4]
