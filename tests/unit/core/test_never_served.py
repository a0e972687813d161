"""A revision that has not served yet, as none does that is made at zero replicas: it is not accepted."""

from __future__ import annotations

from tacho_contract.failure import Failure, FailureClass
from tools.harness.resources import changed, facts
from tools.harness.world import MOCK_SPEC, World


def newest(world: World) -> tuple[str, ...]:
    item = world.status["revisions"][0]
    return (item["phase"], item["reason"], item.get("outcome", ""), item["message"])


def test_a_revision_made_at_zero_replicas_is_accepted_once_it_has_served() -> None:
    world = World()
    world.come_up()
    world.change(replicas=0)
    world.settle()
    world.change(context={"maxModelLen": 1024, "concurrency": 2})
    world.settle()
    assert newest(world) == ("Active", "Starting", "", "It has not served yet.")
    assert world.brief("RolloutAccepted") == ("Unknown", "Judging")
    world.change(replicas=1)
    world.reconcile(1)
    world.deployment_controller()
    (pod,) = world.pods("server")
    world.crash(pod, 5)
    world.reconcile(20)
    assert world.brief("Stalled") == ("True", "EngineCrashed")
    assert world.brief("RolloutAccepted") == ("Unknown", "Judging")
    world.serves(pod)
    world.reconcile(1)
    assert newest(world) == ("Active", "Serving", "Accepted", "It serves.")
    assert world.brief("RolloutAccepted") == ("True", "Accepted")
    world.change(replicas=0)
    world.settle()
    assert world.brief("RolloutAccepted") == ("True", "Accepted"), "it has served before"


def test_a_reverted_spec_at_zero_replicas_is_one_that_has_served() -> None:
    world = World()
    world.come_up()
    world.change(replicas=0)
    world.settle()
    before = world.raw["spec"]["context"]
    world.change(context={"maxModelLen": 1024, "concurrency": 2})
    world.settle()
    world.change(context=before)
    world.settle()
    assert world.brief("RolloutAccepted") == ("True", "Accepted")


def test_the_first_revision_at_zero_replicas_is_not_judged() -> None:
    world = World(changed(MOCK_SPEC, replicas=0))
    world.reconcile()
    world.inspected(facts())
    world.settle()
    assert world.brief("Ready") == ("False", "ScaledToZero")
    assert world.brief("RolloutAccepted") == ("absent", "")


def test_a_spec_that_has_no_revision_yet_is_not_accepted() -> None:
    """What serves is of the former spec: who waited for RolloutAccepted was told that the new one does."""
    world = World()
    world.come_up()
    assert world.brief("RolloutAccepted") == ("True", "FirstRevision")
    before = world.raw["spec"]
    world.change(model={**before["model"], "uri": "hf://example/other"})
    world.reconcile(1)
    assert world.brief("Ready") == ("True", "Serving")
    assert world.brief("Planned") == world.brief("RolloutAccepted") == ("Unknown", "Inspecting")
    loader = {"name": "LD_PRELOAD", "value": "x"}
    world.change(model=before["model"], engine={**MOCK_SPEC["engine"], "env": [loader]})
    world.settle()
    assert world.brief("Ready") == ("True", "Serving")
    assert world.brief("Stalled") == ("True", "InvalidConfig")
    assert world.brief("RolloutAccepted") == ("False", "InvalidConfig")
    world.change(engine=MOCK_SPEC["engine"])
    world.settle()
    assert world.brief("RolloutAccepted") == ("True", "FirstRevision")


def test_why_a_changed_spec_has_no_revision_decides_whether_it_is_refused() -> None:
    """A claim or file that is missing needs a user. An inspection that took too long is repeated."""
    world = World()
    world.come_up()
    before = world.raw["spec"]["model"]
    world.claims = {"none": None}
    world.change(model={**before, "uri": "pvc://none/a"})
    world.reconcile(1)
    assert world.brief("RolloutAccepted") == ("False", "CacheNotFound")
    found = {
        FailureClass.MODEL_NOT_FOUND: ("False", "ModelNotFound"),
        FailureClass.INSPECTION_TIMEOUT: ("Unknown", "Inspecting"),
    }
    for number, (failure_class, condition) in enumerate(found.items()):
        world.change(model={**before, "uri": f"hf://example/other-{number}"})
        world.reconcile(1)
        world.inspected(Failure(failure_class=failure_class, message="It was not.", next_step="Look."))
        world.reconcile(1)
        assert world.brief("RolloutAccepted") == condition
        assert "It was not." in world.condition("RolloutAccepted")["message"]
        assert world.brief("Ready") == ("True", "Serving")
