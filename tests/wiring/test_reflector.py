"""A stream that breaks goes on where it was, or from a new list; meanwhile it says that it may be old."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from typing import Any, cast

import pytest

from tacho_operator.shell.api_errors import ApiError, Expired, Forbidden, Missing
from tacho_operator.shell.kube import Event, Kube, Page
from tacho_operator.shell.store import reflector as module
from tacho_operator.shell.store.reflector import EtcdRestored, Reflector, WatchScope
from tacho_operator.shell.store.store import Store
from tests.wiring.storing import thing

Script = list[Event | Exception | float]
"""What happens, and for how many seconds nothing does."""


class Server:
    """Lists what it holds; each watch plays the next script, the last one goes on for ever."""

    def __init__(self, *watches: Script) -> None:
        self.held = [[thing("a")], [thing("b")]]
        self.held_later = self.held
        """From the second list on."""
        self.now = "1000"
        """The version that a list would have."""
        self.refusals: list[Exception] = []
        self.lists = 0
        self.versions: list[str] = []
        """Of the next pages."""
        self.since: list[str] = []
        self._watches = list(watches)

    async def pages(self, kind: str, *_: Any) -> AsyncIterator[Page]:
        if self.refusals:
            raise self.refusals.pop(0)
        self.lists += 1
        for items in self.held_later if self.lists > 1 else self.held:
            yield Page(items, self.versions.pop(0) if self.versions else str(10 * self.lists))

    async def version(self, *_: Any) -> str:
        return self.now

    @contextlib.asynccontextmanager
    async def watch(
        self, kind: str, namespace: str | None, selector: str, version: str
    ) -> AsyncIterator[AsyncIterator[Event]]:
        self.since.append(version)
        yield self._events()

    async def _events(self) -> AsyncIterator[Event]:
        if not self._watches:
            await asyncio.Event().wait()
        for step in self._watches.pop(0):
            if isinstance(step, Exception):
                raise step
            if isinstance(step, float):
                await asyncio.sleep(step)
                continue
            yield step


@contextlib.asynccontextmanager
async def reflecting(server: Server, *, optional: bool = False) -> AsyncIterator[tuple[Store, list[str]]]:
    store, ends = Store(lambda change: None), list[str]()
    stream = Reflector(
        cast(Kube, server),
        store,
        WatchScope("Service", optional=optional),
        lists=asyncio.Semaphore(1),
        on_reconnect=lambda kind, why: ends.append(why),
    )
    task = asyncio.create_task(stream.run())
    try:
        yield store, ends
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("FIRST_BACKOFF_SECONDS", "REFUSED_SECONDS", "SETTLE_SECONDS", "SHORTEST_WATCH_SECONDS"):
        monkeypatch.setattr(module, name, 0.001)


async def until(true: Callable[[], object]) -> None:
    async with asyncio.timeout(5):
        while not true():
            await asyncio.sleep(0.001)


def names(store: Store) -> set[str]:
    return {name for _, name in store._kinds["Service"].by_name}


ILL_TYPED: list[dict[str, Any]] = [
    {"metadata": {"name": 5, "uid": "u", "resourceVersion": "11"}},
    {"metadata": {"name": "c", "namespace": None, "uid": "u", "resourceVersion": "11"}},
    {"metadata": {"name": "c", "uid": ["u"], "resourceVersion": "11"}},
    {"metadata": {"name": "c", "uid": "u", "resourceVersion": "11", "labels": ["x"]}},
    {"metadata": {"name": "c", "uid": "u", "resourceVersion": "11", "ownerReferences": ["x"]}},
]


@pytest.mark.parametrize("broken", ILL_TYPED)
async def test_an_object_whose_fields_have_other_types_is_left_out_and_no_other(
    broken: dict[str, Any],
) -> None:
    """It ended the process, and again at each start."""
    server = Server([("ADDED", broken), ("ADDED", thing("d", "12")), 60.0])
    server.held = [[thing("a"), broken], [thing("b")]]
    async with reflecting(server) as (store, _):
        await until(lambda: {"a", "b", "d"} <= names(store) and not store.stale())
        assert server.lists == 1


async def test_an_object_that_a_list_has_in_another_shape_is_gone() -> None:
    """What was known of it is no longer true."""
    server = Server([Expired(410, "too old")])
    other = thing("a", "15")
    other["metadata"]["ownerReferences"] = ["x"]
    server.held_later = [[other]]
    async with reflecting(server) as (store, _):
        await until(lambda: len(server.since) == 2 and not store.stale())
        assert names(store) == set()


async def test_an_answer_that_is_none_of_kubernetes_means_a_new_list_and_no_end() -> None:
    server = Server([("BOOKMARK", {"metadata": {}})])
    async with reflecting(server) as (store, ends):
        await until(lambda: server.lists == 2 and not store.stale())
        assert ends == ["broken"]


async def test_every_page_of_the_list_is_held_and_the_watch_goes_on_from_it() -> None:
    server = Server()
    async with reflecting(server) as (store, _):
        assert store.stale(), "nothing is known yet"
        await until(lambda: not store.stale())
        assert names(store) == {"a", "b"}
        assert server.since == ["10"]


async def test_a_watch_that_ends_goes_on_from_its_last_event_without_a_list() -> None:
    server = Server(
        [("ADDED", thing("c", "12")), ("DELETED", thing("a", "13")), ("BOOKMARK", thing("", "20"))]
    )
    async with reflecting(server) as (store, ends):
        await until(lambda: len(server.since) == 2 and not store.stale())
        assert server.since == ["10", "20"]
        assert server.lists == 1
        assert names(store) == {"b", "c"}
        assert ends == ["ended"]


async def test_too_old_a_version_means_a_new_list_and_what_it_lacks_is_gone() -> None:
    server = Server([Expired(410, "too old")])
    server.held_later = [[thing("b", "15")]]
    async with reflecting(server) as (store, ends):
        await until(lambda: len(server.since) == 2 and not store.stale())
        assert server.since == ["10", "20"]
        assert names(store) == {"b"}
        assert ends == ["expired"]


async def test_after_an_outage_a_version_that_is_too_old_is_listed_without_a_pause(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The refused connections before it have made pauses long; a second one in a row does wait."""
    away = ApiError(0, "no answer")
    server = Server([away], [away], [Expired(410, "too old")], [Expired(410, "too old")])
    monkeypatch.setattr(module, "pause_seconds", lambda failures, _: 0.001 if failures < 3 else 3600.0)
    async with reflecting(server) as (_, ends):
        await until(lambda: len(server.since) == 4 and len(ends) == 4)
        assert ends == ["broken", "broken", "expired", "broken"]
        assert server.lists == 2


@pytest.mark.parametrize(
    ("run", "lasting", "pauses"),
    [
        ([0.01], 3600.0, [1, 2, 3]),
        ([0.01], 0.001, []),
        ([("BOOKMARK", thing("", "900"))], 3600.0, []),
        ([("MODIFIED", thing("a", "900"))], 3600.0, []),
        ([("MODIFIED", thing("a", "10")), 0.01], 3600.0, [1, 2, 3]),
    ],
    ids=["nothing", "it lasts", "a bookmark", "a change", "what it had before"],
)
async def test_versions_that_are_too_old_after_each_short_watch_are_not_listed_every_second(
    run: Script, lasting: float, pauses: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    old, asked = Expired(410, "too old"), list[int]()
    server = Server([old], *(script for _ in range(3) for script in (run, [old])))
    server.versions = ["10"] * 8
    monkeypatch.setattr(module, "LASTING_SECONDS", lasting)
    monkeypatch.setattr(module, "pause_seconds", lambda failures, _: asked.append(failures) or 0.001)
    monkeypatch.setattr(module, "check_not_older", lambda *_: None)
    async with reflecting(server):
        await until(lambda: len(server.since) == 8)
        assert asked == pauses


async def test_while_it_is_broken_it_says_so_and_why() -> None:
    server = Server([ApiError(0, "no answer")])
    async with reflecting(server) as (store, ends):
        said: list[str] = []
        await until(lambda: said.extend(store.stale()) or len(server.since) == 2)
        assert any("no answer" in line for line in said)
        await until(lambda: not store.stale())
        assert server.since == ["10", "10"], "nothing is listed anew for a cut connection"
        assert ends == ["broken"]


async def test_an_api_server_that_went_back_in_time_ends_the_stream() -> None:
    """etcd was restored from a backup. A watch from a version to come would be granted and say nothing, and
    objects as they are again would be taken for older than what is held."""
    server = Server([("ADDED", thing("c", "50")), ApiError(0, "no answer")])
    server.now = "49"
    with pytest.raises(EtcdRestored, match="at version 49 and was at 50"):
        await following(server)
    assert server.since == ["10"]


async def test_a_list_that_went_back_in_time_ends_the_stream_too() -> None:
    server = Server([("ADDED", thing("c", "50")), Expired(410, "too old")])
    server.versions = ["10", "10", "20"]
    with pytest.raises(EtcdRestored, match="at version 20 and was at 50"):
        await following(server)


async def following(server: Server) -> None:
    """Until it ends by itself."""
    stream = Reflector(
        cast(Kube, server),
        Store(lambda change: None),
        WatchScope("Service"),
        lists=asyncio.Semaphore(1),
        on_reconnect=lambda kind, why: None,
    )
    async with asyncio.timeout(5):
        await stream.run()


async def test_an_api_server_that_has_not_moved_has_not_gone_back() -> None:
    server = Server([("ADDED", thing("c", "50")), ApiError(0, "no answer")])
    server.now = "50"
    async with reflecting(server) as (store, _):
        await until(lambda: len(server.since) == 2 and not store.stale())
        assert server.since == ["10", "50"]


async def test_a_list_that_is_refused_is_tried_again() -> None:
    server = Server()
    server.refusals = [Expired(410, "the continue token is too old"), ApiError(429, "slow down")]
    async with reflecting(server) as (store, _):
        await until(lambda: not store.stale())
        assert names(store) == {"a", "b"}


async def test_after_a_break_it_first_hears_what_happened_meanwhile(monkeypatch: pytest.MonkeyPatch) -> None:
    """The new stream has begun, and its first events are on their way."""
    server = Server([ApiError(0, "no answer")])
    async with reflecting(server) as (store, _):
        monkeypatch.setattr(module, "SETTLE_SECONDS", 3600.0)
        await until(lambda: len(server.since) == 2)
        await asyncio.sleep(0.01)
        assert store.stale()


@pytest.mark.parametrize(
    ("brought", "waits"),
    [([("ADDED", thing("c", "12"))], False), ([], True), ([("BOOKMARK", thing("", "20"))], True)],
    ids=["a change", "nothing", "a bookmark"],
)
async def test_only_a_short_watch_that_brought_nothing_waits(
    brought: Script, waits: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A busy API server ends a watch every second, and nothing is decided until the next one runs."""
    monkeypatch.setattr(module, "SHORTEST_WATCH_SECONDS", 30.0)
    server = Server(brought)
    async with reflecting(server) as (_, ends):
        await until(lambda: ends == ["ended"])
        for _ in range(20):
            await asyncio.sleep(0.001)
        assert (len(server.since) == 1) == waits


async def test_what_tells_the_same_change_again_and_again_is_not_hammered(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Something in between that holds a copy: only the first time it is a change."""
    monkeypatch.setattr(module, "SHORTEST_WATCH_SECONDS", 30.0)
    again: Script = [("ADDED", thing("c", "12"))]
    server = Server(again, again, again, again)
    async with reflecting(server) as (_, ends):
        await until(lambda: len(ends) == 2)
        for _ in range(20):
            await asyncio.sleep(0.001)
        assert len(server.since) == 2


async def test_a_list_that_is_to_come_later_comes_later(monkeypatch: pytest.MonkeyPatch) -> None:
    """For as long as the API server asks, however short its own pause would be."""
    slept: list[float] = []
    server = Server()
    server.refusals = [ApiError(429, "slow down", retry_after_seconds=40.0), ApiError(429, "slow down")]
    sleep = asyncio.sleep

    async def record(seconds: float) -> None:
        slept.append(seconds)
        await sleep(0)

    monkeypatch.setattr(module.asyncio, "sleep", record)
    async with reflecting(server) as (store, _):
        while store.stale():
            await sleep(0.001)
    pauses = [seconds for seconds in slept if seconds]
    assert 40 <= pauses[0] <= 80
    assert pauses[1] < 1


async def test_a_kind_that_is_not_there_is_awaited_and_listed_when_it_is() -> None:
    """The operator may start before its CRD is installed."""
    server = Server()
    server.refusals = [Missing(404, "Not Found")] * 2
    async with reflecting(server) as (store, _):
        said: list[str] = []
        await until(lambda: said.extend(store.stale()) or not store.stale())
        assert any("is its CRD installed?" in line for line in said)
        assert names(store) == {"a", "b"}


async def test_a_kind_that_went_and_came_back_is_listed_anew() -> None:
    server = Server([Missing(404, "Not Found")])
    server.held_later = [[thing("b", "15", uid="another")]]
    async with reflecting(server) as (store, _):
        await until(lambda: len(server.since) == 2 and not store.stale())
        assert server.since == ["10", "20"]
        assert store.find("Service", "ml", "a") is None
        assert store.find("Service", "ml", "b") == ("another", "15")


@pytest.mark.parametrize("times", [1, 1000])
async def test_what_need_not_be_read_is_unknown_where_refusals_last(times: int) -> None:
    """An API server that starts refuses everybody until it has read the roles."""
    server = Server()
    server.refusals = [Forbidden(403, "no"), ApiError(0, "away"), *[Forbidden(403, "no")] * times]
    async with reflecting(server, optional=True) as (store, _):
        await until(lambda: not store.stale())
        assert store.may_read("Service") == (times == 1)


async def test_what_has_to_be_read_and_may_not_be_holds_everything_up() -> None:
    server = Server()
    server.refusals = [Forbidden(403, "no")]
    async with reflecting(server) as (store, _):
        said: list[str] = []
        await until(lambda: said.extend(store.stale()) or server.lists)
        assert any("403: no" in line for line in said)
