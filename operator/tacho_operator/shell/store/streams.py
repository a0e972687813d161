"""Which watches are up to date, and which kinds may be read."""

from __future__ import annotations

import asyncio


class WatchStreams:
    """The state of the watches that fill the store."""

    def __init__(self) -> None:
        self._waiting: set[asyncio.Future[None]] = set()
        self._unknown: set[tuple[str, str]] = set()
        """(kind, namespace) that the operator may not read; namespace "": all."""
        self.streams: dict[tuple[str, str], str] = {}
        """Latest resourceVersion that the watch of a (kind, namespace) has delivered; namespace "": all."""
        self._stale: dict[str, dict[str, str]] = {}
        """Why each interrupted watch is, by namespace and kind; namespace "": all."""

    def may_read(self, kind: str, namespace: str = "") -> bool:
        """Whether the operator may read that kind."""
        return self._unknown.isdisjoint({(kind, ""), (kind, namespace)})

    def stale(self, namespace: str | None = None) -> tuple[str, ...]:
        """Watches that are interrupted, so that stored objects may be old: one line per watch; empty when all
        are in sync."""
        stale = self._stale.copy()  # scrapes run in another thread
        places = stale.keys() if namespace is None else stale.keys() & {"", namespace}
        found = ((kind, place, why) for place in places for kind, why in stale[place].copy().items())
        return tuple(why for *_, why in sorted(found))

    def is_stale(self, namespace: str) -> bool:
        """Whether any watch of the namespace is interrupted."""
        return bool(self._stale.get("") or self._stale.get(namespace))

    def is_lost(self, kind: str, namespace: str) -> bool:
        """Whether the watch of ``kind`` in that namespace is interrupted, or has not begun."""
        return kind in self._stale.get(namespace, {})

    async def changed(self) -> None:
        """Waits for the next event of any watch."""
        future = asyncio.get_running_loop().create_future()
        self._waiting.add(future)
        try:
            await future
        finally:
            self._waiting.discard(future)

    def at(self, kind: str, namespace: str, version: str) -> None:
        """Notes that the watch has delivered everything up to the resourceVersion ``version``."""
        self.streams[kind, namespace] = version
        self._wake()

    def runs(self, kind: str, namespace: str) -> None:
        """Notes that the watch is up to date."""
        self._unknown.discard((kind, namespace))
        self._end_interruption(kind, namespace)

    def lost(self, kind: str, namespace: str, why: str) -> None:
        """Notes that the watch is interrupted or has not begun, and ``why``."""
        self._stale.setdefault(namespace, {})[kind] = why

    def forbidden(self, kind: str, namespace: str) -> None:
        """Notes that the operator has no right to read ``kind``, and does without it."""
        self._unknown.add((kind, namespace))
        self._end_interruption(kind, namespace)

    def _end_interruption(self, kind: str, namespace: str) -> None:
        stale = self._stale.get(namespace, {})
        stale.pop(kind, None)
        if not stale:
            self._stale.pop(namespace, None)
        self._wake()

    def _wake(self) -> None:
        waiting, self._waiting = self._waiting, set()
        for future in waiting:
            if not future.done():
                future.set_result(None)
