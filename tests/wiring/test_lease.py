"""The elector's loop: it takes, keeps, loses and releases a Lease, whatever the API server answers."""

from __future__ import annotations

import asyncio
import copy
import functools
import selectors
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from typing import Any, cast

import pytest

from tacho_operator.core.election import RENEW_DEADLINE_SECONDS, Candidate, holder_of
from tacho_operator.core.names import DEPLOYMENT_LABEL
from tacho_operator.shell import lease as module
from tacho_operator.shell.api_errors import ApiError, Conflict, Fenced, Forbidden
from tacho_operator.shell.kube import Kube
from tacho_operator.shell.lease import Elector, LeaseLost, LeasePlace

PLACE = LeasePlace(namespace="tacho-system", name="tacho", trial_namespace="ml")


@dataclass
class LeaseServer:
    """An API server of one Lease, with what may go wrong."""

    lease: dict[str, Any] | None = None
    version: int = 0
    fails: Exception | None = None
    silent: bool = False
    loses_answer: int = 0
    """Which write is accepted without an answer."""
    trials: list[ApiError] = field(default_factory=list)
    """What the next trials meet, the first one first."""
    trial_hangs: bool = False
    """As with a webhook that does not answer."""
    drops: bool = False
    """Whether the next request meets a connection that the network has dropped silently."""
    seconds: float = 0.0
    """How long each answer takes."""

    async def get(self, kind: str, namespace: str, name: str) -> dict[str, Any] | None:
        assert (kind, namespace, name) == ("Lease", PLACE.namespace, PLACE.name)
        await self._answer()
        return copy.deepcopy(self.lease)

    async def create(self, manifest: dict[str, Any]) -> dict[str, Any]:
        assert self.lease is None
        return await self._store(manifest)

    async def replace(self, manifest: dict[str, Any]) -> dict[str, Any]:
        if manifest["metadata"]["resourceVersion"] != str(self.version):
            raise Conflict(409, "the object has been modified")
        return await self._store(manifest)

    async def try_create(self, manifest: dict[str, Any]) -> None:
        metadata = manifest["metadata"]
        assert metadata["namespace"] == PLACE.trial_namespace
        assert DEPLOYMENT_LABEL in metadata["labels"], "else the policy does not match it"
        assert [item["kind"] for item in metadata["ownerReferences"]] == ["LLMDeployment"]
        await self._answer()
        if self.trial_hangs:
            await asyncio.Event().wait()
        if self.trials:
            raise self.trials.pop(0)

    async def _store(self, manifest: dict[str, Any]) -> dict[str, Any]:
        await self._answer()
        self.version += 1
        metadata = {**manifest["metadata"], "resourceVersion": str(self.version)}
        self.lease = {**copy.deepcopy(manifest), "metadata": metadata}
        if self.version == self.loses_answer:
            await asyncio.Event().wait()
        return copy.deepcopy(self.lease)

    async def _answer(self) -> None:
        dropped, self.drops = self.drops, False
        await asyncio.sleep(self.seconds)
        if self.silent or dropped:
            await asyncio.Event().wait()
        if self.fails is not None:
            raise self.fails


class Idle(selectors.DefaultSelector):
    """Waits for nothing: where a loop would, the clock goes on by that time."""

    def __init__(self) -> None:
        super().__init__()
        self.seconds = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        self.seconds += timeout or 0
        return super().select(0)


def without_waiting(test: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., None]:
    """``test`` in a loop of the elector's clock: a slow machine changes no order, and nothing takes long."""

    @functools.wraps(test)
    def run(*arguments: Any, **named: Any) -> None:
        clock = Idle()
        loop = asyncio.SelectorEventLoop(clock)
        with pytest.MonkeyPatch.context() as patched:
            patched.setattr(loop, "time", lambda: clock.seconds)
            patched.setattr(module, "monotonic", loop.time)
            with asyncio.Runner(loop_factory=lambda: loop) as runner:
                runner.run(test(*arguments, **named))

    return run


def elector(server: LeaseServer, identity: str) -> Elector:
    candidate = Candidate(identity=identity, address=f"{identity}:9401")
    return Elector(cast(Kube, server), candidate, PLACE, now)


def now() -> datetime:
    return datetime(2026, 1, 1, tzinfo=timezone.utc) + timedelta(seconds=asyncio.get_running_loop().time())


async def running(
    one: Elector, then: Callable[[asyncio.Task[None]], Awaitable[None]], seconds: float = 60
) -> None:
    task = asyncio.create_task(one.run())
    try:
        async with asyncio.timeout(seconds):
            await then(task)
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def until(seen: Callable[[], bool]) -> None:
    while not seen():
        await asyncio.sleep(0.05)


@without_waiting
async def test_it_leads_after_the_api_server_took_a_write_and_releases_at_its_end() -> None:
    server = LeaseServer(trials=[Fenced(403, "late"), Fenced(403, "late"), Forbidden(403, "another policy")])
    one = elector(server, "a")

    async def leads(task: asyncio.Task[None]) -> None:
        assert not one.leads()
        await one.led()
        assert (server.trials, holder_of(server.lease), one.leader_address()) == ([], "a", "")

    await running(one, leads)
    assert holder_of(server.lease) == ""
    assert not one.leads()


@without_waiting
async def test_a_lease_of_other_types_ends_nothing() -> None:
    server = LeaseServer(lease={"metadata": {"resourceVersion": "0"}, "spec": ["x"]})
    one = elector(server, "a")

    async def repaired(task: asyncio.Task[None]) -> None:
        await asyncio.sleep(5)
        assert not one.leads()
        server.lease = None
        await one.led()

    await running(one, repaired)


@pytest.mark.parametrize("write", [1, 2])
@without_waiting
async def test_a_write_under_way_at_the_end_is_released_too(write: int) -> None:
    server = LeaseServer(loses_answer=write)

    async def accepted(task: asyncio.Task[None]) -> None:
        await until(lambda: server.version == write)

    await running(elector(server, "a"), accepted)
    assert holder_of(server.lease) == ""


@without_waiting
async def test_a_standby_knows_the_leader_and_follows_a_released_or_an_expired_lease() -> None:
    server = LeaseServer()
    one, two, three = (elector(server, name) for name in "abc")

    async def third(task: asyncio.Task[None]) -> None:
        await two.led()
        server.fails = ApiError(0, "its node is cut off")
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        assert holder_of(server.lease) == "b"
        server.fails = None
        await running(three, lambda task: three.led())

    async def first(task: asyncio.Task[None]) -> None:
        await one.led()
        standby = asyncio.create_task(two.run())
        await until(lambda: two.leader_address() == "a:9401")
        assert not two.leads()
        standby.cancel()
        task.cancel()
        await asyncio.gather(task, standby, return_exceptions=True)
        await running(two, third)

    await running(one, first)


@pytest.mark.parametrize("silent", [False, True])
@without_waiting
async def test_a_leader_without_an_api_server_begins_nothing_and_leads_on_when_nothing_else_has(
    silent: bool,
) -> None:
    server = LeaseServer()
    one = elector(server, "a")

    async def leads(task: asyncio.Task[None]) -> None:
        await one.led()
        server.silent, server.fails = silent, None if silent else ApiError(0, "no answer")
        await until(lambda: not one.leads())
        assert not task.done(), "a restart mends no API server"
        server.silent, server.fails = False, None
        await one.led()

    await running(one, leads)


@without_waiting
async def test_a_dropped_connection_leaves_a_slow_api_server_time_for_the_next_try() -> None:
    server = LeaseServer()
    one = elector(server, "a")

    async def then(task: asyncio.Task[None]) -> None:
        await one.led()
        server.drops, server.seconds = True, 1.2
        until_seconds = asyncio.get_running_loop().time() + RENEW_DEADLINE_SECONDS + 2
        while asyncio.get_running_loop().time() < until_seconds:
            assert one.leads()
            assert not task.done()
            await asyncio.sleep(0.1)

    await running(one, then)


@without_waiting
async def test_an_answer_after_none_is_told_once_as_watches_may_be_dead_too() -> None:
    server, told = LeaseServer(), list[float]()
    candidate = Candidate(identity="a")
    one = Elector(cast(Kube, server), candidate, PLACE, now, on_answer_again=told.append)

    async def then(_: asyncio.Task[None]) -> None:
        await one.led()
        assert not told
        server.silent = True
        await asyncio.sleep(20)
        assert not told
        server.silent = False
        await asyncio.sleep(20)
        (seconds,) = told
        assert 15 < seconds < 25

    await running(one, then)


@without_waiting
async def test_a_leader_that_reads_of_another_ends_and_leaves_the_lease_alone() -> None:
    server = LeaseServer()
    one = elector(server, "a")

    async def leads(task: asyncio.Task[None]) -> None:
        await one.led()
        assert server.lease is not None
        server.lease["spec"]["holderIdentity"] = "b"
        with pytest.raises(LeaseLost, match="b holds the Lease"):
            await task
        assert not one.leads()

    await running(one, leads)
    assert holder_of(server.lease) == "b"


@without_waiting
async def test_a_leader_whose_writes_are_refused_for_ever_ends_and_says_why() -> None:
    server = LeaseServer(trials=[Fenced(403, "policy: no pod name")] * 10_000)
    one = elector(server, "a")

    async def refused(task: asyncio.Task[None]) -> None:
        with pytest.raises(LeaseLost, match="policy: no pod name"):
            await task

    await running(one, refused)


@without_waiting
async def test_a_leader_whose_writes_are_refused_later_ends_too() -> None:
    server = LeaseServer()
    one = elector(server, "a")

    async def refused(task: asyncio.Task[None]) -> None:
        await one.led()
        server.trials = [Fenced(403, "the policy was changed")] * 10
        await asyncio.sleep(2 * module.TRIAL_AGAIN_SECONDS)
        assert one.leads(), "a policy that sees the Lease late ends no leader"
        assert server.trials == []
        server.trials = [Fenced(403, "the policy was changed")] * 10_000
        with pytest.raises(LeaseLost, match="the policy was changed"):
            await task

    await running(one, refused, 300)


@without_waiting
async def test_it_leads_not_before_a_trial_was_answered() -> None:
    server = LeaseServer(trials=[ApiError(503, "overloaded") for _ in range(3)])
    one = elector(server, "a")

    async def leads(task: asyncio.Task[None]) -> None:
        await one.led()
        assert server.trials == []

    await running(one, leads)


@without_waiting
async def test_a_refusal_that_is_not_the_fences_holds_nobody_up_and_is_told(
    caplog: pytest.LogCaptureFixture,
) -> None:
    one = elector(LeaseServer(trials=[Forbidden(403, "another policy")]), "a")
    caplog.set_level("INFO", module.__name__)

    async def leads(task: asyncio.Task[None]) -> None:
        async with asyncio.timeout(1):
            await one.led()
        (line,) = caplog.messages
        assert line.startswith("a leads; whether its writes are accepted is not known: ")
        assert "another policy" in line
        caplog.clear()
        await asyncio.sleep(module.TRIAL_AGAIN_SECONDS + 5)
        assert caplog.messages == ["a leads"]

    await running(one, leads, 100)


@pytest.mark.parametrize("error", [429, 500, 0, None])
@without_waiting
async def test_a_trial_without_a_verdict_holds_nobody_up_for_ever(error: int | None) -> None:
    """The 500 and the silence are what a webhook of ConfigMaps without a server makes of it."""
    server = LeaseServer(trial_hangs=error is None)
    server.trials = [] if error is None else [ApiError(error, "failed calling webhook")] * 10_000
    one = elector(server, "a")
    began = module.monotonic()

    async def leads(task: asyncio.Task[None]) -> None:
        await one.led()
        passed = module.monotonic() - began
        assert RENEW_DEADLINE_SECONDS <= passed < 2 * RENEW_DEADLINE_SECONDS
        until_next = module.monotonic() + 3 * module.TRIAL_AGAIN_SECONDS
        while module.monotonic() < until_next:
            await asyncio.sleep(0.1)
            assert one.leads(), "the Lease is renewed meanwhile"

    await running(one, leads, 300)


@pytest.mark.parametrize("error", [Fenced(403, "not yet"), ApiError(503, "overloaded")])
@without_waiting
async def test_what_a_trial_met_before_a_time_without_leading_counts_no_longer(error: ApiError) -> None:
    """The time counted: a leader ended at the first refusal, and led at the first trial without an answer."""
    server = LeaseServer(trials=[error] * 10_000)
    one = elector(server, "a")

    async def leads(task: asyncio.Task[None]) -> None:
        await asyncio.sleep(RENEW_DEADLINE_SECONDS / 2)
        server.silent = True
        await asyncio.sleep(3 * RENEW_DEADLINE_SECONDS)
        server.silent, server.trials = False, [error] * 10_000
        await until(lambda: len(server.trials) < 10_000)
        await asyncio.sleep(RENEW_DEADLINE_SECONDS / 2)
        assert not task.done()
        assert not one.leads()
        server.trials = []
        await one.led()

    await running(one, leads)


@without_waiting
async def test_a_slow_answer_makes_no_lead_longer() -> None:
    """Another process counts from the renewal, which the API server may have stored at once."""

    class Slow(LeaseServer):
        async def _answer(self) -> None:
            await asyncio.sleep(1)

    one = elector(Slow(), "a")
    began = module.monotonic()
    await one._read_and_write()
    assert module.monotonic() == began + 2
    assert one._candidate.leads_until == began + RENEW_DEADLINE_SECONDS
