"""The order of effects: what is recorded comes before what stands on it."""

from __future__ import annotations

import asyncio
import copy
from typing import Any, cast

import pytest

from tacho_contract.units import format_time
from tacho_operator.api.crd.schema import resource_schema
from tacho_operator.core.names import MEASURE_AGAIN_ANNOTATION, ROLE_LABEL, ROLE_PROBE
from tacho_operator.core.types import ReconcileDecision, ResourceEvent
from tacho_operator.shell import reconcile as module
from tacho_operator.shell.api_errors import ApiError, Conflict, Forbidden, Invalid, Missing
from tacho_operator.shell.events import event_manifests, post_events
from tacho_operator.shell.kube import KINDS, Kube
from tacho_operator.shell.probe_turns import ProbeTurns
from tacho_operator.shell.store import expectations
from tacho_operator.shell.store.expectations import UnseenWrites
from tacho_operator.shell.store.store import Store
from tacho_operator.shell.workqueue import Key
from tests.unit.core.measured_world import measured_world
from tests.wiring.reconciling import (
    KEY,
    PlansAtOnce,
    Server,
    reconciler,
    store_at,
)
from tools.harness.resources import NOW, facts
from tools.harness.world import MOCK_SPEC, World, changed


async def test_no_pods_are_made_of_a_revision_that_could_not_be_recorded() -> None:
    """It would be planned anew at every turn, and by the next version of the operator differently."""
    world = World(resourceVersion="1")
    world.reconcile()
    world.inspected(facts())
    server = Server(world)
    server.refuses = False
    server.forbids = "ControllerRevision"
    await reconciler(server)(KEY)
    assert "Service" in server.created
    assert "Deployment" not in server.created
    server.forbids = ""
    await reconciler(server)(KEY)
    assert "Deployment" in server.created


async def test_no_event_tells_of_a_status_that_could_not_be_written() -> None:
    """It would be told again at every try."""
    world = World(resourceVersion="1")
    world.claims = {"models": None}
    server = Server(world)
    reconcile = reconciler(server)
    for _ in range(3):
        with pytest.raises(ApiError):
            await reconcile(KEY)
    assert "Event" not in server.created
    server.refuses = False
    await reconcile(KEY)
    assert server.created.count("Event") == 1


@pytest.mark.parametrize(
    "error", [Invalid(500, "etcdserver: request is too large"), Forbidden(403, "policy p denied request")]
)
async def test_a_status_that_the_api_server_refuses_is_told_by_one_event_a_version(error: ApiError) -> None:
    world = World(resourceVersion="1")
    world.claims = {"models": None}
    server = Server(world)
    server.status_error = error
    reconcile = reconciler(server)
    for version, told in (("1", 1), ("2", 2)):
        world.raw["metadata"]["resourceVersion"] = version
        for _ in range(3):
            with pytest.raises(type(error)):
                await reconcile(KEY)
        assert server.created.count("Event") == told


async def test_a_definition_without_status_is_no_deletion() -> None:
    world = World(resourceVersion="1")
    world.claims = {"models": None}
    server = Server(world)
    server.status_error = Missing(404, "the server could not find the requested resource")
    reconcile = reconciler(server)
    with pytest.raises(ApiError, match="status subresource"):
        await reconcile(KEY)
    server.owner_deleted = True
    await reconcile(KEY)


async def test_a_resource_first_says_what_becomes_of_it() -> None:
    """Of thousands applied at once none waits for the pods of the others before it."""
    world = World(resourceVersion="1")
    world.raw["status"] = copy.deepcopy(resource_schema(())["properties"]["status"]["default"])
    server = Server(world)
    server.refuses = False
    reconcile = reconciler(server)
    await reconcile(KEY)
    assert (server.applied, server.created) == (["LLMDeployment"], [])
    world.raw["status"] = server.status
    await reconcile(KEY)
    assert (server.applied, server.created) == (["LLMDeployment"], ["Pod"]), "nothing is said twice"


async def test_a_turn_waits_until_its_own_writes_are_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else it would make again what is on its way, or undo it."""
    monkeypatch.setattr(expectations, "SEEN_SECONDS", 0.05)
    server, store = Server(World(resourceVersion="1")), store_at("6")
    server.refuses = False
    reconcile = reconciler(server, store)
    await reconcile(KEY)
    for _ in range(2):
        with pytest.raises(UnseenWrites):
            await reconcile(KEY)
    assert server.observed == 1
    for kind in KINDS:
        store.at(kind, "", "7")
    await reconcile(KEY)
    assert server.observed == 2


async def test_where_many_wait_for_their_writes_the_others_wait_shorter(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A watch that delivered nothing held each worker for ten seconds, and no metric said so."""
    waited: list[float] = []

    async def unseen(_store: Store, _expected: object, seconds: float) -> bool:
        waited.append(seconds)
        await asyncio.sleep(0)
        return False

    monkeypatch.setattr(expectations, "seen", unseen)
    reconcile = reconciler(Server(World(resourceVersion="1")))
    keys = [Key("ml", str(number)) for number in range(expectations.MOST_WAITING + 2)]
    done = await asyncio.gather(*map(reconcile, keys), return_exceptions=True)
    assert {type(found) for found in done} == {UnseenWrites}
    assert waited == [10.0] * expectations.MOST_WAITING + [1.0] * 2
    assert reconcile._metrics.unseen_writes._value.get() == len(keys)
    assert reconcile._own_writes._waiting == 0


async def test_a_turn_goes_on_as_soon_as_its_writes_are_seen() -> None:
    server, store = Server(World(resourceVersion="1")), store_at("6")
    server.refuses = False
    reconcile = reconciler(server, store)
    await reconcile(KEY)
    second = asyncio.create_task(reconcile(KEY))
    await asyncio.sleep(0.01)
    assert server.observed == 1
    for kind in KINDS:
        store.at(kind, "", "7")
    async with asyncio.timeout(5):
        await second
    assert server.observed == 2


async def test_a_probe_pod_stays_until_status_has_what_it_measured() -> None:
    """Else a write of status that failed lost the measurement, and a user's request counted as answered."""
    world = measured_world()
    world.raw["metadata"] |= {"resourceVersion": "1", "annotations": {MEASURE_AGAIN_ANNOTATION: "now"}}
    world.settle()
    (probe,) = world.pods("probe")
    world.serves(probe)
    server = Server(world)
    with pytest.raises(ApiError):
        await reconciler(server)(KEY)
    assert server.deleted == []
    server.refuses = False
    await reconciler(server)(KEY)
    assert server.deleted == [probe["metadata"]["name"]]
    assert server.status["measurements"][0]["observedTime"] == format_time(world.now)


async def test_while_the_store_is_interrupted_nothing_is_deleted() -> None:
    world = World(resourceVersion="1")
    world.reconcile()
    world.inspected(facts())
    (left,) = ((place, item) for place, item in world.objects.items() if place[0] == "Pod")
    world.reconcile()
    world.objects[left[0]] = left[1]  # an inspect pod that has had its time
    server, store = Server(world), store_at("7")
    server.refuses = False
    store.lost("Pod", "", "Pod: reconnecting")
    assert await reconciler(server, store)(KEY) == module.STALE_RETRY_SECONDS
    assert server.deleted == []
    store.runs("Pod", "")
    await reconciler(server, store)(KEY)
    assert server.deleted, "nothing was to be deleted: nothing is proved"


@pytest.mark.parametrize("deleted", [True, False])
async def test_vanished_children_are_made_anew_only_where_their_owner_is_still_there(deleted: bool) -> None:
    """They may have gone with it: the store is told of a deletion by another stream."""
    world = World(resourceVersion="1")
    world.reconcile()
    world.inspected(facts())
    server, store = Server(world), store_at("7")
    server.refuses = False
    store.put("LLMDeployment", world.raw)
    reconcile = reconciler(server, store)
    await reconcile(KEY)
    assert "Service" in server.created
    assert server.gets == 0, "what is made for the first time needs no look at its owner"
    server.created.clear()
    server.owner_deleted = deleted
    await reconcile(KEY)
    assert server.gets == 1
    assert ("Service" in server.created) is not deleted
    assert (store.resource(KEY) is None) is deleted


@pytest.mark.parametrize(
    ("kind", "absent"),
    [("Service", ("Service",)), ("ControllerRevision", ("ControllerRevision", "Deployment"))],
)
async def test_a_refused_child_has_not_vanished_at_the_next_reconcile(
    kind: str, absent: tuple[str, ...]
) -> None:
    """Else every reconcile would read its owner. Without a revision, its Deployment is not made either."""
    world = World(resourceVersion="1")
    world.reconcile()
    world.inspected(facts())
    server = Server(world)
    server.refuses, server.forbids = False, kind
    reconcile = reconciler(server)
    for _ in range(3):
        await reconcile(KEY)
        world.reconcile()  # the other children exist
        for place in [place for place in world.objects if place[0] in absent]:
            del world.objects[place]
    assert server.gets == 0


async def test_an_event_hides_no_character() -> None:
    posted: list[dict[str, Any]] = []

    class Posting:
        async def create(self, manifest: dict[str, Any]) -> None:
            posted.append(manifest)

    event = ResourceEvent(type="Warning", reason="Failed", message="a\n\x1b[31m\x9b\u202e\u200b")
    await post_events(cast(Kube, Posting()), event_manifests(World(resourceVersion="1").raw, (event,), NOW))
    assert posted[0]["message"] == "a \ufffd[31m\ufffd\ufffd\ufffd"
    long = ResourceEvent(type="Warning", reason="Failed", message="a" + "\x00" * 600)
    await post_events(cast(Kube, Posting()), event_manifests(World(resourceVersion="1").raw, (long,), NOW))
    assert posted[1]["message"] == "a" + "\ufffd" * 341, "1,024 bytes"


async def test_the_gpus_of_pods_are_counted_while_the_resource_is_there() -> None:
    world = World(changed(MOCK_SPEC, gpu={"count": 2}), resourceVersion="1")
    world.come_up()
    (pod,) = world.pods("server")
    pod["spec"]["nodeName"] = "n"
    server = Server(world)
    server.refuses = False
    reconcile = reconciler(server)
    metrics, labels = reconcile._metrics, {"namespace": "ml", "gpu": "", "use": "serving"}

    def counted() -> float | None:
        metrics.gpu_time.add(lambda _: {})
        return metrics.registry.get_sample_value("tacho_namespace_gpu_seconds_total", labels)

    assert counted() is None
    await reconcile(KEY)
    assert counted() is not None
    server.gone = True
    await reconcile(KEY)
    assert counted() is None


async def test_a_repeated_event_is_counted_and_not_made_anew() -> None:
    stored: dict[str, dict[str, Any]] = {}

    class Events:
        async def create(self, manifest: dict[str, Any]) -> None:
            if manifest["metadata"]["name"] in stored:
                raise Conflict(409, "already exists")
            stored[manifest["metadata"]["name"]] = manifest

        async def merge(self, target: dict[str, Any], body: dict[str, Any]) -> dict[str, Any]:
            stored[target["metadata"]["name"]] |= body
            return stored[target["metadata"]["name"]]

    raw = World(resourceVersion="1").raw
    for size in (2, 3, 4):
        rescaled = ResourceEvent(type="Normal", reason="SuccessfulRescale", message=f"New size: {size}")
        warnings = (ResourceEvent(type="Warning", reason="PlanWarning", message=text) for text in "ab")
        await post_events(cast(Kube, Events()), event_manifests(raw, (rescaled, *warnings), NOW))
    found = [(item["message"], item["count"], item["series"]["count"]) for item in stored.values()]
    assert found == [("New size: 4", 3, 3), ("a", 3, 3), ("b", 3, 3)]
    again = {**raw, "metadata": {**raw["metadata"], "uid": "another"}}
    await post_events(cast(Kube, Events()), event_manifests(again, (rescaled,), NOW))
    assert len(stored) == 4, "a resource made anew begins its own series"


async def test_an_event_that_is_refused_holds_up_no_other() -> None:
    posted: list[str] = []

    class Events:
        async def create(self, manifest: dict[str, Any]) -> None:
            if manifest["reason"] == "First":
                raise Forbidden(403, "the namespace is being terminated")
            posted.append(manifest["reason"])

    events = [ResourceEvent(type="Normal", reason=reason, message="") for reason in ("First", "Second")]
    await post_events(cast(Kube, Events()), event_manifests(World(resourceVersion="1").raw, events, NOW))
    assert posted == ["Second"]


async def test_a_resource_whose_plan_is_being_made_says_so_and_waits_for_it() -> None:
    world = World(resourceVersion="1")
    world.reconcile()
    world.inspected(facts())
    server, plans = Server(world), PlansAtOnce()
    server.refuses, plans.slow = False, True
    reconcile = reconciler(server, plans=plans)
    await reconcile(KEY)
    planned = next(item for item in server.status["conditions"] if item["type"] == "Planned")
    assert (planned["status"], planned["reason"]) == ("Unknown", "Inspecting")
    assert "its plan is being made" in planned["message"]
    assert "ControllerRevision" not in server.created
    plans.slow = False
    await reconcile(KEY)
    assert "ControllerRevision" in server.created


async def test_each_decision_is_timed(monkeypatch: Any, caplog: Any) -> None:
    monkeypatch.setattr(module, "SLOW_DECISION_SECONDS", -1.0)
    server = Server(World(resourceVersion="1"))
    server.refuses = False
    reconcile = reconciler(server)
    await reconcile(KEY)
    registry = reconcile._metrics.registry
    assert registry.get_sample_value("tacho_operator_decision_duration_seconds_count") == 1
    assert "ml/smol: the decision took" in caplog.text


async def test_a_probe_pod_waits_until_another_resource_has_none() -> None:
    """A refused one gives its turn back."""
    world = World(resourceVersion="1")
    world.come_up()
    world.change(workload={"inputTokens": 900, "outputTokens": 10})
    server = Server(world)
    server.refuses = False
    turns = ProbeTurns(1, Store(lambda _: None), call=lambda key: None)
    reconcile = reconciler(server, turns=turns)
    other, observed = Key("ml", "other"), world.observed()
    probe = {"kind": "Pod", "metadata": {"labels": {ROLE_LABEL: ROLE_PROBE}}}
    begins = ReconcileDecision(apply=(probe,), status=None, now=NOW, reason="")
    turns.follow(other, observed, begins)
    await reconcile(KEY)
    assert "Pod" not in server.created
    assert "waits for its turn" in str(server.status["conditions"])
    turns.forget(other)
    server.forbids = "Pod"
    await reconcile(KEY)
    assert "Pod" not in server.created
    assert turns.observed(other, observed).probe_turn, "quota refused the probe pod"
    server.forbids = ""
    await reconcile(KEY)
    assert "Pod" in server.created
    assert not turns.observed(other, observed).probe_turn
