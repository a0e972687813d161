"""The gate where a ControllerRevision is gone, damaged, or of another version."""

from __future__ import annotations

import pytest

from tests.unit.core.gated import Gated, rejected


def damage(world: Gated, name: str) -> None:
    world.objects["ControllerRevision", name]["data"] = {"schema": 99}


def test_a_candidate_that_cannot_be_read_gets_no_requests_and_says_what_to_do() -> None:
    world = Gated()
    name = world.candidate()
    world.measures(name, 0.7)
    damage(world, name)
    world.reconcile(1)
    assert world.selected() == world.active
    assert world.sizes() == {world.active: 1}
    assert world.verdict() == ""
    assert world.brief("Planned") == ("False", "InvalidConfig")
    assert world.brief("RolloutAccepted") == ("False", "InvalidConfig")
    assert f"ControllerRevision {name} is damaged" in world.message()
    assert "Restore it" in world.message()
    assert "Disabled" not in world.message()


def test_a_rejected_one_that_cannot_be_read_stays_rejected() -> None:
    world, name = rejected()
    data = world.objects["ControllerRevision", name]["data"]
    damage(world, name)
    world.reconcile(1)
    world.deployment_controller()
    assert world.verdict() == "Regression"
    world.objects["ControllerRevision", name]["data"] = data
    world.goes_on()
    assert world.record("active-revision") == world.active
    assert world.brief("RolloutAccepted") == ("False", "Regression")


@pytest.mark.parametrize("gone", [True, False])
def test_an_active_one_that_cannot_be_read_is_named(gone: bool) -> None:
    world = Gated()
    name = world.candidate()
    if gone:
        world.objects.pop(("ControllerRevision", world.active))
    else:
        damage(world, world.active)
    world.measures(name, 0.7)
    assert world.verdict() == "Unjudged"
    words = f"ControllerRevision {world.active}, which serves, is gone or cannot be read"
    assert words in world.record("gate")
    world.goes_on()
    assert world.brief("RolloutAccepted") == ("True", "NotJudged")


def test_what_may_be_judged_by_another_measurement_is_measured_again() -> None:
    world = Gated()
    name = world.candidate()
    damage(world, world.active)
    world.measures(name, 0.7, flags=("Contended",))
    assert world.is_asking()
    assert "its measurement is provisional" in world.message()
