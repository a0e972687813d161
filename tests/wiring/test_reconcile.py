"""The order of effects: what is recorded comes before what stands on it."""

from __future__ import annotations

import asyncio
import copy
from typing import Any, cast

import pytest
from prometheus_client import CollectorRegistry

from tacho_operator.api.crd.definition import resource_schema
from tacho_operator.core.names import ROLE_LABEL, ROLE_PROBE
from tacho_operator.core.planner.plan import plan_of
from tacho_operator.core.planner.types import PlanResult
from tacho_operator.core.types import Observed, PlanInputs, ReconcileDecision, ResourceEvent
from tacho_operator.shell import reconcile as module
from tacho_operator.shell.api_errors import ApiError, Forbidden, Invalid
from tacho_operator.shell.execute import post_events
from tacho_operator.shell.kube import KINDS, Kube
from tacho_operator.shell.metrics import Metrics
from tacho_operator.shell.observe import Observer
from tacho_operator.shell.plans import Plans
from tacho_operator.shell.probe_turns import ProbeTurns
from tacho_operator.shell.reconcile import Reconciler
from tacho_operator.shell.scaler import Scaler
from tacho_operator.shell.store.store import Store
from tacho_operator.shell.workqueue import Key
from tools.harness.resources import CONFIG, NOW, facts
from tools.harness.world import World

KEY = Key("ml", "smol")


class Server:
    """Takes everything but the status, while it is told to refuse it."""

    def __init__(self, world: World) -> None:
        self._world = world
        self.created: list[str] = []
        self.applied: list[str] = []
        self.status: dict[str, Any] = {}
        self.refuses = True
        self.forbids = ""
        self.error: ApiError = Forbidden(403, "exceeded quota: q")
        self.tried: list[str] = []
        self.refuses_trial_of = ""
        self.live: list[bool] = []
        """Of each turn: whether it was read live."""
        self.deleted: list[str] = []
        self.fails = False
        """Whether it can be read."""
        self.gets = 0
        self.owner_deleted = False

    async def get(self, kind: str, namespace: str, name: str) -> dict[str, Any] | None:
        assert kind == "LLMDeployment"
        self.gets += 1
        return None if self.owner_deleted else self._world.raw

    async def observe(self, key: Key, *, live: bool = False) -> Observed:
        self.live.append(live)
        if self.fails:
            raise ApiError(0, "no answer")
        return self._world.observed()

    async def create(self, manifest: dict[str, Any]) -> dict[str, Any]:
        if manifest["kind"] == self.forbids:
            raise self.error
        self.created.append(manifest["kind"])
        return written(manifest)

    async def try_create(self, manifest: dict[str, Any]) -> None:
        self.tried.append(manifest["kind"])
        if manifest["kind"] == self.refuses_trial_of:
            raise self.error

    async def delete(self, kind: str, namespace: str, name: str, *, uid: str) -> None:
        assert kind == "Pod", "nothing but the inspect pod has had its time"
        self.deleted.append(name)

    async def apply(
        self, manifest: dict[str, Any], *, uid: str, subresource: str = "", manager: str = ""
    ) -> dict[str, Any]:
        assert uid
        if subresource == "status" and self.refuses:
            raise ApiError(422, "status.x: Invalid value")
        self.applied.append(manifest["kind"])
        self.status = manifest.get("status", self.status)
        return written(manifest)


def written(manifest: dict[str, Any]) -> dict[str, Any]:
    """As the API server answers."""
    return {**manifest, "metadata": {"uid": "u", **manifest["metadata"], "resourceVersion": "7"}}


def store_at(version: str) -> Store:
    """Whose streams have all brought that version."""
    store = Store(lambda change: None)
    for kind in KINDS:
        store.at(kind, "", version)
    return store


class Unscaled:
    """Nothing is scaled by tacho."""

    def observed(self, key: Key, observed: Observed) -> Observed:
        return observed

    def follow(self, key: Key, observed: Observed, status: object) -> None: ...

    def forget(self, key: Key) -> None: ...


class PlansAtOnce:
    """Every plan is there; or none is, while it is ``slow``."""

    slow = False

    def answer(self, key: Key, inputs: PlanInputs) -> PlanResult | None:
        return None if self.slow else plan_of(inputs)

    def forget(self, key: Key) -> None: ...


def reconciler(
    server: Server,
    store: Store | None = None,
    plans: PlansAtOnce | None = None,
    turns: ProbeTurns | None = None,
) -> Reconciler:
    return Reconciler(
        kube=cast(Kube, server),
        observer=cast(Observer, server),
        store=store or store_at("7"),
        config=CONFIG,
        metrics=Metrics(CollectorRegistry()),
        clock=lambda: NOW,
        scaler=cast(Scaler, Unscaled()),
        plans=cast(Plans, plans or PlansAtOnce()),
        probe_turns=turns or ProbeTurns(8, Store(lambda _: None), call=lambda key: None),
    )


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
    """Else it would make again what is on its way, or undo it; past the deadline it reads live."""
    monkeypatch.setattr(module, "SEEN_SECONDS", 0.05)
    server, store = Server(World(resourceVersion="1")), store_at("6")
    server.refuses = False
    reconcile = reconciler(server, store)
    await reconcile(KEY)
    await reconcile(KEY)
    assert server.live == [False, True]
    for kind in KINDS:
        store.at(kind, "", "7")
    await reconcile(KEY)
    assert server.live == [False, True, False]


async def test_a_live_turn_that_writes_nothing_or_fails_makes_the_store_no_newer(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Else the turn after it would decide from the store as it was before the writes, and undo them."""
    monkeypatch.setattr(module, "SEEN_SECONDS", 0.05)
    world = World(resourceVersion="1")
    server, store = Server(world), store_at("6")
    server.refuses = False
    reconcile = reconciler(server, store)
    await reconcile(KEY)
    world.reconcile()
    world.reconcile()
    server.created.clear()
    server.fails = True
    with pytest.raises(ApiError):
        await reconcile(KEY)
    server.fails = False
    for _ in range(3):
        await reconcile(KEY)
    assert server.created == [], "it is settled: nothing is proved otherwise"
    assert server.live == [False, True, True, True, True]
    for kind in KINDS:
        store.at(kind, "", "7")
    await reconcile(KEY)
    assert server.live[-1] is False


async def test_a_turn_goes_on_as_soon_as_its_writes_are_seen() -> None:
    server, store = Server(World(resourceVersion="1")), store_at("6")
    server.refuses = False
    reconcile = reconciler(server, store)
    await reconcile(KEY)
    second = asyncio.create_task(reconcile(KEY))
    await asyncio.sleep(0.01)
    assert server.live == [False]
    for kind in KINDS:
        store.at(kind, "", "7")
    async with asyncio.timeout(5):
        await second
    assert server.live == [False, False]


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
    await post_events(cast(Kube, Posting()), World(resourceVersion="1").raw, (event,), NOW)
    assert posted[0]["message"] == "a \ufffd[31m\ufffd\ufffd\ufffd"


def inspected_world() -> World:
    world = World(resourceVersion="1")
    world.reconcile()
    world.inspected(facts())
    return world


def conditions(server: Server) -> dict[str, tuple[str, str, str]]:
    found = server.status["conditions"]
    return {item["type"]: (item["status"], item["reason"], item["message"]) for item in found}


@pytest.mark.parametrize(
    "kind", ["ConfigMap", "ControllerRevision", "NetworkPolicy", "Service", "Deployment"]
)
async def test_a_child_that_is_refused_reaches_the_status_at_once_and_holds_up_no_other(kind: str) -> None:
    server = Server(inspected_world())
    server.refuses, server.forbids = False, kind
    server.error = Invalid(422, f'{kind} "x" is invalid: spec.a: Invalid value')
    delay = await reconciler(server)(KEY)
    assert delay is not None, "no event tells that a policy was changed"
    assert delay <= module.REFUSED_RETRY_SECONDS
    assert conditions(server)["Stalled"][:2] == ("True", "InvalidConfig")
    assert "spec.a" in conditions(server)["Stalled"][2]
    assert conditions(server)["Reconciling"][:2] == ("False", "Failed")
    assert server.created[-1] != "NetworkPolicy", "the children after it are made"


async def test_silence_is_told_after_three_tries_and_never_takes_ready_away() -> None:
    world = World(resourceVersion="1")
    world.come_up()
    world.reconcile()
    del world.objects["Service", "smol"]
    server = Server(world)
    server.refuses, server.forbids = False, "Service"
    server.error = ApiError(503, "overloaded", retry_after_seconds=7.0)
    reconcile = reconciler(server)
    for attempt in range(1, 5):
        with pytest.raises(ApiError) as raised:
            await reconcile(KEY)
        assert raised.value.retry_after_seconds == 7.0, "the queue waits for as long as was asked"
        told = bool(server.status) and conditions(server)["Reconciling"][1] == "Retrying"
        assert told is (attempt >= module.UNANSWERED_TRIES)
    assert conditions(server)["Ready"][0] == "True"
    assert "overloaded" in conditions(server)["Reconciling"][2]
    server.forbids, world.raw["status"] = "", server.status
    await reconcile(KEY)
    assert conditions(server)["Reconciling"][1] != "Retrying"


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
