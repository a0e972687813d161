"""A capacity that is a lower bound for want of time: it is called one, and no probe pod follows."""

from __future__ import annotations

import pytest

from tacho_operator.api.status.measurement import MeasurementEntry
from tacho_operator.core import names
from tacho_operator.core.measurement.states import unfinished
from tests.unit.core.measured_world import CURVE, SPEC, edge, floor, unfinished_world
from tools.harness.world import World


def never_probes(world: World) -> bool:
    """Whether a day passes without a probe pod."""
    for _ in range(12):
        world.reconcile(7200)
        if world.pods("probe"):
            return False
    return True


def test_a_lower_bound_is_called_one_and_stays_until_somebody_requests_a_measurement() -> None:
    world = unfinished_world()
    assert never_probes(world)
    assert world.brief("Measured") == ("True", "CapacityFloor")
    assert world.condition("Measured")["message"] == (
        "At least 400 output tokens per second: the time ran out. Raise probe.budgetSeconds above 45."
    )
    assert world.brief("Reconciling") == ("False", "Settled")
    world.raw["metadata"]["annotations"] = {names.MEASURE_AGAIN_ANNOTATION: "now"}
    world.reconcile(1)
    world.serves(world.pods("probe")[0], **edge())
    world.settle()
    assert world.brief("Measured") == ("True", "MeasurementComplete")
    assert world.status["measurements"][0]["capacity"]["boundary"] == "Edge"


def test_a_lower_bound_for_another_reason_than_time_says_that_one() -> None:
    world = World(SPEC)
    world.first_pods()
    message = "2 streams had no steady rate; others took up to 5 %"
    world.serves(world.pods("server")[0], **floor(flags=(), message=message))
    world.reconcile(3)
    assert world.condition("Measured")["message"] == (
        "At least 400 output tokens per second: 2 streams had no steady rate."
    )


@pytest.mark.parametrize(
    ("probe", "advice"),
    [
        ({"budgetSeconds": 60, "timeoutSeconds": 90}, " Raise probe.budgetSeconds above 60."),
        ({"timeoutSeconds": 45}, " Raise probe.budgetSeconds and timeoutSeconds above 45."),
        ({"budgetSeconds": 3600}, ""),
    ],
    ids=str,
)
def test_the_advice_is_one_that_the_api_takes(probe: dict[str, int], advice: str) -> None:
    message = unfinished_world(probe=probe).condition("Measured")["message"]
    assert message.endswith(f"the time ran out.{advice}")


def test_a_lower_bound_that_the_engine_sets_is_finished() -> None:
    bound = MeasurementEntry.model_validate(unfinished_world().status["measurements"][0])
    assert unfinished(bound)
    assert not unfinished(bound.model_copy(update={"flags": [], "curve": list(CURVE[:2])}))
