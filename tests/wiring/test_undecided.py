"""A resource without a decision: told as such, Ready by its pods, and no other resource waits for it."""

from __future__ import annotations

from typing import Any

import pytest

from tacho_operator.core.names import server_selector
from tacho_operator.core.types import Config, Observed
from tacho_operator.shell import reconcile as module
from tacho_operator.shell.api_errors import Forbidden
from tacho_operator.shell.observe import UndecidedResource
from tacho_operator.shell.workqueue import Key
from tests.wiring.reconciling import KEY, Server, conditions, reconciler
from tests.wiring.test_observe import held, observe, owned_by
from tools.harness.resources import NOW, facts
from tools.harness.world import World

SERIES = "tacho_operator_undecided_total"


@pytest.fixture
def world() -> World:
    found = World(resourceVersion="1")
    found.come_up()
    return found


@pytest.fixture
def defect(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """Decisions fail until the list is emptied."""
    left: list[object] = [None]
    decide = module.decide

    def broken(observed: Observed, config: Config, now: Any) -> Any:
        if left:
            raise ZeroDivisionError("division by\x1b[2J zero" + "!" * 9000)
        return decide(observed, config, now)

    monkeypatch.setattr(module, "decide", broken)
    return left


async def test_a_defect_is_a_condition_of_that_resource_alone(world: World, defect: list[object]) -> None:
    server = Server(world)
    server.refuses = False
    reconcile = reconciler(server)
    before = world.condition("Measured")
    with pytest.raises(UndecidedResource, match="division by"):
        await reconcile(KEY)
    found = conditions(server)
    assert found["Ready"][:2] == ("True", "Serving")
    assert found["Stalled"][:2] == ("True", "InternalError")
    assert found["Reconciling"][:2] == ("False", "Failed")
    assert "ZeroDivisionError: division by" in found["Stalled"][2]
    assert "report the error" in found["Stalled"][2]
    assert found["Stalled"][2].isprintable()
    assert len(found["Stalled"][2]) <= 1024
    assert before in server.status["conditions"], "what is known stays"
    assert [kind for kind in server.applied if kind != "LLMDeployment"] == [], "children stay as they are"
    assert server.created == ["Event"]
    assert reconcile._metrics.registry.get_sample_value(SERIES, {"reason": "InternalError"}) == 1
    world.raw["status"] = server.status
    world.crash(world.pods("server")[0])
    world.pods("server")[0]["status"]["conditions"] = []
    with pytest.raises(UndecidedResource):
        await reconcile(KEY)
    assert conditions(server)["Ready"][:2] == ("False", "InternalError")
    assert server.created == ["Event"], "it is told once"
    world.raw["status"] = server.status
    defect.clear()
    await reconcile(KEY)
    assert conditions(server)["Stalled"][1] != "InternalError"


async def test_a_defect_in_the_answer_to_a_refusal_is_told_too(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(resourceVersion="1")
    world.reconcile()
    world.inspected(facts())
    server, decide = Server(world), module.decide
    server.refuses, server.forbids = False, "Service"

    def broken(observed: Observed, config: Config, now: Any) -> Any:
        return decide(observed, config, now) if not observed.refusals else {}[0]

    monkeypatch.setattr(module, "decide", broken)
    with pytest.raises(UndecidedResource):
        await reconciler(server)(KEY)
    assert conditions(server)["Stalled"][:2] == ("True", "InternalError")


async def test_a_spec_that_cannot_be_read_is_its_own_condition() -> None:
    store, live, raw = held()
    raw["spec"]["replicas"] = "many"
    store.put("LLMDeployment", raw)
    uid = raw["metadata"]["uid"]
    store.put("Deployment", owned_by(uid, "smol-1", spec={"replicas": 2}))
    store.put("ReplicaSet", owned_by("uid-smol-1", "smol-1-a"))
    ports = [{"port": 8000, "targetPort": "http"}]
    store.put("Service", owned_by(uid, "smol", spec={"selector": server_selector("smol"), "ports": ports}))
    pod = owned_by("uid-smol-1-a", "smol-1-a-x")
    pod["metadata"]["labels"]["tacho.dev/role"] = "server"
    ready = {"type": "Ready", "status": "True"}
    pod["status"] = {"phase": "Running", "podIP": "10.0.0.1", "conditions": [ready]}
    store.put("Pod", pod)
    with pytest.raises(UndecidedResource) as raised:
        await observe(store, live)
    assert raised.value.problem.reason == "UnreadableSpec"

    class Unreadable(Server):
        async def observe(self, key: Key) -> Observed:
            raise raised.value

    server = Unreadable(World(resourceVersion="1"))
    server.refuses = False
    with pytest.raises(UndecidedResource):
        await reconciler(server)(KEY)
    found = conditions(server)
    assert found["Stalled"][:2] == ("True", "UnreadableSpec")
    assert "spec.replicas" in found["Stalled"][2]
    assert "Apply a valid spec" in found["Stalled"][2]
    assert found["Ready"] == ("True", "PartlyServing", "1 of 2 replicas serve.")
    assert server.status["conditions"][0]["lastTransitionTime"] == NOW.strftime("%Y-%m-%dT%H:%M:%SZ")


@pytest.mark.parametrize("is_decided", [False, True])
async def test_metrics_follow_the_pods_where_each_status_is_refused(
    world: World, defect: list[object], is_decided: bool
) -> None:
    server = Server(world)
    server.refuses = False
    reconcile = reconciler(server)
    ready = {"namespace": KEY.namespace, "name": KEY.name, "type": "Ready"}

    def shown(status: str, reason: str) -> float | None:
        labels = {**ready, "status": status, "reason": reason}
        return reconcile._metrics.registry.get_sample_value("tacho_llmdeployment_condition", labels)

    cause = defect.pop()
    await reconcile(KEY)
    assert shown("True", "Serving") == 1
    server.refuses, server.status_error = True, Forbidden(403, "a policy says no")
    world.crash(world.pods("server")[0])
    world.pods("server")[0]["status"]["conditions"] = []
    defect += [] if is_decided else [cause]
    with pytest.raises(Forbidden):
        await reconcile(KEY)
    assert not shown("True", "Serving")
    assert shown("False", "EngineCrashed" if is_decided else "InternalError") == 1
