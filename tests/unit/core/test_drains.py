"""How many pods a node drain may take at a time, by the rule of Kubernetes' disruption controller."""

from __future__ import annotations

from tacho_operator.core import names
from tacho_operator.core.pods.view import PodView
from tools.harness.resources import changed
from tools.harness.world import MOCK_SPEC, World


def allowed(world: World) -> int:
    """Pods that the PodDisruptionBudget lets go now (pkg/controller/disruption/disruption.go)."""
    spec = world.objects["PodDisruptionBudget", "smol"]["spec"]
    wanted = spec["selector"]["matchLabels"].items()
    pods = [pod for pod in world.pods("server") if wanted <= pod["metadata"]["labels"].items()]
    healthy = sum(PodView(pod).ready for pod in pods)
    least = spec.get("minAvailable")
    if least is None:  # of what the pods' controllers shall have
        owners = {pod["metadata"]["labels"][names.REVISION_LABEL] for pod in pods}
        least = sum(world.sizes()[owner] for owner in owners) - spec["maxUnavailable"]
    return int(healthy - least)


def serving(replicas: int) -> World:
    world = World(changed(MOCK_SPEC, replicas=replicas))
    world.come_up()
    return world


def test_one_pod_at_a_time_leaves() -> None:
    assert allowed(serving(3)) == 1


def test_a_candidate_that_does_not_start_refuses_no_drain() -> None:
    world = serving(3)
    world.roll_out()
    world.settle()
    assert world.brief("RolloutAccepted")[0] == "Unknown"
    assert allowed(world) == 1


def test_a_candidate_that_is_ready_and_has_no_requests_lets_no_second_pod_leave() -> None:
    world = serving(2)
    world.roll_out()
    world.serve_all()
    world.reconcile(1)
    assert world.selected(), "it has no requests yet"
    assert allowed(world) == 1


def test_a_rollout_that_stands_still_half_way_refuses_no_drain() -> None:
    world = serving(3)
    world.roll_out()
    world.serve_all()
    world.reconcile(11)
    for _ in range(3):  # the old one gives way, then the new one grows
        world.reconcile(1)
        world.deployment_controller()
    assert not world.selected(), "both have requests"
    assert any("status" not in pod for pod in world.pods("server")), "others start"
    assert allowed(world) == 1
