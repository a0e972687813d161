"""How many requests begin in one iteration of the event loop, and of which clients."""

from __future__ import annotations

import asyncio
import functools
from typing import Protocol

from starlette.types import ASGIApp, Receive, Scope, Send

from tacho_server.connections import CONNECTION

BEGUN_AT_ONCE = 8
"""Requests that begin in one iteration of the event loop. Each takes it about 1 ms: 900 at once would keep
every stream, and each new connection, waiting for a second in every iteration.
"""
WAITING_LIMIT = 1024
"""Most requests that wait for their turn. Each takes about 30 KiB."""


class Waiting(Protocol):
    """The connection of a request that waits for its turn."""

    turn: asyncio.Future[bool] | None
    """Becomes False when the connection is lost."""

    def end(self) -> None:
        """Ends the connection at once."""
        ...


class FairQueue:
    """An ASGI application before ``app``, by which the clients take turns to begin their requests.

    Clients are known by address: those behind one proxy are one client, whose requests begin in their order.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._waiting: dict[str, dict[asyncio.Future[bool], Waiting]] = {}
        """Requests in their order by client; the client whose turn is next comes first."""
        self._is_giving = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        client = scope.get("client")
        connection = scope.get("state", {}).get(CONNECTION)
        if connection is None or await self._turn(client[0] if client else "", connection):
            await self._app(scope, receive, send)

    async def _turn(self, client: str, connection: Waiting) -> bool:
        """Waits for the request's turn. Returns False if its connection is lost before it."""
        loop = asyncio.get_running_loop()
        turn: asyncio.Future[bool] = loop.create_future()
        connection.turn = turn
        self._waiting.setdefault(client, {})[turn] = connection
        turn.add_done_callback(functools.partial(self._leave, client))
        if sum(map(len, self._waiting.values())) > WAITING_LIMIT:
            most = max(self._waiting.values(), key=len)
            most[next(reversed(most))].end()
        if not self._is_giving:
            self._is_giving = True
            loop.call_soon(self._give)
        try:
            return await turn
        finally:
            connection.turn = None

    def _give(self) -> None:
        """Gives BEGUN_AT_ONCE requests their turn; the others wait for the next iteration."""
        for _ in range(BEGUN_AT_ONCE):
            if not self._waiting:
                self._is_giving = False
                return
            client = next(iter(self._waiting))
            waiting = self._waiting.pop(client)
            turn = next(iter(waiting))
            del waiting[turn]
            if waiting:
                self._waiting[client] = waiting
            if not turn.done():
                turn.set_result(True)
        asyncio.get_running_loop().call_soon(self._give)

    def _leave(self, client: str, turn: asyncio.Future[bool]) -> None:
        """Drops a request that lost its connection."""
        waiting = self._waiting.get(client, {})
        waiting.pop(turn, None)
        if not waiting:
            self._waiting.pop(client, None)
