"""Places among the requests: how many are taken, and whose answer is given up for another client's."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

SLOW_SECONDS = 5.0
"""Seconds for which a client reads too little, after which another client's request may take its place."""


class Connection(Protocol):
    """The connection of a request."""

    has_place: bool
    """Whether a place bounds the answers that it may leave unread."""

    @property
    def unread_seconds(self) -> float:
        """Seconds for which answers have waited for the client to read; 0 while none waits."""
        ...

    def end(self) -> None:
        """Ends the connection at once."""
        ...


@dataclass(frozen=True, slots=True, eq=False)
class _Place:
    sequences: int
    client: str
    connection: Connection | None

    def is_slow(self) -> bool:
        return self.connection is not None and self.connection.unread_seconds >= SLOW_SECONDS


class Places:
    """Places for ``most`` sequences, which all clients share.

    While some are free, one client may have all. When none is free, answers that are read slowly give way,
    of a client that has more places than the one that asks. Clients are known by address: those behind one
    proxy are one client, and none of them gives way to another.
    """

    def __init__(self, most: int) -> None:
        self.most = most
        self._places: set[_Place] = set()

    @property
    def taken(self) -> int:
        """Sequences that run or wait, or whose answers are not yet read."""
        return sum(place.sequences for place in self._places)

    def reserve(self, sequences: int, client: str) -> bool:
        """Whether ``sequences`` more have places, for which slow answers of others are ended."""
        missing = self.taken + sequences - self.most
        if missing <= 0:
            return True
        shares: Counter[str] = Counter()
        for place in self._places:
            shares[place.client] += place.sequences
        own = shares[client] + sequences
        slow = [place for place in self._places if shares[place.client] > own and place.is_slow()]
        if sum(place.sequences for place in slow) < missing:
            return False
        for place in sorted(slow, key=lambda place: shares[place.client], reverse=True):
            if missing > 0 and place.connection is not None:
                missing -= place.sequences
                self._places.remove(place)
                place.connection.end()
        return True

    @contextlib.contextmanager
    def held(self, sequences: int, client: str, connection: Connection | None) -> Iterator[None]:
        """Keeps places for the sequences of one request, until its answer has ended or gave way."""
        place = _Place(sequences, client, connection)
        self._places.add(place)
        if connection is not None:
            connection.has_place = True
        try:
            yield
        finally:
            self._places.discard(place)
            if connection is not None:
                connection.has_place = False
