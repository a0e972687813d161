"""A watch that is ended because its connection may have been dropped."""

from __future__ import annotations

import asyncio
from typing import cast

import pytest

from tacho_operator.shell.kube import Kube
from tacho_operator.shell.lease import REQUESTS_SECONDS
from tacho_operator.shell.probed_socket import IDLE_SECONDS
from tacho_operator.shell.store import reflector
from tacho_operator.shell.store.reflector import Reflector, WatchScope
from tacho_operator.shell.store.store import Store
from tests.wiring.test_reflector import Server, names, thing, until


def test_no_connection_that_was_idle_before_the_silence_is_used_after_it() -> None:
    assert IDLE_SECONDS < REQUESTS_SECONDS


async def test_a_silent_watch_begins_anew_where_it_was_and_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("FIRST_BACKOFF_SECONDS", "SETTLE_SECONDS"):
        monkeypatch.setattr(reflector, name, 0.001)
    server, ends = Server([("ADDED", thing("c", "12")), 3600.0]), list[str]()
    store = Store(lambda change: None)
    stream = Reflector(
        cast(Kube, server),
        store,
        WatchScope("Service"),
        lists=asyncio.Semaphore(1),
        on_reconnect=lambda kind, why: ends.append(why),
    )
    stream.begin_anew(0.0)  # nothing to end yet
    task = asyncio.create_task(stream.run())
    await until(lambda: names(store) == {"a", "b", "c"})
    stream.begin_anew(3600.0)
    await asyncio.sleep(0.01)
    assert server.since == ["10"]
    stream.begin_anew(0.0)
    await until(lambda: server.since == ["10", "12"])
    await until(lambda: not store.stale())
    assert (server.lists, ends) == (1, ["broken"])
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
