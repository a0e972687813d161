"""kopf's events add names to the queue: forged or endless content never reaches kopf."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
from collections.abc import AsyncIterator, Callable
from functools import partial
from pathlib import Path
from typing import Any

import kopf
import pytest
from aiohttp import web

from tacho_operator.__main__ import kopf_events
from tacho_operator.shell import handlers
from tacho_operator.shell.fleet import ChangeRouter
from tacho_operator.shell.handlers import KopfRunner
from tacho_operator.shell.store.store import Store
from tacho_operator.shell.workqueue import Key, WorkQueue
from tests.wiring.api_double import ApiDouble, deployment, serving


class World:
    """kopf's watch of all namespaces, and the events it has delivered."""

    def __init__(self) -> None:
        self.events: list[tuple[str, str]] = []
        """Name and version."""
        self.signals = 0
        self.reasons: list[str] = []
        """Why objects were skipped."""
        self.task: asyncio.Task[None]

    def on_event(self, namespace: str, name: str, version: str) -> None:
        assert namespace
        self.events.append((name, version))

    def skipped(self, kind: str, _name: str, why: str) -> None:
        self.reasons.append(f"{kind}: {why}")

    def names(self) -> set[str]:
        return {name for name, _ in self.events}

    async def until(self, true: Callable[[], object], seconds: float = 20.0) -> None:
        async with asyncio.timeout(seconds):
            while not true():
                await asyncio.sleep(0.01)


@contextlib.asynccontextmanager
async def watching(double: ApiDouble, folder: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[World]:
    world = World()

    def take_signals() -> None:
        world.signals += 1

    async with serving(double, folder, monkeypatch) as (_, path):
        runner = KopfRunner(kubeconfig=path, take_signals=take_signals, skipped=world.skipped)
        run = partial(runner.watch, "", world.on_event)
        world.task = asyncio.create_task(handlers.supervised("watch", run))
        try:
            await world.until(lambda: double.metadata_watches)
            yield world
        finally:
            world.task.cancel()
            await asyncio.gather(world.task, return_exceptions=True)


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(handlers, "WATCH_BACKOFFS_SECONDS", (0.01,))
    monkeypatch.setattr(handlers, "pause_seconds", lambda failures, _: 0.05)
    monkeypatch.setattr(handlers, "WATCH_PAUSE_SECONDS", 0.01)


@pytest.fixture
async def double() -> ApiDouble:
    found = ApiDouble()
    for name in ("a", "b"):
        await found.put(deployment(name))
    return found


Start = Callable[[], contextlib.AbstractAsyncContextManager[World]]


@pytest.fixture
def start(double: ApiDouble, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Start:
    return lambda: watching(double, tmp_path, monkeypatch)


async def test_each_change_is_named_with_its_version_and_nothing_is_written(
    start: Start, double: ApiDouble
) -> None:
    async with start() as world:
        await double.put(deployment("c"))
        await double.put(deployment("c"))
        await double.delete("a")
        await world.until(lambda: len(world.events) == 3)
        assert sorted(world.events) == [("a", "105"), ("c", "103"), ("c", "104")]
        assert (double.lists, double.metadata_lists, double.watches, double.writes) == (0, 1, 0, [])
        assert double.limits == ["1"], "of a list, only its version is read"
        assert world.signals == 1, "the process's signal handlers are its own again"


@pytest.mark.parametrize("how", ["deep", "long", "digits"])
async def test_an_object_that_cannot_be_parsed_is_skipped_and_stops_no_other(
    how: str, start: Start, double: ApiDouble
) -> None:
    double.ignores_accept = True
    double.unreadable = {"a": how, "c": how}
    async with start() as world:
        await double.put(deployment("c"))
        await double.put(deployment("d"))
        await world.until(lambda: world.names() == {"d"})
        assert world.reasons
        assert world.signals == 1


FORGED: dict[str, dict[str, Any]] = {
    "not JSON": {"annotations": {"kopf.zalando.org/last-handled-configuration": "{"}},
    "no object": {"annotations": {"kopf.zalando.org/last-handled-configuration": "[1]"}},
    "nested": {"annotations": {"kopf.zalando.org/last-handled-configuration": "[" * 9000 + "]" * 9000}},
    "touched": {"annotations": {"kopf.zalando.org/touch-dummy": "1", "kopf.zalando.org/store": "{"}},
    "finalizer": {"finalizers": ["kopf.zalando.org/KopfFinalizerMarker"]},
}
"""Metadata of an LLMDeployment that kopf reads as its own notes. Whoever may edit it can write them."""


@pytest.mark.parametrize("notes", FORGED)
async def test_forged_notes_of_kopf_withhold_no_event_and_cause_no_write(
    notes: str, start: Start, double: ApiDouble
) -> None:
    async with start() as world:
        for _ in range(3):
            found = deployment("c")
            found["metadata"] |= FORGED[notes]
            await double.put(found)
        await world.until(lambda: len(world.events) == 3, 3.0)
        assert (double.writes, world.signals) == ([], 1)


async def test_kopf_reads_names_and_versions_alone(
    start: Start, double: ApiDouble, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Any] = []

    def registry(kubeconfig: str, on_event: Any, _skipped: Any) -> kopf.OperatorRegistry:
        found = handlers._base_registry(kubeconfig, (0.01,), (handlers.names_only,))

        @kopf.on.event("tacho.dev", "v1alpha1", "llmdeployments", registry=found)
        async def keep(event: Any, **_: Any) -> None:
            seen.append(json.loads(json.dumps(event["object"])))

        return found

    monkeypatch.setattr(handlers, "watch_registry", registry)
    double.ignores_accept = True
    async with start() as world:
        found = deployment("c", model={"uri": "hf://a/b"})
        found["metadata"] |= {"annotations": {"a": "b"}, "managedFields": [{"manager": "me"}]}
        await double.put(found)
        await world.until(lambda: seen)
        metadata = {"namespace": "ml", "name": "c", "uid": "uid-c", "resourceVersion": "103"}
        assert seen == [{"code": None, "metadata": metadata}]


async def test_a_watch_goes_on_after_a_410_and_after_an_error_of_the_api_server(
    start: Start, double: ApiDouble
) -> None:
    async with start() as world:
        double.expired_below = double.version + 1
        await double.put(deployment("c"))
        await double.cut()
        await world.until(lambda: double.metadata_lists == 2)
        for _ in range(3):
            double.refused_watches.append(web.json_response({"kind": "Status", "code": 500}, status=500))
        await double.cut()
        await world.until(lambda: not double.refused_watches)
        await double.put(deployment("d"))
        await world.until(lambda: "d" in world.names())


async def test_watches_that_end_at_once_are_not_hammered(
    start: Start, double: ApiDouble, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(handlers, "WATCH_PAUSE_SECONDS", 0.2)
    double.ends_watches = True
    async with start():
        before = double.metadata_watches
        await asyncio.sleep(1.0)
        assert 1 <= double.metadata_watches - before <= 6


async def test_thousands_of_events_at_once_have_no_task_for_each(start: Start, double: ApiDouble) -> None:
    async with start() as world:
        await asyncio.sleep(0.1)
        for number in range(1000):
            manifest = deployment(f"many-{number}", namespace=f"space-{number % 20}")
            double.version += 1
            manifest["metadata"]["resourceVersion"] = str(double.version)
            line = json.dumps({"type": "ADDED", "object": manifest}) + "\n"
            double.events.append((double.version, "ml", line, line))
        await double.put(deployment("last"))
        most = 0
        async with asyncio.timeout(30):
            while len(world.events) < 1001:
                most = max(most, len(asyncio.all_tasks()))
                await asyncio.sleep(0.001)
        assert most < 2 * handlers.WORKERS + 50
        await world.until(lambda: len(asyncio.all_tasks()) < 50)


async def test_discovery_that_is_refused_is_logged_once(
    start: Start, double: ApiDouble, caplog: pytest.LogCaptureFixture
) -> None:
    double.forbidden.add("/apis")
    caplog.set_level(logging.WARNING, logger=handlers.__name__)

    async def grant() -> None:
        while double.refused_discoveries < 8:
            await asyncio.sleep(0.01)
        double.forbidden.clear()

    granting = asyncio.create_task(grant())
    async with start() as world:
        await granting
        assert world.signals > 2, "kopf starts anew"
        own = [record for record in caplog.records if record.name == handlers.__name__]
        assert len(own) == 1
        assert 'cannot get path "/apis"' in own[0].getMessage()


async def test_kopf_begins_once_the_definition_is_there(
    double: ApiDouble, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It discovers kinds once."""
    router, store, signals = ChangeRouter(), Store(lambda change: None), []
    router.connect(store, WorkQueue(lambda key: asyncio.sleep(0), workers=1))
    store.lost("LLMDeployment", "", "LLMDeployment: 404")
    async with serving(double, tmp_path, monkeypatch) as (_, path):
        runner = KopfRunner(kubeconfig=path, take_signals=lambda: signals.append(1))
        task = asyncio.create_task(kopf_events(runner, store, "", router))
        await asyncio.sleep(0.2)
        assert not signals
        store.runs("LLMDeployment", "")
        async with asyncio.timeout(20):
            while not double.metadata_watches:
                await asyncio.sleep(0.01)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_an_event_adds_its_resource_unless_the_store_has_that_version() -> None:
    done: list[Key] = []

    async def process(key: Key) -> None:
        done.append(key)

    router, store = ChangeRouter(), Store(lambda change: None)
    router.connect(store, queue := WorkQueue(process, workers=1))
    manifest = deployment("a")
    manifest["metadata"]["resourceVersion"] = "9"
    store.put("LLMDeployment", manifest)
    task = asyncio.create_task(queue.run())
    router.noticed("ml", "a", "9")
    await asyncio.sleep(0.1)
    assert done == []
    router.noticed("ml", "a", "10")
    router.noticed("ml", "new", "11")
    async with asyncio.timeout(5):
        while not done:
            await asyncio.sleep(0.01)
    assert done == [Key("ml", "a")], "what is not held is not reconciled"
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
