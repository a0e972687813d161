"""Carries what a backend's threads make into the server's event loop."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from typing import Generic, TypeVar

T = TypeVar("T")


class Mailbox(Generic[T]):
    """One reader in the event loop that made it, any number of writers in threads."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._queue: asyncio.Queue[T | Exception | None] = asyncio.Queue()

    def put(self, item: T) -> None:
        """From any thread; after the loop has ended it does nothing."""
        self._send(item)

    def end(self) -> None:
        """Nothing more comes."""
        self._send(None)

    def fail(self, error: Exception) -> None:
        """The reader raises ``error``."""
        self._send(error)

    def _send(self, item: T | Exception | None) -> None:
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody reads
            self._loop.call_soon_threadsafe(self._queue.put_nowait, item)

    async def read(self, on_close: Callable[[], None]) -> AsyncIterator[T]:
        """Until the end. ``on_close`` is called when the reader leaves, however it leaves."""
        try:
            while (item := await self._queue.get()) is not None:
                if isinstance(item, Exception):
                    raise item
                yield item
        finally:
            on_close()
