"""LLMDeployments beyond those that are held of a namespace: nothing of them is kept, and none forgotten."""

from __future__ import annotations

import asyncio
import contextlib
import copy
from collections.abc import AsyncIterator, Callable
from typing import Any, cast

import pytest
from prometheus_client import CollectorRegistry, generate_latest

from tacho_operator.core.places import reports_full
from tacho_operator.core.types import Manifest
from tacho_operator.shell import full_namespaces
from tacho_operator.shell.api_errors import ApiError, Forbidden, Invalid
from tacho_operator.shell.bounded_reading import METADATA_ONLY
from tacho_operator.shell.fleet import Sizes
from tacho_operator.shell.full_namespaces import FullNamespaces
from tacho_operator.shell.kube import Kube, Page
from tacho_operator.shell.store.store import Store, StoreChange
from tacho_operator.shell.workqueue import WorkQueue
from tests.wiring.storing import owned_by, thing
from tools.harness.resources import NOW

KIND = "LLMDeployment"


def made(name: str, minute: int, version: str = "1", **rest: Any) -> Manifest:
    metadata = {"creationTimestamp": f"2026-01-01T00:{minute:02}:00Z", "generation": 1}
    found = thing(name, version, owner="", metadata=metadata, spec={}, **rest)
    return {**found, "apiVersion": "tacho.dev/v1alpha1", "kind": KIND}


class World:
    """An API server with LLMDeployments, a store that its watch fills, and the loop."""

    def __init__(self, limit: int, *objects: Manifest) -> None:
        self.changes: list[StoreChange] = []
        self.store = Store(self.changes.append, max_resources=limit)
        self.objects: dict[str, Manifest] = {}
        self.lists, self.version, self.leads = 0, 100, True
        self.error: Exception | None = None
        self.events: list[str] = []
        self.meanwhile: Callable[[], None] = lambda: None
        for item in objects:
            self.put(item)
        self.loop = FullNamespaces(cast(Kube, self), self.store, lambda: self.leads, lambda: NOW)

    def put(self, item: Manifest) -> None:
        self.objects[item["metadata"]["name"]] = item
        self.store.put(KIND, copy.deepcopy(item))

    def delete(self, name: str) -> None:
        gone = self.objects.pop(name)
        self.store.remove(KIND, "ml", name, uid=gone["metadata"]["uid"])

    async def get(self, _kind: str, _namespace: str, name: str) -> Manifest | None:
        found = copy.deepcopy(self.objects.get(name))
        self.meanwhile()
        return found

    async def pages(self, _kind: str, _namespace: str) -> AsyncIterator[Page]:
        self.lists += 1
        for name in sorted(self.objects):
            yield Page([copy.deepcopy(self.objects[name])], "9", "next")

    async def apply(self, body: Manifest, *, uid: str, subresource: str) -> Manifest:
        assert subresource == "status"
        if self.error is not None:
            raise self.error
        self.version += 1
        live = self.objects[body["metadata"]["name"]]
        assert live["metadata"]["uid"] == uid
        metadata = {**live["metadata"], "resourceVersion": str(self.version)}
        self.put({**live, "metadata": metadata, "status": body["status"]})
        return {"status": body["status"]}

    async def create(self, event: Manifest) -> Manifest:
        self.events.append(f"{event['reason']}: {event['message']}")
        return event

    def held(self) -> set[str]:
        return {key.name for key in self.store.resources("ml")}

    def told(self) -> set[str]:
        return {name for name, item in self.objects.items() if reports_full(item)}


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(full_namespaces, "PAGE_PAUSE_SECONDS", 0.0)
    monkeypatch.setattr(full_namespaces, "REPORTED_PER_SECOND", 1e9)


async def test_those_beyond_are_told_once_and_the_oldest_is_taken_in_for_one_that_goes() -> None:
    world = World(2, *(made(name, minute) for minute, name in enumerate("dbeca")))
    assert world.held() == {"d", "b"}
    assert world.store.find(KIND, "ml", "a") is None
    assert not {change.name for change in world.changes} & set("eca"), "they are not reconciled"
    await world.loop.round()
    assert world.told() == {"e", "c", "a"}
    assert world.store.bounds.places.unheld == {"ml": 3}
    await world.loop.round()
    await world.loop.round()
    assert world.lists == 1, "what says so already is no news"
    world.changes.clear()
    world.delete("d")
    await world.loop.round()
    assert world.held() == {"b", "e"}, "not the first by name"
    assert [change.name for change in world.changes] == ["d", "e"]
    assert world.store.bounds.places.unheld == {"ml": 2}
    for name in "ca":
        world.delete(name)
    await world.loop.round()
    assert world.store.bounds.places.unheld == {}
    lists = world.lists
    world.delete("b")
    await world.loop.round()
    assert world.lists == lists == 3, "a namespace that is not full costs nothing"


async def test_a_restart_in_any_order_holds_the_same() -> None:
    items = [made(name, minute) for minute, name in enumerate("dbeca")]
    for order in (items, items[::-1], sorted(items, key=lambda item: str(item["metadata"]["name"]))):
        assert World(2, *order).held() == {"d", "b"}


async def test_one_that_serves_stays_where_the_limit_is_lowered() -> None:
    serves = made("z", 9, status={"revisions": [{"name": "z-1"}], "readyReplicas": 1})
    world = World(2, made("a", 1), made("b", 2), made("c", 3), serves)
    assert world.held() == {"a", "z"}
    await world.loop.round()
    assert world.told() == {"b", "c"}


async def test_a_place_that_a_later_one_took_goes_to_the_oldest() -> None:
    world = World(2, *(made(name, minute) for minute, name in enumerate("abcd")))
    await world.loop.round()
    world.delete("a")
    later = world.objects["d"]
    world.put({**later, "metadata": {**later["metadata"], "resourceVersion": "900"}})
    assert world.held() == {"b", "d"}
    await world.loop.round()
    assert world.held() == {"b", "c"}


async def test_one_that_is_deleted_while_it_is_read_is_not_brought_back() -> None:
    world = World(1, made("a", 0), made("b", 1))
    await world.loop.round()
    world.delete("a")
    world.meanwhile = lambda: world.delete("b") if "b" in world.objects else None
    await world.loop.round()
    assert world.held() == set()
    world.meanwhile = lambda: None
    world.put({**made("b", 2), "metadata": {**made("b", 2)["metadata"], "uid": "new"}})
    assert world.held() == {"b"}


async def test_nothing_is_taken_in_while_the_reflector_lists_anew() -> None:
    """At its end the list would remove what it did not store, for good."""
    world = World(1, made("a", 0), made("b", 1))
    await world.loop.round()
    world.delete("a")
    world.meanwhile = lambda: world.store.lost(KIND, "", "it is listed")
    await world.loop.round()
    assert world.held() == set()
    world.meanwhile = lambda: None
    world.store.runs(KIND, "")
    await world.loop.round()
    assert world.held() == {"b"}


async def test_a_standby_writes_nothing_and_tells_once_it_leads() -> None:
    world = World(1, made("a", 0), made("b", 1), made("c", 2))
    world.leads = False
    await world.loop.round()
    await world.loop.round()
    assert (world.told(), world.lists) == (set(), 1)
    world.delete("a")
    await world.loop.round()
    assert world.held() == {"b"}, "its store is that of the leader"
    world.leads = True
    await world.loop.round()
    assert world.told() == {"c"}


@pytest.mark.parametrize(
    "error", [ApiError(503, "busy"), ApiError(429, "slow"), ApiError(0, "none"), Invalid(422, "full")]
)
async def test_what_is_refused_stops_nothing_and_is_tried_again_where_that_helps(error: ApiError) -> None:
    world = World(1, made("a", 0), made("b", 1))
    world.error = error
    for _ in range(3):
        await world.loop.round()
    world.error = None
    await world.loop.round()
    is_final = isinstance(error, Invalid)
    assert world.told() == (set() if is_final else {"b"})
    assert world.lists == (1 if is_final else 4)


@pytest.mark.parametrize(
    ("error", "rounds"),
    [(Forbidden(403, "policy p denied request"), 1), (ApiError(500, "webhook is away"), 4)],
)
async def test_one_whose_status_is_not_written_is_told_by_an_event(error: ApiError, rounds: int) -> None:
    """Its status said that no operator has reconciled it yet."""
    world = World(1, made("a", 0), made("b", 1))
    world.error = error
    for _ in range(rounds):
        assert world.events == []
        await world.loop.round()
    (event,) = world.events
    assert event.startswith("NamespaceFull: The operator acts on the 1 oldest LLMDeployments")
    assert error.message in event


async def test_what_cannot_be_read_has_its_place_by_its_metadata() -> None:
    world = World(2, made("a", 0), {**made("b", 1), METADATA_ONLY: "it is too long"}, made("c", 2))
    assert world.held() == {"a", "b"}
    world.put({**made("d", 3), METADATA_ONLY: "it is too long"})
    await world.loop.round()
    assert world.told() == {"c"}, "a status that is not known is not written over"
    assert world.store.bounds.places.unheld == {"ml": 2}


async def test_what_serves_and_cannot_be_read_any_more_stays_and_the_other_is_told() -> None:
    serves = made("z", 9, status={"revisions": [{"name": "z-1"}]})
    world = World(1, made("a", 1), serves)
    world.put({**made("z", 9, "2"), METADATA_ONLY: "it is too long"})
    for _ in range(3):
        await world.loop.round()
    assert (world.held(), world.told(), world.lists) == ({"z"}, {"a"}, 2)


def listed_otherwise(world: World, monkeypatch: pytest.MonkeyPatch, mark: Manifest) -> None:
    """Lists have no status, and ``mark``, while a read of one resource has it."""
    whole = world.pages

    async def pages(kind: str, namespace: str) -> AsyncIterator[Page]:
        async for page in whole(kind, namespace):
            items = [{key: item[key] for key in item if key != "status"} | mark for item in page.items]
            yield page._replace(items=items)

    monkeypatch.setattr(world, "pages", pages)


@pytest.mark.parametrize("has_child", [True, False])
async def test_what_serves_in_a_namespace_of_which_metadata_is_listed_is_held_after_a_start(
    *, has_child: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a few very long ones the rest of a namespace is listed as metadata, without revisions."""
    mark: Manifest = {METADATA_ONLY: ""}
    world = World(1, made("a", 1), made("z", 9) | mark)
    assert world.held() == {"a"}
    world.objects["z"] = made("z", 9, status={"revisions": [{"name": "z-1"}]})
    child = thing("z-1", owner="z", metadata=owned_by(KIND, "z"))
    world.store.put("Deployment" if has_child else "Pod", child)
    listed_otherwise(world, monkeypatch, mark)
    await world.loop.round()
    assert world.held() == ({"z"} if has_child else {"a"}), "each is not read"
    assert world.told() == set()


async def test_what_another_leader_gave_a_revision_is_not_told_that_it_is_not_held(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    world = World(1, made("a", 0), made("b", 1), made("c", 2))
    served = made("b", 1, "50", status={"revisions": [{"name": "b-1"}]})
    world.objects["b"] = served
    listed_otherwise(world, monkeypatch, {})
    await world.loop.round()
    assert world.told() == {"c"}
    world.put(served)
    assert world.held() == {"b"}


async def test_after_a_start_where_all_were_told_a_place_is_still_given() -> None:
    before = World(1, made("a", 0), made("b", 1))
    await before.loop.round()
    world = World(1, *before.objects.values())
    await world.loop.round()
    assert world.store.bounds.places.unheld == {"ml": 1}
    world.delete("a")
    await world.loop.round()
    assert world.held() == {"b"}


async def test_one_that_loses_its_place_to_another_is_told() -> None:
    """As where the clocks of API servers differ."""
    world = World(1, made("a", 5), made("b", 6))
    await world.loop.round()
    older = made("c", 1)
    older["status"] = world.objects["b"]["status"]  # it says so, of a place that it gets now
    world.put(older)
    assert world.held() == {"c"}
    await world.loop.round()
    assert world.told() >= {"a", "b"}


async def test_a_late_deletion_leaves_the_successor_of_that_name_its_place() -> None:
    world = World(1, made("a", 0), made("b", 1))
    new = made("a", 0, "7")
    new["metadata"]["uid"] = "new"
    world.put(new)
    world.store.remove(KIND, "ml", "a", uid="uid-a")
    world.put(made("b", 1, "8"))
    assert world.held() == {"a"}


async def test_while_a_watch_is_interrupted_nothing_is_looked_at() -> None:
    world = World(1, made("a", 0), made("b", 1))
    world.store.lost("Pod", "", "it is listed")
    await world.loop.round()
    assert world.lists == 0
    world.store.runs("Pod", "")
    await world.loop.round()
    assert (world.lists, world.told()) == (1, {"b"})


async def test_one_that_is_held_by_now_is_not_told() -> None:
    world = World(1, made("a", 0), made("b", 1))

    def place() -> None:
        if "a" in world.objects:
            world.delete("a")
            world.store.put(KIND, copy.deepcopy(world.objects["b"]))

    world.meanwhile = place
    await world.loop.round()
    assert (world.held(), world.told()) == ({"b"}, set())


async def test_a_leader_that_leads_no_more_tells_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(full_namespaces, "REPORTED_AT_ONCE", 1)
    world = World(1, *(made(name, minute) for minute, name in enumerate("abcd")))
    world.meanwhile = lambda: setattr(world, "leads", False)
    await world.loop.round()
    assert len(world.told()) == 1
    world.leads, world.meanwhile = True, lambda: None
    world.loop._led = False
    await world.loop.round()
    assert world.told() == {"b", "c", "d"}


async def test_a_namespace_whose_statuses_hang_keeps_no_place_of_another_free(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As where its webhook takes 30 s for each of a thousand statuses."""
    monkeypatch.setattr(full_namespaces, "PERIOD_SECONDS", 0.01)
    theirs = [made(name, minute) for minute, name in enumerate("xyz")]
    for item in theirs:
        item["metadata"]["namespace"] = "zoo"
    world = World(1, *(made(name, minute) for minute, name in enumerate("abc")), *theirs)
    whole, written = world.pages, world.apply

    async def pages(kind: str, namespace: str) -> AsyncIterator[Page]:
        async for page in whole(kind, namespace):
            yield page._replace(items=[i for i in page.items if i["metadata"]["namespace"] == namespace])

    async def apply(body: Manifest, **options: str) -> Manifest:
        if body["metadata"]["namespace"] == "ml":
            await asyncio.Event().wait()
        return await written(body, **options)

    monkeypatch.setattr(world, "pages", pages)
    monkeypatch.setattr(world, "apply", apply)
    running = asyncio.create_task(world.loop.run())
    while world.lists < 1:
        await asyncio.sleep(0.01)
    gone = world.objects.pop("x")
    world.store.remove(KIND, "zoo", "x", uid=gone["metadata"]["uid"])

    async def held() -> None:
        while not world.store.holds(KIND, "zoo", "y"):
            await asyncio.sleep(0.01)

    await asyncio.wait_for(held(), 5)
    running.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await running


async def test_a_flood_is_told_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(full_namespaces, "REPORTED_LIMIT", 10)
    world = World(5, *(made(f"m{number:02}", number) for number in range(40)))
    for rounds in (1, 2, 3):
        await world.loop.round()
        assert len(world.told()) == 10 * rounds
    await world.loop.round()
    assert len(world.told()) == 35
    registry = CollectorRegistry()

    async def process(_: object) -> None: ...

    registry.register(Sizes(world.store, WorkQueue(process, workers=1), ()))
    assert 'tacho_operator_unheld_resources{namespace="ml"} 35.0' in generate_latest(registry).decode()
