"""What the gate takes for a measurement of the candidate, and for one of the active revision."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import pytest

from tacho_operator.core import names
from tacho_operator.core.rollout.record import MIN_READY_SECONDS
from tests.unit.core.gated import SMALLER, Gated, figures
from tools.harness.figures import point

SAME_PLAN = {"podTemplate": {"spec": {"nodeSelector": {"pool": "other"}}}}
FIRST = {"context": {"maxModelLen": 2048, "concurrency": 4}}
UNKNOWN_INTERVAL = {
    "capacity": dataclasses.replace(figures(0.7)["capacity"], ci_percent=None),
    "single_stream": dataclasses.replace(figures(0.7)["single_stream"], decode_ci_percent=None),
}


def checks(world: Gated, revision: str, share: float, **fields: Any) -> None:
    """A pod of the candidate finds a measurement of its plan and hardware, and is only checked."""
    pod = world.pods("server", revision)[-1]
    level = point(4, 204.8 * share)
    world.serves(pod, **figures(share, kind="Check", capacity=None, curve=(level,), **fields))
    world.reconcile(1)
    world.reconcile(MIN_READY_SECONDS)


def rates(world: Gated) -> dict[str, str]:
    """The current measurements' rates by revision."""
    return {
        item["revision"]: item["capacity"]["outputTokensPerSecond"]
        for item in world.status["measurements"]
        if item["state"] == "Complete"
    }


def of_same_plan() -> tuple[Gated, str]:
    world = Gated()
    name = world.candidate(**SAME_PLAN)
    assert world.plan_key(name) == world.plan_key(world.active)
    return world, name


@pytest.mark.parametrize("share", [0.88, 0.7])
def test_a_slower_candidate_of_the_same_plan_is_not_compared_with_itself(share: float) -> None:
    world, name = of_same_plan()
    checks(world, name, share)
    assert "its check confirms no measurement" in world.message()
    world.measures(name, share, again=True)
    world.measures(name, share, again=True)
    assert world.verdict() == "Regression"
    assert "throughput 204.8" in world.message()
    assert rates(world) == {world.active: "204.8"}
    world.deployment_controller()
    world.reconcile(1)
    assert rates(world) == {world.active: "204.8"}


def test_an_equal_candidate_of_the_same_plan_is_admitted_by_its_check() -> None:
    world, name = of_same_plan()
    checks(world, name, 0.98)
    assert world.verdict() == "Acceptable"
    world.goes_on()
    assert world.brief("RolloutAccepted") == ("True", "Accepted")
    assert "a check found the rates of the active revision" in world.message()
    assert "+0.0 %" not in world.message()


@pytest.mark.parametrize("share", [0.98, 0.7])
def test_a_disturbed_check_confirms_nothing(share: float) -> None:
    world, name = of_same_plan()
    checks(world, name, share, flags=("Contended",))
    assert world.verdict() == ""
    assert world.is_asking()


def test_without_a_gate_all_pods_of_a_plan_share_its_measurement() -> None:
    world = Gated(rollout={"scheduleTimeoutSeconds": 600})
    name = world.candidate(**SAME_PLAN)
    pod = world.pods("server", name)[-1]
    world.serves(pod, **figures(0.7, request="please"))
    world.reconcile(1)
    assert rates(world) == {name: "143.4"}


def test_a_revision_of_earlier_that_is_slower_now_is_measured_in_full() -> None:
    world = Gated()
    name = world.candidate()
    world.measures(name, 1.0)
    world.goes_on()
    first, world.active = world.active, name
    assert world.candidate(**FIRST) == first
    checks(world, first, 0.87)  # less than pods differ, and more than the tolerance
    assert world.verdict() == ""
    world.measures(first, 0.87, again=True)
    world.measures(first, 0.87, again=True)
    assert world.verdict() == "Regression"


@pytest.mark.parametrize(
    ("fields", "lacks"),
    [
        (UNKNOWN_INTERVAL, "throughput, TPOT"),
        ({"capacity": None}, "throughput"),
        (
            {"state": "Partial", "capacity": None, "single_stream": None, "curve": ()},
            "throughput, TTFT, TPOT",
        ),
    ],
)
def test_a_figure_that_only_the_active_revision_has_is_measured_again(
    fields: dict[str, Any], lacks: str
) -> None:
    world = Gated()
    name = world.candidate()
    world.measures(name, 1.0, **fields)
    assert f"its measurement lacks {lacks}" in world.message()
    assert world.is_asking()
    world.measures(name, 1.0, again=True)
    assert world.verdict() == "Acceptable"


def test_a_figure_that_is_never_measured_admits_it_with_a_warning() -> None:
    world = Gated()
    name = world.candidate()
    world.measures(name, 1.0, capacity=None)
    world.measures(name, 1.0, again=True, capacity=None)
    world.measures(name, 1.0, again=True, capacity=None)
    world.goes_on()
    assert world.brief("RolloutAccepted") == ("True", "NotJudged")
    assert ("Warning", "NotJudged") in world.events


def test_a_verdict_that_this_version_does_not_know_admits_nothing() -> None:
    world = Gated()
    name = world.candidate(context=SMALLER)
    world.measures(name, 0.7)
    notes = world.service()["metadata"]["annotations"]
    notes[names.GATE_ANNOTATION] = json.dumps({**json.loads(notes[names.GATE_ANNOTATION]), "verdict": "Held"})
    world.reconcile(1)
    assert world.verdict() == ""
    assert world.selected() == world.active
