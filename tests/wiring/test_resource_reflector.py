"""LLMDeployments reach the store by a reflector: whatever breaks, it is complete or says that it is not."""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from tacho_operator.shell import kube
from tacho_operator.shell.fleet import ChangeRouter, reflectors
from tacho_operator.shell.store import reflector as module
from tacho_operator.shell.store.reflector import EtcdRestored
from tacho_operator.shell.store.store import Store
from tacho_operator.shell.workqueue import Key, WorkQueue
from tests.wiring.api_double import ApiDouble, deployment, serving


class World:
    """A reflector of a namespace, or of all, and what it has done."""

    def __init__(self) -> None:
        self.router = ChangeRouter()
        self.store = Store(self.router)
        self.reconnects: Counter[str] = Counter()
        self.reconciled: list[Key] = []
        self.task: asyncio.Task[None]

    async def reconcile(self, key: Key) -> None:
        self.reconciled.append(key)

    def names(self) -> dict[str, str]:
        """Uid by name."""
        held = self.store.resources()
        return {key.name: (self.store.find("LLMDeployment", *key) or ("",))[0] for key in held}

    async def until(self, true: Callable[[], object], seconds: float = 20.0) -> None:
        async with asyncio.timeout(seconds):
            while not true():
                assert not self.task.done(), self.task
                await asyncio.sleep(0.01)

    async def complete(self) -> None:
        await self.until(lambda: not self.store.stale())


@contextlib.asynccontextmanager
async def reflecting(
    double: ApiDouble, folder: Path, monkeypatch: pytest.MonkeyPatch, namespace: str = ""
) -> AsyncIterator[World]:
    world = World()
    async with serving(double, folder, monkeypatch) as (client, _):
        namespaces = (namespace,) if namespace else ()
        first, *others = reflectors(
            client, world.store, namespaces, lambda kind, why: world.reconnects.update([why])
        )
        assert first.kind == "LLMDeployment"
        for other in others:  # the double has LLMDeployments alone
            world.store.runs(other.kind, other.namespace)
        queue = WorkQueue(world.reconcile, workers=1)
        world.router.connect(world.store, queue)
        working = asyncio.create_task(queue.run())
        world.task = asyncio.create_task(first.run())
        try:
            yield world
        finally:
            for task in (world.task, working):
                task.cancel()
            await asyncio.gather(world.task, working, return_exceptions=True)


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("SETTLE_SECONDS", "SHORTEST_WATCH_SECONDS", "FIRST_BACKOFF_SECONDS"):
        monkeypatch.setattr(module, name, 0.05)


@pytest.fixture
async def double() -> ApiDouble:
    found = ApiDouble()
    for name in ("a", "b"):
        await found.put(deployment(name))
    return found


Start = Callable[..., contextlib.AbstractAsyncContextManager[World]]


@pytest.fixture
def start(double: ApiDouble, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Start:
    return lambda namespace="": reflecting(double, tmp_path, monkeypatch, namespace)


async def test_what_is_listed_and_what_happens_later_is_held_and_reconciled(
    start: Start, double: ApiDouble
) -> None:
    async with start() as world:
        assert world.store.stale()
        await world.complete()
        assert world.names() == {"a": "uid-a", "b": "uid-b"}
        await world.until(lambda: set(world.reconciled) == {Key("ml", "a"), Key("ml", "b")})
        await double.put(deployment("c"))
        await double.delete("a")
        await world.until(lambda: set(world.names()) == {"b", "c"})
        await world.until(lambda: world.reconciled.count(Key("ml", "a")) == 2)
        assert Key("ml", "c") in world.reconciled
        assert (double.lists, double.watches, double.writes) == (1, 1, [])


async def test_objects_that_were_deleted_unseen_before_a_410_are_removed_before_anything_is_decided(
    start: Start, double: ApiDouble
) -> None:
    async with start() as world:
        await world.complete()
        double.silent_from = double.version + 1
        await double.delete("a")
        await double.put(deployment("d"))
        double.expired_below = double.version
        double.silent_from = 0
        assert "a" in world.names()
        await double.cut()
        await world.until(lambda: double.lists == 2)
        await world.complete()
        assert set(world.names()) == {"b", "d"}
        assert world.reconnects["expired"] == 1


async def test_a_name_that_is_taken_again_stands_for_the_newer_object(
    start: Start, double: ApiDouble
) -> None:
    async with start() as world:
        await world.complete()
        await double.delete("a")
        await double.put(deployment("a", "uid-second"))
        await world.until(lambda: world.names().get("a") == "uid-second")


@pytest.mark.parametrize("late", [1, 2, 3], ids=["added", "modified", "deleted"])
async def test_events_of_the_older_object_of_a_name_that_come_again_change_nothing(
    late: int, start: Start, double: ApiDouble
) -> None:
    """As a cache in between repeats them."""
    await double.put(deployment("a"))
    await double.delete("a")
    await double.put(deployment("a", "uid-second"))
    async with start() as world:
        await world.complete()
        repeated = [event for event in double.events if '"uid-a"' in event[2]][late - 1]
        await double.put(deployment("c"))
        await world.until(lambda: "c" in world.names())
        double.events.append((double.version + 1, *repeated[1:]))
        await double.put(deployment("d"))
        await world.until(lambda: "d" in world.names())
        assert world.names()["a"] == "uid-second"


async def test_a_namespace_whose_rights_are_revoked_is_interrupted_until_they_are_back(
    start: Start, double: ApiDouble
) -> None:
    async with start("ml") as world:
        await world.complete()
        double.forbidden.add("ml")
        await double.cut()
        await world.until(lambda: any("403" in line for line in world.store.stale("ml")))
        assert set(world.names()) == {"a", "b"}
        assert world.store.stale("other") == ()
        double.forbidden.clear()
        await double.put(deployment("c"))
        await world.complete()
        assert set(world.names()) == {"a", "b", "c"}


async def test_discovery_that_is_refused_stops_nothing(start: Start, double: ApiDouble) -> None:
    double.forbidden |= {"/api", "/apis", "/apis/tacho.dev/v1alpha1"}
    async with start() as world:
        await world.complete()
        assert set(world.names()) == {"a", "b"}


async def test_a_definition_that_is_absent_is_awaited_and_one_that_goes_is_awaited_again(
    start: Start, double: ApiDouble
) -> None:
    double.has_crd = False
    async with start() as world:
        await world.until(lambda: any("CRD" in line for line in world.store.stale()))
        double.has_crd = True
        await world.complete()
        assert set(world.names()) == {"a", "b"}
        double.has_crd = False
        double.objects.clear()
        await double.cut()
        await world.until(world.store.stale)
        double.has_crd = True
        await double.put(deployment("b", "uid-second"))
        await world.complete()
        await world.until(lambda: world.names() == {"b": "uid-second"})


async def test_a_watch_that_delivers_nothing_is_given_up_and_goes_on_where_it_was(
    start: Start, double: ApiDouble, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So does every kind's watch, with bookmarks in between."""
    monkeypatch.setattr(kube, "WATCH_SILENCE_SECONDS", 0.2)
    async with start() as world:
        await world.complete()
        await world.until(lambda: world.reconnects["broken"] > 1)
        await double.put(deployment("c"))
        await world.until(lambda: "c" in world.names())
        assert double.lists == 1


async def test_watches_that_end_at_once_are_not_hammered(
    start: Start, double: ApiDouble, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "SHORTEST_WATCH_SECONDS", 0.2)
    double.ends_watches = True
    async with start() as world:
        await world.until(world.names)
        before = double.watches
        await asyncio.sleep(1.0)
        assert 1 <= double.watches - before <= 7
        double.ends_watches = False
        await double.put(deployment("c"))
        await world.until(lambda: "c" in world.names())


@pytest.mark.parametrize("when", ["listed", "watched"])
@pytest.mark.parametrize("how", ["deep", "long", "digits"])
async def test_an_object_that_cannot_be_parsed_is_skipped_and_stops_no_other(
    when: str, how: str, start: Start, double: ApiDouble
) -> None:
    async with start() as world:
        if when == "watched":
            await world.complete()
        double.unreadable["c"] = how
        await double.put(deployment("c"))
        await double.put(deployment("d"))
        await world.complete()
        await world.until(lambda: set(world.names()) == {"a", "b", "d"})
        del double.unreadable["c"]
        await double.put(deployment("c"))
        await world.until(lambda: "c" in world.names())
        assert world.reconnects["broken"] == 0


async def test_an_object_that_a_restored_etcd_has_in_an_older_version_is_held_so(
    start: Start, double: ApiDouble
) -> None:
    """`etcdutl snapshot restore --bump-revision` raises the version of a list, and of no object."""
    async with start() as world:
        await world.complete()
        await double.put(deployment("a"))
        await world.until(lambda: world.store.find("LLMDeployment", "ml", "a") == ("uid-a", "103"))
        double.objects["ml", "a"]["metadata"]["resourceVersion"] = "101"
        double.version = double.expired_below = 1_000_000_103
        await double.cut()
        await world.until(lambda: world.store.find("LLMDeployment", "ml", "a") == ("uid-a", "101"))


async def test_an_api_server_that_was_restored_from_a_backup_ends_the_process(
    start: Start, double: ApiDouble
) -> None:
    async with start() as world:
        await world.complete()
        double.version = 50
        double.expired_below = 1000
        await double.cut()
        with pytest.raises(EtcdRestored, match="at version 50"):
            async with asyncio.timeout(10):
                await world.task
