"""Who is held up by what is interrupted, and what counts as hanging."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from typing import Any, cast

import pytest

from tacho_operator.shell import fleet
from tacho_operator.shell.guard import Page
from tacho_operator.shell.kube import Kube
from tacho_operator.shell.store.store import Store
from tacho_operator.shell.workqueue import Key, WorkQueue

SPACES = ("ml", "gone")
HERE, THERE = Key("ml", "a"), Key("gone", "b")


async def test_a_namespace_that_may_not_be_read_any_longer_holds_up_no_other(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Roles are deleted with their namespace, which nobody has to take out of the settings at that moment."""
    monkeypatch.setattr(fleet, "STALE_RETRY_SECONDS", 0.01)
    done: list[Key] = []

    async def process(key: Key) -> None:
        done.append(key)

    store = Store(lambda change: None)
    for space in SPACES:
        store.lost("Pod", space, f"{space}: 403")
    queue = WorkQueue(
        fleet.where_in_sync(store, process), workers=1, gate=lambda: fleet.in_sync(store, SPACES)
    )
    queue.add(THERE)
    queue.add(HERE)
    task = asyncio.create_task(queue.run())
    await asyncio.sleep(0.05)
    assert done == []
    store.runs("Pod", "ml")
    await asyncio.sleep(0.05)
    assert done == [HERE]
    assert store.stale() == ("gone: 403",), "readiness says so still"
    store.runs("Pod", "gone")
    async with asyncio.timeout(5):
        while THERE not in done:
            await asyncio.sleep(0.01)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


def test_an_interrupted_stream_of_everything_concerns_every_namespace() -> None:
    store = Store(lambda change: None)
    store.lost("Pod", "", "Pod: reconnecting")
    assert store.stale("ml") == ("Pod: reconnecting",)
    assert store.is_stale("ml"), "no resource is reconciled from what may be old"
    assert fleet.blocked(store, ())


class Leadership:
    """An election that ``leading`` decides."""

    def __init__(self, *, leading: bool) -> None:
        self.leading = asyncio.Event()
        if leading:
            self.leading.set()

    def leads(self) -> bool:
        return self.leading.is_set()

    async def led(self) -> None:
        await self.leading.wait()


@pytest.mark.parametrize("cut", ["", "one", "all", "standby"])
async def test_workers_hang_only_where_they_could_work(cut: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fleet, "STUCK_SECONDS", 0.01)

    async def process(key: Key) -> None:
        raise AssertionError(key)

    store = Store(lambda change: None)
    for space in {"one": SPACES[1:], "all": SPACES}.get(cut, ()):
        store.lost("Pod", space, "403")
    queue = WorkQueue(process, workers=1)
    queue.add(HERE)
    await asyncio.sleep(0.02)
    leadership = Leadership(leading=cut != "standby")
    assert bool(fleet.hanging(leadership, store, queue, SPACES)) == (cut not in ("all", "standby"))


async def test_a_standby_begins_nothing_until_it_leads() -> None:
    done: list[Key] = []

    async def process(key: Key) -> None:
        done.append(key)

    store, leadership = Store(lambda change: None), Leadership(leading=False)
    gate = partial(fleet.led_and_in_sync, leadership, store, SPACES)
    queue = WorkQueue(process, workers=1, gate=gate)
    queue.add(HERE)
    task = asyncio.create_task(queue.run())
    await asyncio.sleep(0.05)
    assert done == []
    leadership.leading.set()
    async with asyncio.timeout(5):
        while not done:
            await asyncio.sleep(0.01)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


def test_a_kind_that_may_not_be_read_has_no_age() -> None:
    """It would grow for ever, and an alert on silent watches with it."""
    store = Store(lambda change: None)
    streams = fleet.reflectors(cast(Kube, None), store, (), lambda kind, why: None)
    sizes = fleet.Sizes(store, WorkQueue(cast(Any, None), workers=1), streams)

    def aged() -> set[str]:
        (age,) = (family for family in sizes.collect() if family.name == "tacho_operator_store_age_seconds")
        return {sample.labels["kind"] for sample in age.samples}

    assert {"PersistentVolumeClaim", "Pod"} <= aged()
    store.forbidden("PersistentVolumeClaim", "")
    assert "PersistentVolumeClaim" not in aged()


class Changing(dict[Any, Any]):
    """A dict of the event loop's thread, which goes on while another thread reads it."""

    def __getitem__(self, key: Any) -> Any:
        self.pop(key)
        return super().__getitem__(key)

    def items(self) -> Any:
        for item in super().items():
            self[f"other than {item[0]}"] = 1
            yield item


def test_a_scrape_does_not_fail_where_a_watch_or_a_namespace_changes_meanwhile() -> None:
    store = Store(lambda change: None)
    streams = fleet.reflectors(cast(Kube, None), store, (), lambda kind, why: None)
    sizes = fleet.Sizes(store, WorkQueue(cast(Any, None), workers=1), streams)
    store._stale = Changing({place: Changing(kinds) for place, kinds in store._stale.items()})
    found = {family.name: family.samples for family in sizes.collect()}
    assert [sample.value for sample in found["tacho_operator_store_stale_streams"]] == [len(streams)]


class Empty:
    """An API server without objects."""

    async def pages(self, *_: str | None) -> AsyncIterator[Page]:
        await asyncio.sleep(0)
        yield Page([], "1")

    @asynccontextmanager
    async def watch(self, *_: str | None) -> AsyncIterator[AsyncIterator[Any]]:
        async def events() -> AsyncIterator[Any]:
            await asyncio.Event().wait()
            yield

        yield events()


async def test_a_start_with_many_watched_namespaces_takes_time_in_proportion() -> None:
    """With 200 the event loop was busy for minutes: each answer had all watches looked at for each."""
    namespaces = tuple(f"team-{number}" for number in range(100))
    store = Store(lambda change: None)
    streams = fleet.reflectors(cast(Kube, Empty()), store, namespaces, lambda kind, why: None)
    gate = asyncio.create_task(fleet.led_and_in_sync(cast(Any, Leadership(leading=True)), store, namespaces))
    began = time.thread_time()
    tasks = [asyncio.create_task(stream.run()) for stream in streams]
    async with asyncio.timeout(60):
        await gate
        while store.stale():
            await store.changed()
    assert time.thread_time() - began < 2.0
    assert store.stale() == ()
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
