"""A change of spec.replicas while the scaler decides has no effect, and the resource says so."""

from __future__ import annotations

import pytest

from tests.unit.core.scaling import written_by_another
from tools.harness.world import AUTOSCALING, World


def told(world: World) -> str:
    found = world.condition("ScalingActive")
    return str(found["message"]) if found.get("reason") == "ReplicasIgnored" else ""


def test_an_autoscaler_beside_the_scaler_is_told_of_with_what_to_do_and_by_one_event() -> None:
    world = written_by_another()
    assert told(world) == (
        "spec.replicas was changed to 3, to no effect: spec.autoscaling sets the replicas. "
        "If a HorizontalPodAutoscaler or KEDA scales it too, delete that."
    )
    assert world.events.count(("Warning", "ReplicasIgnored")) == 1
    world.reconcile(3600)
    assert told(world)
    assert world.events.count(("Warning", "ReplicasIgnored")) == 1
    world.reconcile(86400)
    assert not told(world), "the writer may be gone"


@pytest.mark.parametrize("mode", ["Recommend", None])
def test_where_replicas_follow_the_write_nothing_is_said(mode: str | None) -> None:
    world = written_by_another()
    world.change(autoscaling={**AUTOSCALING, "mode": mode} if mode else None)
    world.reconcile(1)
    assert not told(world)
