"""What of status.autoscaling the scaler reads after a restart of the operator."""

from __future__ import annotations

import pytest

from tacho_contract.units import format_time
from tacho_operator.core.autoscaling.target import desired_replicas, target_of
from tools.harness.world import AUTOSCALING, world_of


@pytest.mark.parametrize("also", ["", "Recommend", "a candidate"])
def test_a_decision_that_no_size_follows_is_left_out_of_what_a_restart_reads(also: str) -> None:
    """Where the mode or another revision changes the size, it says nothing about the decision."""
    world = world_of()
    if also == "a candidate":
        world.roll_out()
    elif also:
        world.change(autoscaling={**AUTOSCALING, "mode": also})
    made = {"time": format_time(world.now), "fromReplicas": 1, "toReplicas": 4}
    world.raw["status"] = {**world.status, "autoscaling": {"desiredReplicas": 4, "decisions": [made]}}
    previous = target_of(world.observed()).previous
    assert previous is not None
    assert len(previous.decisions) == bool(also)


@pytest.mark.parametrize(
    ("stored", "replicas"),
    [
        ({"desiredReplicas": 6}, 6),
        ({"mode": "Recommend", "desiredReplicas": 6}, 3),
        ({"desiredReplicas": 99}, 8),
        ({}, 3),
    ],
)
def test_during_a_rollout_a_restart_keeps_what_was_decided_and_takes_no_recommendation(
    stored: dict[str, object], replicas: int
) -> None:
    """The mode may have been changed to Enforce meanwhile. Each Deployment has a part of the pods."""
    world = world_of(minReplicas=3)
    world.roll_out()
    for key, item in world.objects.items():
        if key[0] == "Deployment":
            item["spec"]["replicas"] = 1
    world.raw["status"] = {**world.status, "autoscaling": stored}
    assert desired_replicas(world.observed()) == replicas
