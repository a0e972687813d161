"""Every write is awaited, and nothing that no watch will ever show."""

from __future__ import annotations

import asyncio
from typing import Any, cast

from tacho_operator.core.names import DEPLOYMENT_LABEL
from tacho_operator.shell.kube import Kube
from tacho_operator.shell.store.expectations import Expectation, RecordingClient, seen
from tacho_operator.shell.store.store import Store

LIVE = {"kind": "ConfigMap", "metadata": {"name": "live", "namespace": "ml"}}


class Server:
    """Answers each write with the object as it is then."""

    def __init__(self) -> None:
        self.found: dict[str, Any] | None = None

    async def write(self, manifest: dict[str, Any], *_: Any, **__: Any) -> dict[str, Any]:
        return {"metadata": {**manifest["metadata"], "uid": "u", "resourceVersion": "8"}}  # lists say no kind

    create = apply = annotate = write

    async def delete(self, *_: Any, uid: str, version: str) -> bool:
        return uid == "u"

    async def get(self, *_: Any) -> dict[str, Any] | None:
        return self.found


def noting() -> tuple[RecordingClient, Server]:
    server = Server()
    return RecordingClient(cast(Kube, server)), server


async def test_what_is_written_is_awaited_in_its_last_state() -> None:
    after = [Expectation("ConfigMap", "ml", "live", "u", "8")]
    kube, _ = noting()
    await kube.create(LIVE)
    assert list(kube.written.values()) == after
    kube, _ = noting()
    await kube.apply(LIVE, uid="u")
    assert list(kube.written.values()) == after
    kube, _ = noting()
    await kube.annotate(LIVE, {"a": "b"})
    assert list(kube.written.values()) == after
    await kube.delete("ConfigMap", "ml", "live", uid="u")
    assert list(kube.written.values()) == [Expectation("ConfigMap", "ml", "live", "u", "")]
    kube, _ = noting()
    await kube.delete("ConfigMap", "ml", "live", uid="kept by a webhook")
    assert kube.written == {}, "it may stay for ever, and its resource would never be reconciled again"


async def test_what_was_read_live_is_awaited_where_a_watch_will_show_it() -> None:
    kube, server = noting()
    metadata = {"name": "live", "namespace": "ml", "uid": "u", "resourceVersion": "8"}
    server.found = {"metadata": metadata}
    assert await kube.get("ConfigMap", "ml", "live") == server.found
    assert kube.written == {}, "a stranger's object is in no stream"
    server.found = {"metadata": {**metadata, "labels": {DEPLOYMENT_LABEL: "smol"}}}
    await kube.get("ConfigMap", "ml", "live")
    assert list(kube.written.values()) == [Expectation("ConfigMap", "ml", "live", "u", "8")]


def test_a_stream_of_one_namespace_shows_what_was_written_there() -> None:
    store = Store(lambda change: None)
    store.at("ConfigMap", "other", "9")
    assert not Expectation("ConfigMap", "ml", "live", "u", "8").seen(store)
    store.at("ConfigMap", "ml", "8")
    assert Expectation("ConfigMap", "ml", "live", "u", "8").seen(store)


def resource(uid: str, version: str) -> dict[str, Any]:
    metadata = {"name": "smol", "namespace": "ml", "uid": uid, "resourceVersion": version}
    return {"metadata": metadata, "spec": {}}


WRITTEN = Expectation("LLMDeployment", "ml", "smol", "uid-first", "8")


def test_a_write_to_an_object_that_was_replaced_is_seen() -> None:
    store = Store(lambda change: None)
    store.put("LLMDeployment", resource("uid-first", "7"))
    store.at("LLMDeployment", "", "7")
    assert not WRITTEN.seen(store)
    store.put("LLMDeployment", resource("uid-second", "9"))
    store.at("LLMDeployment", "", "9")
    assert WRITTEN.seen(store)
    assert not Expectation("LLMDeployment", "ml", "smol", "uid-second", "10").seen(store)


async def test_thousands_of_deletions_are_not_looked_at_again_for_each_event() -> None:
    """Those of 2,000 pods that end slowly took all of the event loop for 10 s."""
    store, looks = Store(lambda change: None), 0
    leaving = store.leaving

    def looked(kind: str, namespace: str, name: str) -> bool:
        nonlocal looks
        looks += 1
        return leaving(kind, namespace, name)

    store.leaving = looked  # type: ignore[method-assign]  # each look is counted
    names = [str(number) for number in range(100)]
    for name in names:
        store.put("LLMDeployment", {"metadata": metadata_of(name), "spec": {}})
    expected = tuple(Expectation("LLMDeployment", "ml", name, name, "") for name in names)
    waiting = asyncio.create_task(seen(store, expected, 5.0))
    for name in names:
        await asyncio.sleep(0)
        ending = metadata_of(name) | {"resourceVersion": "8", "deletionTimestamp": "2026-01-01T00:00:00Z"}
        store.put("LLMDeployment", {"metadata": ending, "spec": {}})
    assert await waiting
    assert looks <= 2 * len(names)


def metadata_of(name: str) -> dict[str, Any]:
    return {"name": name, "namespace": "ml", "uid": name, "resourceVersion": "7"}
