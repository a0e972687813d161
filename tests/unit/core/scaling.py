"""Worlds that are scaled: what the law decides about fleets of a known law, shown by the resource."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

from tacho_contract.failure import FailureClass
from tacho_operator.api.conditions import ConditionType, Reason
from tacho_operator.core.autoscaling.algorithm.capacity import UNATTAINABLE
from tacho_operator.core.autoscaling.algorithm.types import SCALE_DOWN, SCALE_UP, Bounds, Pace, Policy
from tacho_operator.core.autoscaling.status_view import Recommendation, failed, scaled as shown
from tacho_operator.core.types import ChildRefusal, Scaled
from tests.unit.autoscaling.fleet import CAPACITY, POLICY, Fleet
from tools.harness.world import AUTOSCALING, MOCK_SPEC, World, changed

_C, _R = ConditionType, Reason
Met = tuple[ConditionType, str, Reason | FailureClass]


def told(
    fleet: Fleet,
    problems: tuple[str, ...] = (),
    previous: Scaled | None = None,
    recommendation: Recommendation | None = None,
) -> Scaled:
    """The fleet's last decision."""
    return shown(
        fleet.decisions[-1],
        fleet.state,
        bounds=fleet.policy.bounds,
        problems=problems,
        victims=(),
        previous=previous,
        recommendation=recommendation,
    )


def idle(replicas: int = 1, seconds: float = 400, policy: Policy = POLICY) -> Fleet:
    fleet = Fleet(policy, replicas=replicas)
    fleet.run(lambda _: 0.1, seconds)
    return fleet


def settled() -> Scaled:
    return told(idle())


def rising(policy: Policy = POLICY) -> Scaled:
    fleet = Fleet(policy)
    fleet.run(lambda _: 1.0, 60)
    fleet.run(lambda _: 8.0, 10)
    return told(fleet)


def more_than_paced() -> Scaled:
    slow = dataclasses.replace(SCALE_UP, paces=(Pace(kind="Pods", value=1, period_seconds=60),))
    return rising(Policy(bounds=Bounds(least=1, most=9), up=slow))


def asked_not_long_enough() -> Scaled:
    fleet = Fleet(
        Policy(bounds=Bounds(least=1, most=9), up=dataclasses.replace(SCALE_UP, window_seconds=300))
    )
    fleet.run(lambda _: 1.0, 60)
    fleet.run(lambda _: 1.9, 100)
    return told(fleet)


def unverified() -> Scaled:
    fleet = Fleet(
        capacity=dataclasses.replace(CAPACITY, unverified="there is no current measurement of the capacity")
    )
    fleet.run(lambda _: 0.1, 20)
    return told(fleet)


def unattainable() -> Scaled:
    capacity = dataclasses.replace(CAPACITY, unverified=UNATTAINABLE, unattainable=True)
    fleet = Fleet(capacity=capacity)
    fleet.look(())
    return told(fleet)


def recommending() -> Scaled:
    fleet = idle()
    advised = dataclasses.replace(fleet.decisions[-1], replicas=2)
    fleet.decisions.append(advised)
    return told(fleet, recommendation=Recommendation(time_seconds=fleet.now, before=1, made=()))


def silent() -> Scaled:
    fleet = Fleet()
    fleet.replicas[0].silent = True
    fleet.run(lambda _: 0.1, 20)
    return told(fleet)


def defective() -> Scaled:
    return failed(ZeroDivisionError(), 1, settled(), None)


def too_few() -> Scaled:
    fleet = Fleet(Policy(bounds=Bounds(least=3, most=9)))
    fleet.run(lambda _: 0.1, 10)
    return told(fleet)


def too_many() -> Scaled:
    return rising(Policy(bounds=Bounds(least=1, most=1)))


def fewer_than_paced() -> Scaled:
    slow = dataclasses.replace(SCALE_DOWN, paces=(Pace(kind="Pods", value=1, period_seconds=300),))
    return told(idle(5, 310, Policy(bounds=Bounds(least=1, most=9), down=slow)))


def unreadable() -> Scaled:
    return told(idle(), ("spec.autoscaling.schedules[0] is invalid: Bad hour.",))


SCALED: dict[Callable[[], Scaled], tuple[Met, ...]] = {
    settled: ((_C.SCALING_ACTIVE, "True", _R.VALID_METRIC_FOUND),),
    unattainable: ((_C.SCALING_ACTIVE, "False", _R.SLO_UNATTAINABLE),),
    recommending: ((_C.SCALING_ACTIVE, "False", _R.RECOMMEND_ONLY),),
    unverified: ((_C.SCALING_ACTIVE, "True", _R.CAPACITY_UNVERIFIED),),
    silent: ((_C.SCALING_ACTIVE, "False", _R.FAILED_GET_PODS_METRIC),),
    defective: ((_C.SCALING_ACTIVE, "False", FailureClass.INTERNAL_ERROR),),
    too_many: ((_C.SCALING_ACTIVE, "True", _R.TOO_MANY_REPLICAS),),
    unreadable: ((_C.SCALING_ACTIVE, "True", _R.INVALID_SCHEDULE),),
}
"""For each look the conditions that it is to bring."""


def scaled(look: Callable[[], Scaled]) -> World:
    """A resource that serves, and of which the scaler says that."""
    world = World(changed(MOCK_SPEC, autoscaling=AUTOSCALING))
    world.come_up()
    world.scaling = look()
    world.reconcile(1)
    return world


def refused() -> World:
    """A change of the Deployment that the API server refuses."""
    world = scaled(settled)
    (deployment,) = (item for (kind, _), item in world.objects.items() if kind == "Deployment")
    world.refusals = (
        ChildRefusal(kind="Deployment", name=deployment["metadata"]["name"], message="admission says no"),
    )
    world.reconcile(1)
    return world


def written_by_another() -> World:
    """Somebody sets spec.replicas of a resource that the scaler scales."""
    world = scaled(settled)
    world.change(replicas=3)
    world.replicas_written = world.now
    world.reconcile(1)
    return world
