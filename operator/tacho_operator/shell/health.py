"""Readiness over HTTP: the workers move, and what is known is up to date."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager

from aiohttp import web


@asynccontextmanager
async def readiness_server(
    port: int, *, hanging: Callable[[], str], stale: Callable[[], Sequence[str]]
) -> AsyncIterator[None]:
    """/readyz for as long as the block lasts; 503 says why in plain text."""

    async def ready(_: web.Request) -> web.Response:
        return _answer("\n".join([*filter(None, [hanging()]), *stale()]))

    application = web.Application()
    application.add_routes([web.get("/readyz", ready)])
    runner = web.AppRunner(application, access_log=None)
    await runner.setup()
    try:
        await web.TCPSite(runner, port=port).start()
        yield
    finally:
        await runner.cleanup()


def _answer(why: str) -> web.Response:
    return web.Response(status=503 if why else 200, text=f"{why or 'ok'}\n")
