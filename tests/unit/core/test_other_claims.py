"""A changed spec that names another claim: what it bounds, and what it leaves as it is."""

from __future__ import annotations

import dataclasses

from tacho_operator.core.autoscaling.target import target_of
from tests.unit.core.scaling import settled
from tools.harness.resources import changed, facts
from tools.harness.world import AUTOSCALING, MOCK_SPEC, World


def on_claims(mode: str, other: str, replicas: int) -> World:
    """A resource that serves from the claim models, and a second claim."""
    world = World(changed(MOCK_SPEC, replicas=replicas))
    world.claims = {
        name: {"spec": {"accessModes": [it]}} for name, it in (("models", mode), ("other", other))
    }
    world.come_up()
    return world


def move(world: World) -> None:
    """The model is served from the other claim."""
    world.change(model={"uri": "pvc://other/smollm2"})
    world.reconcile(1)
    world.inspected(facts())
    world.reconcile(1)


def test_a_claim_that_fewer_replicas_share_holds_the_new_revision_back_and_not_the_active_one() -> None:
    world = on_claims("ReadWriteMany", "ReadWriteOncePod", 4)
    before = world.sizes()
    move(world)
    assert world.sizes() == before
    assert list(before.values()) == [4]
    assert world.brief("Ready") == ("True", "Serving")
    assert world.brief("RolloutAccepted") == ("False", "CacheNotShareable")
    assert "4 replicas cannot share it, at most 1 can" in world.condition("Stalled")["message"]
    world.change(replicas=1)
    world.settle(world.serve_all)
    assert world.brief("RolloutAccepted") == ("True", "Accepted")
    assert world.sizes().keys() != before.keys()


def test_the_scaler_s_bound_is_that_of_the_claims_that_serve() -> None:
    world = on_claims("ReadWriteMany", "ReadWriteOncePod", 1)
    world.change(autoscaling=AUTOSCALING)
    world.scaling = dataclasses.replace(settled(), replicas=3)
    world.settle(world.serve_all)
    move(world)
    assert target_of(world.observed()).claim is None
    assert list(world.sizes().values()) == [3]


def test_a_claim_of_one_pod_that_the_active_revision_does_not_mount_is_not_in_use() -> None:
    world = on_claims("ReadWriteOncePod", "ReadWriteOncePod", 1)
    before = world.sizes().keys()
    move(world)
    world.settle(world.serve_all)
    assert world.brief("Stalled")[0] == "False"
    assert world.brief("RolloutAccepted") == ("True", "Accepted")
    assert world.sizes().keys() != before


def test_scaled_to_zero_a_claim_of_one_pod_is_free_for_the_new_revision() -> None:
    world = on_claims("ReadWriteOncePod", "ReadWriteOncePod", 1)
    before = world.sizes().keys()
    world.change(replicas=0, context={"maxModelLen": 1024, "concurrency": 2})
    world.settle()
    world.change(replicas=1)
    world.settle(world.serve_all)
    assert world.brief("Ready") == ("True", "Serving")
    assert world.sizes().keys() != before


def test_a_claim_that_no_pod_mounts_bounds_nothing() -> None:
    """Beside a model's own claim, a cache that may not be written is of no use."""
    cache = {"persistentVolumeClaim": {"claimName": "other", "readOnly": True}}
    world = World(changed(MOCK_SPEC, replicas=3, cache=cache))
    modes = {"models": "ReadWriteMany", "other": "ReadWriteOncePod"}
    world.claims = {name: {"spec": {"accessModes": [mode]}} for name, mode in modes.items()}
    world.come_up()
    assert list(world.sizes().values()) == [3]
    assert world.brief("Stalled")[0] == "False"
