"""Events are posted beside the reconciles: a webhook that is late for them keeps no status as it was."""

from __future__ import annotations

import asyncio
from typing import Any, cast

import pytest

from tacho_operator.core.types import ResourceEvent
from tacho_operator.shell import events as module
from tacho_operator.shell.api_errors import Conflict
from tacho_operator.shell.events import EventPosts
from tacho_operator.shell.kube import Kube
from tests.wiring.reconciling import KEY, Server, reconciler
from tools.harness.resources import NOW
from tools.harness.world import World

RAW = World(resourceVersion="1").raw


def another(uid: str, namespace: str = "ml") -> dict[str, Any]:
    return {**RAW, "metadata": {**RAW["metadata"], "uid": uid, "namespace": namespace}}


def event(message: str) -> list[ResourceEvent]:
    return [ResourceEvent(type="Normal", reason="Serving", message=message)]


class LateEvents:
    """An API server whose webhook answers for no event of ``ml`` until it is told to."""

    def __init__(self) -> None:
        self.answers = asyncio.Event()
        self.asked: list[str] = []
        self.posted: list[str] = []

    async def create(self, manifest: dict[str, Any]) -> dict[str, Any]:
        self.asked.append(manifest["message"])
        if manifest["metadata"]["namespace"] == "ml":
            await self.answers.wait()
        self.posted.append(manifest["message"])
        return manifest


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PATIENCE_SECONDS", 0.05)


async def test_a_reconcile_ends_before_an_event_that_hangs(monkeypatch: pytest.MonkeyPatch) -> None:
    """With 28 s for an event, Ready was True for 28 s beside a pod that was not."""
    world = World(resourceVersion="1")
    world.claims = {"models": None}
    server, hanging = Server(world), asyncio.Event()
    server.refuses = False

    async def create(manifest: dict[str, Any]) -> None:
        server.created.append(manifest["kind"])
        await hanging.wait()

    monkeypatch.setattr(server, "create", create)
    async with asyncio.timeout(5):
        await reconciler(server)(KEY)
    assert server.created == ["Event"]
    assert server.status["conditions"]


async def test_late_events_are_posted_in_their_order_and_delay_no_other_namespace() -> None:
    server = LateEvents()
    posts = EventPosts(cast(Kube, server))
    async with asyncio.timeout(5):
        for number in range(3):
            await posts.post(RAW, event(str(number)), NOW)
        await posts.post(another("u2"), event("another"), NOW)
        await posts.post(another("u3", "honest"), event("elsewhere"), NOW)
    assert server.posted == ["elsewhere"]
    assert server.asked == ["0", "another", "elsewhere"], "of a resource one after the other"
    server.answers.set()
    await asyncio.sleep(0.05)
    assert [message for message in server.posted if message.isdigit()] == ["0", "1", "2"]
    assert (posts._last, posts._waiting) == ({}, {})


async def test_events_that_hang_take_few_requests_and_bounded_memory(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(module, "PATIENCE_SECONDS", 0.0)
    server = LateEvents()
    posts = EventPosts(cast(Kube, server))
    for number in range(module.MOST_WAITING + 5):
        await posts.post(another(f"u{number}"), event(str(number)), NOW)
    await asyncio.sleep(0.01)
    assert len(server.asked) == module.NAMESPACE_AT_ONCE
    assert caplog.text.count("left out") == 5
    server.answers.set()
    await asyncio.sleep(0.05)
    assert len(server.posted) == module.MOST_WAITING


async def test_events_that_hang_in_many_namespaces_take_a_bounded_number_of_connections(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A webhook of the whole cluster may hang for events: four a namespace were thousands of connections."""
    monkeypatch.setattr(module, "PATIENCE_SECONDS", 0.0)
    server, hanging = LateEvents(), asyncio.Event()

    async def create(manifest: dict[str, Any]) -> None:
        server.asked.append(manifest["message"])
        await hanging.wait()

    monkeypatch.setattr(server, "create", create)
    posts = EventPosts(cast(Kube, server))
    for number in range(3 * module.AT_ONCE):
        await posts.post(another(f"u{number}", f"ns-{number}"), event(str(number)), NOW)
    await asyncio.sleep(0.01)
    assert len(server.asked) == module.AT_ONCE
    hanging.set()
    await asyncio.sleep(0.05)
    assert len(server.asked) == 3 * module.AT_ONCE


async def test_the_end_of_the_process_leaves_out_what_waits(caplog: pytest.LogCaptureFixture) -> None:
    """The client is closed next: each of a hundred events would log an error of its own."""
    server = LateEvents()
    posts = EventPosts(cast(Kube, server))
    running = asyncio.create_task(posts.run())
    for number in range(2 * module.NAMESPACE_AT_ONCE):
        await posts.post(RAW if number % 2 else another(f"u{number}"), event(str(number)), NOW)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    server.answers.set()
    await asyncio.sleep(0.01)
    assert (server.posted, posts._postings, posts._last, posts._waiting) == ([], set(), {}, {})
    assert caplog.text == ""


async def test_an_answer_of_other_types_is_logged_and_ends_no_later_posting(
    caplog: pytest.LogCaptureFixture,
) -> None:
    class Odd(LateEvents):
        async def create(self, manifest: dict[str, Any]) -> dict[str, Any]:
            raise Conflict(409, "already exists")

        async def merge(self, _target: object, _body: object) -> dict[str, Any]:
            self.posted.append("merged")
            return {"count": "x"}

    server = Odd()
    posts = EventPosts(cast(Kube, server))
    for _ in range(2):
        await posts.post(RAW, event("a"), NOW)
        await asyncio.sleep(0)
    assert caplog.text.count("events were not posted") == 2
    assert server.posted == ["merged", "merged"]


async def test_an_event_whose_count_was_edited_to_the_highest_is_written_on() -> None:
    """The API server refused each later one: its count was above the highest of an int32."""
    stored: dict[str, Any] = {"count": 2**31 - 1, "series": {"count": 2**31 - 1}}

    class Taken:
        async def create(self, _: dict[str, Any]) -> None:
            raise Conflict(409, "it exists")

        async def merge(self, _: dict[str, Any], patch: dict[str, Any]) -> dict[str, Any]:
            stored.update(patch)
            return stored

    await module.post_events(cast(Kube, Taken()), module.event_manifests(RAW, event("again"), NOW))
    assert (stored["count"], stored["series"]["count"]) == (2**31 - 1, 2**31 - 1)
    assert stored["series"]["lastObservedTime"]
    assert stored["message"] == "again"
