"""A process whose token has expired can never lead, and says so at /readyz."""

from __future__ import annotations

import asyncio

from tacho_operator.core.election import RENEW_DEADLINE_SECONDS
from tacho_operator.shell.api_errors import ApiError, Forbidden
from tests.wiring.test_lease import LeaseServer, elector, running, until, without_waiting


@without_waiting
async def test_a_standby_whose_token_has_expired_is_not_ready() -> None:
    """Its watches went on, and /readyz was 200 until the API server ended them."""
    server = LeaseServer()
    leader, standby = elector(server, "a"), elector(server, "b")

    async def waits(_: asyncio.Task[None]) -> None:
        await until(lambda: standby.leader_address() == "a:9401")
        server.fails = ApiError(401, "Unauthorized")
        began = asyncio.get_running_loop().time()
        await until(lambda: bool(standby.unauthorized()))
        assert asyncio.get_running_loop().time() - began >= RENEW_DEADLINE_SECONDS
        assert "401" in standby.unauthorized()[0]
        server.fails = None
        await until(lambda: not standby.unauthorized())

    async def leads(_: asyncio.Task[None]) -> None:
        await leader.led()
        await running(standby, waits)

    await running(leader, leads)


@without_waiting
async def test_another_refusal_says_nothing_about_the_token() -> None:
    server = LeaseServer(fails=Forbidden(403, "no"))
    one = elector(server, "a")

    async def waits(_: asyncio.Task[None]) -> None:
        await asyncio.sleep(3 * RENEW_DEADLINE_SECONDS)
        assert not one.unauthorized()

    await running(one, waits)


@without_waiting
async def test_silence_after_one_refusal_says_nothing_about_the_token() -> None:
    server = LeaseServer()
    leader, standby = elector(server, "a"), elector(server, "b")

    async def waits(_: asyncio.Task[None]) -> None:
        await until(lambda: standby.leader_address() == "a:9401")
        server.fails = ApiError(401, "Unauthorized")
        await asyncio.sleep(RENEW_DEADLINE_SECONDS / 2)
        server.fails = TimeoutError()
        await asyncio.sleep(2 * RENEW_DEADLINE_SECONDS)
        assert not standby.unauthorized()
        server.fails = None

    async def leads(_: asyncio.Task[None]) -> None:
        await leader.led()
        await running(standby, waits)

    await running(leader, leads)
