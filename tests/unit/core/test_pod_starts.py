"""How long a pod's start takes, as the scaler knows it: by the clocks of the API server and of the node."""

from __future__ import annotations

from datetime import timedelta

import pytest

from tacho_contract.units import format_time, parse_time
from tacho_operator.core.autoscaling.target import target_of
from tools.harness.world import world_of


@pytest.mark.parametrize("seconds", [0, 3600])
def test_a_pods_start_is_from_its_creation_to_its_readiness(seconds: int) -> None:
    world = world_of()
    (pod,) = world.pods("server")
    pod["status"]["podIP"] = "10.0.0.7"
    world.now += timedelta(seconds=seconds)
    (found,) = target_of(world.observed()).pods
    assert found.start_seconds is not None
    assert 0 <= found.start_seconds < 600
    pod["status"]["containerStatuses"][0]["restartCount"] = 1
    (found,) = target_of(world.observed()).pods
    assert found.start_seconds is None


@pytest.mark.parametrize(("taken_up", "seconds"), [(None, None), (-3595, 55)])
def test_a_clock_that_is_an_hour_behind_makes_no_start_shorter(
    taken_up: float | None, seconds: float | None
) -> None:
    """A negative start took replicas away while the load grew."""
    world = world_of()
    (pod,) = world.pods("server")
    created = parse_time(pod["metadata"]["creationTimestamp"])
    assert created is not None

    def after(offset: float) -> str:
        return format_time(created + timedelta(seconds=offset))

    conditions = [{"type": "PodScheduled", "status": "True", "lastTransitionTime": after(0)}]
    conditions += [{"type": "Ready", "status": "True", "lastTransitionTime": after(60 - 3600)}]
    pod["status"] |= {"podIP": "10.0.0.7", "conditions": conditions}
    pod["status"]["containerStatuses"][0]["state"] = {"running": {"startedAt": after(8 - 3600)}}
    if taken_up is not None:
        pod["status"]["startTime"] = after(taken_up)
    assert target_of(world.observed()).pods[0].start_seconds == seconds
