"""The condition ScalingActive: what beside the load decides, and what an earlier version left."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tacho_operator.core.autoscaling.algorithm.types import Bounds, Policy
from tacho_operator.core.status.undecided import StoredResource, undecided_status, unreadable_spec
from tacho_operator.core.types import Scaled
from tests.unit.autoscaling.fleet import Fleet
from tests.unit.core.scaling import (
    asked_not_long_enough,
    fewer_than_paced,
    idle,
    more_than_paced,
    rising,
    scaled,
    told,
    too_few,
)


@pytest.mark.parametrize("is_decided", [True, False])
def test_conditions_of_an_earlier_version_are_removed(is_decided: bool) -> None:
    world = scaled(rising)
    left = [{**world.condition("ScalingActive"), "type": kind} for kind in ("AbleToScale", "ScalingLimited")]
    world.raw["status"]["conditions"] += left
    if is_decided:
        world.reconcile(1)
    else:
        observed = world.observed()
        found = StoredResource(raw=observed.raw, pods=observed.pods, services=observed.services)
        world.raw["status"] = undecided_status(found, unreadable_spec("a field"), world.now).to_wire()
    assert world.brief("AbleToScale") == world.brief("ScalingLimited") == ("absent", "")
    assert world.condition("Ready")["status"] == "True"


@pytest.mark.parametrize(
    ("look", "told_too"),
    [
        (more_than_paced, "5 replicas are needed; a scale-up policy limits the step."),
        (asked_not_long_enough, "2 replicas are needed, but not yet: less was needed within 300 s."),
        (too_few, "spec.autoscaling requires at least 3."),
        (fewer_than_paced, "Fewer suffice; a scale-down policy limits the step."),
    ],
)
def test_what_beside_the_load_decides_is_said(look: Callable[[], Scaled], told_too: str) -> None:
    world = scaled(look)
    assert world.brief("ScalingActive") == ("True", "ValidMetricFound")
    assert world.condition("ScalingActive")["message"].endswith(told_too)


def test_a_broken_schedule_does_not_hide_that_the_load_needs_more() -> None:
    unreadable = ("spec.autoscaling.schedules[0] is invalid: Bad hour.",)
    found = told(idle(), unreadable).active
    assert found is not None
    assert found.reason == "InvalidSchedule"
    busy = Fleet(Policy(bounds=Bounds(least=1, most=1)))
    busy.run(lambda _: 8.0, 70)
    found = told(busy, unreadable).active
    assert found is not None
    assert (found.reason, unreadable[0] in found.message) == ("TooManyReplicas", True)
