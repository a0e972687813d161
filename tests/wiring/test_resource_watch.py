"""kopf watches LLMDeployments: whatever breaks, the store is complete or says that it is not, and none ends
the process."""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncIterator, Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from tacho_operator.shell import handlers, resource_watch as module
from tacho_operator.shell.bounded_reading import METADATA_ONLY
from tacho_operator.shell.handlers import KopfRunner
from tacho_operator.shell.resource_watch import ResourceWatch
from tacho_operator.shell.store import reflector
from tacho_operator.shell.store.reflector import EtcdRestored
from tacho_operator.shell.store.store import Store
from tacho_operator.shell.workqueue import Key
from tests.wiring.api_double import BASE, ApiDouble, deployment, serving


class World:
    """A watch of a namespace, or of all, and what it has done."""

    def __init__(self, double: ApiDouble, namespace: str) -> None:
        self.double, self.namespace = double, namespace
        self.store = Store(lambda change: None)
        self.reconnects: Counter[str] = Counter()
        self.signals = 0
        self.task: asyncio.Task[None]

    def names(self) -> dict[str, str]:
        """Uid by name."""
        return {name[1]: uid for name, uid, _ in self.store.held("LLMDeployment")}

    def has(self, name: str, generation: int) -> bool:
        found = self.store.resource(Key("ml", name))
        return found is not None and found["metadata"]["generation"] == generation

    async def until(self, true: Callable[[], object], seconds: float = 20.0) -> None:
        async with asyncio.timeout(seconds):
            while not true():
                assert not self.task.done(), self.task
                await asyncio.sleep(0.01)

    async def complete(self) -> None:
        await self.until(lambda: not self.store.stale())


@contextlib.asynccontextmanager
async def watching(
    double: ApiDouble, folder: Path, monkeypatch: pytest.MonkeyPatch, namespace: str = ""
) -> AsyncIterator[World]:
    world = World(double, namespace)

    def take_signals() -> None:
        world.signals += 1

    async with serving(double, folder, monkeypatch) as (kube, path):
        watch = ResourceWatch(
            kube,
            world.store,
            KopfRunner(kubeconfig=path, take_signals=take_signals),
            namespace=namespace,
            on_reconnect=lambda kind, why: world.reconnects.update([why]),
            counted=lambda verb, kind, status: None,
        )
        world.task = asyncio.create_task(watch.run())
        try:
            yield world
        finally:
            world.task.cancel()
            await asyncio.gather(world.task, return_exceptions=True)


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(handlers, "WATCH_BACKOFFS_SECONDS", (0.01,))
    for name in ("SETTLE_SECONDS", "SHORTEST_WATCH_SECONDS"):
        monkeypatch.setattr(module, name, 0.05)
    monkeypatch.setattr(reflector, "FIRST_BACKOFF_SECONDS", 0.1)


@pytest.fixture
async def double() -> ApiDouble:
    found = ApiDouble()
    for name in ("a", "b"):
        await found.put(deployment(name))
    return found


Start = Callable[..., contextlib.AbstractAsyncContextManager[World]]


@pytest.fixture
def start(double: ApiDouble, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Start:
    return lambda namespace="": watching(double, tmp_path, monkeypatch, namespace)


async def test_what_is_listed_and_what_happens_later_is_held_and_nothing_is_written(
    start: Start, double: ApiDouble
) -> None:
    async with start() as world:
        assert world.store.stale()
        await world.complete()
        assert world.names() == {"a": "uid-a", "b": "uid-b"}
        await double.put(deployment("c"))
        await double.delete("a")
        await world.until(lambda: set(world.names()) == {"b", "c"})
        assert not world.store.stale()
        assert (double.lists, double.metadata_lists, double.writes) == (1, 1, [])
        assert world.signals == 1, "the process's signal handlers are its own again"


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
        assert double.metadata_lists == 2
        assert world.reconnects["expired"] == 1


async def test_a_deletion_that_no_event_tells_is_found_by_the_next_list_of_metadata(
    start: Start, double: ApiDouble, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "CHECK_SECONDS", 0.2)
    async with start() as world:
        await world.complete()
        double.silent_from = double.version + 1
        await double.delete("a")
        await world.until(lambda: set(world.names()) == {"b"})
        assert not world.store.stale()


async def test_a_name_that_is_taken_again_stands_for_the_newer_object(
    start: Start, double: ApiDouble
) -> None:
    async with start() as world:
        await world.complete()
        await double.delete("a")
        await double.put(deployment("a", "uid-second"))
        await world.until(lambda: world.names().get("a") == "uid-second")


@pytest.mark.parametrize("late", ["MODIFIED", "DELETED"])
async def test_a_late_event_of_the_older_object_changes_nothing(
    late: str, start: Start, double: ApiDouble
) -> None:
    """kopf handles each uid in a task of its own, so their events may arrive in either order."""
    async with start() as world:
        await world.complete()
        older = deployment("a", "uid-first")
        older["metadata"]["resourceVersion"] = "90"
        watch = ResourceWatch(
            None,  # type: ignore[arg-type]
            world.store,
            None,  # type: ignore[arg-type]
            on_reconnect=lambda kind, why: None,
            counted=lambda verb, kind, status: None,
        )
        watch.on_event(late, older)
        assert world.names()["a"] == "uid-a"


async def test_a_late_event_of_what_was_removed_does_not_bring_it_back(
    start: Start, double: ApiDouble, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[ResourceWatch] = []
    init = ResourceWatch.__init__

    def remember(self: ResourceWatch, *args: object, **named: object) -> None:
        seen.append(self)
        init(self, *args, **named)  # type: ignore[arg-type]

    monkeypatch.setattr(ResourceWatch, "__init__", remember)
    async with start() as world:
        await world.complete()
        deleted = deployment("gone")
        deleted["metadata"]["resourceVersion"] = "90"
        seen[0].on_event("MODIFIED", deleted)
        assert "gone" not in world.names()


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


async def test_a_list_that_is_refused_is_named_at_once_and_tried_again_soon(
    start: Start, double: ApiDouble, monkeypatch: pytest.MonkeyPatch
) -> None:
    """kopf would try for seconds by itself, and its error is no sentence."""
    monkeypatch.setattr(handlers, "WATCH_BACKOFFS_SECONDS", (60.0,))
    double.forbidden.add("ml")
    refusal = "LLMDeployment: 403: llmdeployments is forbidden in ml"
    async with start("ml") as world:
        await world.until(lambda: world.store.stale() == (refusal,))
        await world.until(lambda: world.signals == 3)
        assert world.reconnects["broken"] >= 2, "kopf starts anew after the usual pause"
        double.forbidden.clear()
        await world.complete()
        assert set(world.names()) == {"a", "b"}


@pytest.mark.parametrize("where", ["header", "body"])
async def test_a_watch_that_is_to_wait_for_a_day_waits_for_as_long_as_any_other_request(
    where: str, start: Start, double: ApiDouble, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "LONGEST_RETRY_AFTER_SECONDS", 0.5)
    async with start() as world:
        await world.complete()
        status = {"kind": "Status", "code": 429, "details": {"retryAfterSeconds": 86400}}
        headers = {"Retry-After": "86400"} if where == "header" else {}
        double.refused_watches.append(web.json_response(status, status=429, headers=headers))
        await double.cut()
        await world.until(lambda: not double.refused_watches)
        await world.until(world.store.stale)
        await double.put(deployment("c"))
        await world.complete()
        assert set(world.names()) == {"a", "b", "c"}
        assert world.signals == 2, "kopf started anew"


async def test_a_watch_that_was_refused_once_is_left_alone_once_its_successor_runs(
    start: Start, double: ApiDouble, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "LONGEST_RETRY_AFTER_SECONDS", 0.5)
    monkeypatch.setattr(handlers, "WATCH_BACKOFFS_SECONDS", (0.01,))
    async with start() as world:
        await world.complete()
        double.refused_watches.append(web.json_response({"kind": "Status", "code": 500}, status=500))
        await double.cut()
        await world.until(lambda: not double.refused_watches)
        await world.complete()
        await asyncio.sleep(0.7)
        assert world.signals == 1, "kopf did not start anew"


@pytest.mark.parametrize("path", ["/apis", BASE])
async def test_discovery_that_is_refused_is_named_and_is_not_taken_for_an_absent_definition(
    path: str, start: Start, double: ApiDouble, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(handlers, "WATCH_BACKOFFS_SECONDS", (60.0,))
    double.forbidden.add(path)
    async with start() as world:
        refusal = f'LLMDeployment: 403: forbidden: User "user" cannot get path "{path}"'
        await world.until(lambda: world.store.stale() == (refusal,))
        await world.until(lambda: world.signals == 2)
        double.forbidden.clear()
        await world.complete()


async def test_a_definition_that_is_absent_is_awaited_and_one_that_goes_is_awaited_again(
    start: Start, double: ApiDouble
) -> None:
    double.has_crd = False
    async with start() as world:
        await world.until(lambda: any("CRD" in line for line in world.store.stale()))
        assert (double.lists, world.signals) == (0, 0), "kopf starts once discovery has the kind"
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
        assert world.names() == {"b": "uid-second"}


async def test_watches_that_end_at_once_are_not_hammered(
    start: Start, double: ApiDouble, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "SHORTEST_WATCH_SECONDS", 0.2)
    double.ends_watches = True
    async with start() as world:
        await world.complete()
        before = double.watches
        await asyncio.sleep(1.0)
        assert 1 <= double.watches - before <= 7
        double.ends_watches = False
        await double.put(deployment("c"))
        await world.until(lambda: "c" in world.names())


@pytest.mark.parametrize("when", ["listed", "watched"])
@pytest.mark.parametrize("how", ["deep", "long", "digits"])
async def test_an_object_that_kopf_cannot_parse_is_held_by_its_metadata_and_stops_no_other(
    when: str, how: str, start: Start, double: ApiDouble
) -> None:
    async with start() as world:
        if when == "watched":
            await world.complete()
        double.unreadable["c"] = how
        await double.put(deployment("c"))
        await double.put(deployment("d"))
        await world.complete()
        await world.until(lambda: set(world.names()) == {"a", "b", "c", "d"})
        found = world.store.resource(Key("ml", "c"))
        assert found is not None
        assert "spec" not in found, found.keys()
        await double.delete("c")
        await world.until(lambda: "c" not in world.names())
        assert world.reconnects["broken"] == 0


KOPF_NOTES: dict[str, dict[str, Any]] = {
    "not JSON": {"annotations": {"kopf.zalando.org/last-handled-configuration": "{"}},
    "no object": {"annotations": {"kopf.zalando.org/last-handled-configuration": "[1]"}},
    "nested": {"annotations": {"kopf.zalando.org/last-handled-configuration": "[" * 9000 + "]" * 9000}},
    "touched": {"annotations": {"kopf.zalando.org/touch-dummy": "1", "kopf.zalando.org/store": "{"}},
    "finalizer": {"finalizers": ["kopf.zalando.org/KopfFinalizerMarker"]},
}
"""Metadata of an LLMDeployment that kopf reads as its own notes. Whoever may edit it can write them."""


@pytest.mark.parametrize("when", ["listed", "watched"])
@pytest.mark.parametrize("notes", KOPF_NOTES)
async def test_forged_notes_of_kopf_withhold_no_event_and_cause_no_write(
    when: str, notes: str, start: Start, double: ApiDouble, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "COMPLETE_SECONDS", 4.0)

    def forged(generation: int) -> dict[str, Any]:
        found = deployment("c")
        found["metadata"] |= {**KOPF_NOTES[notes], "generation": generation}
        return found

    async with start() as world:
        if when == "watched":
            await world.complete()
        await double.put(forged(1))
        await world.complete()
        for generation in range(2, 5):
            await double.put(forged(generation))
            await world.until(partial(world.has, "c", generation), 3.0)
        assert (double.writes, world.reconnects["broken"]) == ([], 0)


async def test_kopf_that_delivers_nothing_starts_anew(
    start: Start, double: ApiDouble, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "COMPLETE_SECONDS", 4.0)
    put, refused = Store.put, [2]

    def lose(self: Store, kind: str, manifest: dict[str, object]) -> None:
        if refused[0]:
            refused[0] -= 1
            return
        put(self, kind, manifest)

    monkeypatch.setattr(Store, "put", lose)
    async with start() as world:
        await world.until(lambda: world.signals == 2)
        await world.complete()
        assert set(world.names()) == {"a", "b"}


async def test_an_object_that_kopf_never_delivers_stops_no_other_for_ever(
    start: Start, double: ApiDouble, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "COMPLETE_SECONDS", 2.0)
    put = Store.put

    def lose(self: Store, kind: str, manifest: dict[str, Any]) -> None:
        if manifest["metadata"]["name"] != "b" or METADATA_ONLY in manifest:
            put(self, kind, manifest)

    monkeypatch.setattr(Store, "put", lose)
    async with start() as world:
        await world.until(lambda: world.signals == 2)
        await world.complete()
        assert set(world.names()) == {"a", "b"}
        assert METADATA_ONLY in (world.store.resource(Key("ml", "b")) or {}), "read by itself when it is due"
        await double.put(deployment("c"))
        await world.until(lambda: "c" in world.names())
        assert world.signals == 2, "kopf goes on"


async def test_an_api_server_that_was_restored_from_a_backup_ends_the_process(
    start: Start, double: ApiDouble, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "CHECK_SECONDS", 0.2)
    async with start() as world:
        await world.complete()
        double.version = 50
        with pytest.raises(EtcdRestored, match="at version 50"):
            async with asyncio.timeout(10):
                await world.task


async def test_thousands_are_held_without_a_task_for_each(start: Start, double: ApiDouble) -> None:
    for number in range(1000):
        await double.put(deployment(f"many-{number}", namespace=f"space-{number % 20}"))
    async with start() as world:
        most = 0
        async with asyncio.timeout(60):
            while world.store.stale():
                most = max(most, len(asyncio.all_tasks()))
                await asyncio.sleep(0.01)
        assert len(world.names()) == 1002
        assert most < 600
        await world.until(lambda: len(asyncio.all_tasks()) < 50)
