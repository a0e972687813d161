"""autoscaling.mode Recommend: decisions are recorded and not applied, and the mode may change."""

from __future__ import annotations

from typing import Any

from prometheus_client import CollectorRegistry

from tacho_operator.core.names import DELETION_COST_ANNOTATION
from tests.wiring.sampled import KEY, Looking
from tools.harness.world import AUTOSCALING, MOCK_SPEC, World, changed

Status = dict[str, Any]


def looking_at(replicas: int = 1, **autoscaling: str) -> Looking:
    world = World(changed(MOCK_SPEC, replicas=replicas, autoscaling={**AUTOSCALING, **autoscaling}))
    world.come_up()
    found = Looking(world)
    found.reconcile()
    return found


async def busy(looking: Looking, looks: int = 4) -> Status:
    """Far more than one replica carries, and the scaler's status then."""
    for _ in range(looks):
        tokens = 1e3 * (looking.now - 1_000_000.0)
        await looking.look(running=50, waiting=200, generation_tokens_total=tokens)
        looking.reconcile()
    found: Status = looking.world.status["autoscaling"]
    return found


def size(looking: Looking) -> int:
    (found,) = looking.world.sizes().values()
    return int(found)


def marked(looking: Looking) -> list[dict[str, str]]:
    annotations = (pod["metadata"].get("annotations") or {} for pod in looking.world.pods("server"))
    return [item for item in annotations if DELETION_COST_ANNOTATION in item]


async def test_it_says_what_enforce_does_and_leaves_the_replicas() -> None:
    enforcing, recommending = looking_at(), looking_at(mode="Recommend")
    did, said = await busy(enforcing), await busy(recommending)
    assert (size(recommending), marked(recommending)) == (1, [])
    (first,) = said["decisions"]
    assert first.pop("mode") == "Recommend"
    assert first == did["decisions"][-1]
    assert (said["mode"], said["desiredReplicas"], said["reason"]) == (
        "Recommend",
        first["toReplicas"],
        first["reason"],
    )
    assert "mode" not in did
    assert recommending.world.brief("ScalingActive") == ("False", "RecommendOnly")
    told = recommending.world.condition("ScalingActive")["message"]
    assert f"{first['toReplicas']} replicas are recommended, {first['fromReplicas']} are set." in told
    assert recommending.sample("desired_replicas") == first["toReplicas"]
    assert recommending.sample("scaling_decisions_total", direction="up", reason="Work") is None
    reasons = [reason for _, reason in recommending.world.events]
    assert reasons.count("RescaleRecommended") == 1
    assert "SuccessfulRescale" not in reasons


async def test_each_recommendation_is_made_from_the_replicas_that_are_there() -> None:
    looking = looking_at(mode="Recommend")
    first = await busy(looking, 12)
    assert first["reason"].startswith(f"1 -> {first['desiredReplicas']} replicas: ")
    looking.world.change(replicas=2)
    looking.reconcile()
    second = await busy(looking, 7)
    assert second["reason"].startswith(f"2 -> {second['desiredReplicas']} replicas: ")
    assert size(looking) == 2
    assert [(item["fromReplicas"], item["mode"]) for item in second["decisions"]] == [
        (2, "Recommend"),
        (1, "Recommend"),
    ]


async def test_enforce_begins_from_what_is_there_and_not_from_stale_advice() -> None:
    looking = looking_at(mode="Recommend")
    assert (await busy(looking))["desiredReplicas"] > 1
    looking.world.change(autoscaling={**AUTOSCALING, "mode": "Enforce"})
    looking.reconcile()
    assert size(looking) == 1
    assert looking.world.brief("ScalingActive")[0] == "absent", "RecommendOnly is of the other mode"
    after = await busy(looking, 1)
    assert [(item["fromReplicas"], item.get("mode")) for item in after["decisions"]] == [(1, None)]


async def test_no_advice_is_applied_before_the_first_decision_of_the_new_mode() -> None:
    """Whatever else wakes the resource in between."""
    looking = looking_at(mode="Recommend")
    advised = await busy(looking)
    assert advised["desiredReplicas"] > 1
    looking.world.change(autoscaling=AUTOSCALING)
    for _ in range(3):
        looking.reconcile()
        assert looking.world.scaling is None
        assert size(looking) == 1
    known = looking.scaler._watched[KEY]
    assert (known.replicas, known.shown) == (1, None)


async def test_another_process_that_enforces_ignores_the_advice_in_status() -> None:
    looking = looking_at(mode="Recommend")
    assert (await busy(looking))["desiredReplicas"] > 1
    looking.world.change(autoscaling=AUTOSCALING)
    looking.registry = CollectorRegistry()
    looking.scaler = looking.start()
    looking.reconcile()
    assert size(looking) == 1
    await looking.look(running=0, waiting=0, generation_tokens_total=1e6)
    looking.reconcile()
    after = looking.world.status["autoscaling"]
    assert (size(looking), after["desiredReplicas"]) == (1, 1)
    assert "mode" not in after
    assert "decisions" not in after


async def test_advice_is_no_size_to_begin_with_where_the_deployment_is_not_there_yet() -> None:
    looking = looking_at(mode="Recommend")
    await busy(looking)
    looking.world.objects = {
        key: item for key, item in looking.world.objects.items() if key[0] != "Deployment"
    }
    looking.world.change(autoscaling=AUTOSCALING)
    looking.registry = CollectorRegistry()
    looking.scaler = looking.start()
    looking.reconcile()
    assert size(looking) == 1


async def test_recommend_leaves_the_replicas_to_spec_and_keeps_the_changes() -> None:
    looking = looking_at()
    made = (await busy(looking))["decisions"]
    assert size(looking) > 1
    looking.world.change(replicas=3, autoscaling={**AUTOSCALING, "mode": "Recommend"})
    looking.reconcile()
    assert size(looking) == 3
    events = len(looking.world.events)
    after = await busy(looking, 2)
    assert (size(looking), after["mode"], after["decisions"][0]["mode"]) == (3, "Recommend", "Recommend")
    assert [item for item in after["decisions"] if "mode" not in item] == made
    for _ in range(8):
        await looking.look(running=0, waiting=0, generation_tokens_total=1e6)
    looking.world.change(autoscaling=AUTOSCALING)
    looking.reconcile()
    await looking.look(running=0, waiting=0, generation_tokens_total=1e6)
    looking.reconcile()
    assert (size(looking), looking.world.status["autoscaling"]["decisions"]) == (3, made)
    assert "SuccessfulRescale" not in [reason for _, reason in looking.world.events[events:]]


def test_fewer_are_requested_by_spec_and_not_by_the_scaler() -> None:
    looking = looking_at(2, mode="Recommend")
    looking.world.change(replicas=1)
    looking.reconcile()
    assert looking.world.condition("Reconciling")["message"] == "spec.replicas is 1; 2 pods exist."
