"""Whom a change concerns, how urgent a resource is."""

from __future__ import annotations

import asyncio
from typing import Any

from tacho_operator.shell.fleet import ChangeRouter, concerned_by_node, priority
from tacho_operator.shell.store.resource_state import ResourceState
from tacho_operator.shell.store.store import Store
from tacho_operator.shell.workqueue import Key, Priority, WorkQueue
from tests.wiring.storing import KEY, pod, thing, told


def resource(name: str, *, ready: bool = False, replicas: int = 0, generation: int = 1) -> dict[str, Any]:
    condition = {"type": "Ready", "status": str(ready)}
    status = {"observedGeneration": 1, "conditions": [condition], "readyReplicas": replicas}
    spec = {"model": {"uri": f"pvc://claim-of-{name}/m"}}
    return thing(name, owner="", metadata={"generation": generation}, spec=spec, status=status)


def some() -> Store:
    store, _ = told()
    store.put("LLMDeployment", resource("serving", ready=True, replicas=1))
    store.put("LLMDeployment", resource("waiting"))
    store.put("LLMDeployment", resource("edited", generation=2))
    return store


UNTOLD = {"conditions": [{"type": "Ready", "status": "Unknown", "reason": "WaitingForOperator"}]}
"""What the API server makes of an absent status, by the definition's default."""
NAMES = ("applied", "serving", "waiting", "edited", "unknown")


def test_how_urgent_a_resource_is() -> None:
    store = some()
    store.put("LLMDeployment", {**resource("applied"), "status": UNTOLD})
    found = {name: priority(store, Key("ml", name)) for name in NAMES}
    assert found == {
        "applied": Priority.NEW,
        "serving": Priority.OTHERS,
        "waiting": Priority.OTHERS,
        "edited": Priority.OTHERS,
        "unknown": Priority.OTHERS,
    }
    assert store.state(Key("ml", "serving")) == ResourceState(
        reported=True, status_is_current=True, ready=True, serves=True, claims=("claim-of-serving",)
    )


def test_a_node_concerns_those_on_it_and_those_that_may_wait_for_it() -> None:
    store = some()
    assert concerned_by_node(store, "n1") == {Key("ml", "waiting"), Key("ml", "edited")}
    store.put("Pod", pod("p", owner="serving", node="n1"))
    assert Key("ml", "serving") in concerned_by_node(store, "n1")


async def test_a_change_is_passed_to_whom_it_concerns() -> None:
    async def process(key: Key) -> None:
        raise AssertionError(key)

    router = ChangeRouter()
    store, queue = Store(router), WorkQueue(process, workers=1)
    store.put("LLMDeployment", resource("early"))
    router.connect(store, queue)
    assert sum(queue.depths().values()) == 0
    store.put("LLMDeployment", resource("smol"))
    assert set(queue._due) == {KEY}
    store.put("PersistentVolumeClaim", thing("claim-of-early", owner=""))
    assert set(queue._due) == {KEY, Key("ml", "early")}
    store.put("Pod", pod("p", owner="third"))
    assert Key("ml", "third") not in queue._due, "there is no such resource"
    store.put("LLMDeployment", resource("third"))
    queue._due.clear()
    store.put("Pod", pod("p", "2", owner="third", status={"phase": "Running"}))
    assert set(queue._due) == {Key("ml", "third")}
    before = sum(queue.depths().values())
    store.put("ConfigMap", thing("nobodys", owner=""))
    assert sum(queue.depths().values()) == before


async def test_thousands_of_one_namespace_that_wait_for_a_node_delay_no_other() -> None:
    async def process(key: Key) -> None:
        raise AssertionError(key)

    router = ChangeRouter()
    store, queue = Store(router), WorkQueue(process, workers=1)
    for number in range(1000):
        many = resource(f"m{number}")
        many["metadata"]["namespace"] = "aaa"
        store.put("LLMDeployment", many)
    store.put("LLMDeployment", resource("one"))
    router.connect(store, queue)
    began = asyncio.get_running_loop().time()
    store.put("Node", {"metadata": {"name": "n1", "uid": "uid-n1", "resourceVersion": "1"}})
    assert sum(queue.depths().values()) == 1001
    assert queue._due[Key("ml", "one")] - began < 1.0
    assert max(queue._due.values()) - began > 15.0, "they are spread"
