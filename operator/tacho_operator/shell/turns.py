"""Whose turn it is: what serves before what waits, and one namespace after the other."""

from __future__ import annotations

import enum
from collections import deque
from collections.abc import Hashable
from typing import Generic, TypeVar

LOWER_EVERY = 5
"""Each so manyth turn goes to the lowest priority that waits: none is starved by those above."""
OTHERS_EVERY = 8
"""While there are new ones, each so manyth turn is another's: of what serves, or of what a person changed."""
WAITS_EVERY = 32
"""And each so manyth where the others only wait: a new one's turn writes a status and nothing else, and what
follows it writes ten times as much, which all that are new would wait for."""


class Priority(enum.IntEnum):
    """Lower goes first."""

    NEW = 0
    """The operator has said nothing of it yet: nobody knows what becomes of it."""
    SERVES = 1
    """Some replica of it is ready: people notice what becomes of it."""
    CHANGED = 2
    """Its spec was not looked at yet."""
    WAITS = 3
    """It waits for something of the cluster's."""
    ROUTINE = 4
    """Nothing is known to have happened."""


K = TypeVar("K", bound=Hashable)


class Turns(Generic[K]):
    """Keys in line, each once."""

    def __init__(self) -> None:
        self._lines: dict[Priority, dict[str, deque[K]]] = {priority: {} for priority in Priority}
        self._keys: dict[K, Priority] = {}
        self._taken = 0
        self._others = 0
        """Of the turns, those that were not given to new ones first."""

    def __contains__(self, key: K) -> bool:
        return key in self._keys

    def count(self, priority: Priority) -> int:
        """Keys of that priority in line."""
        return sum(map(len, self._lines[priority].values()))

    def add(self, key: K, namespace: str, priority: Priority) -> None:
        """At the end of its namespace's line; one that waits already may move to a more urgent one."""
        former = self._keys.get(key)
        if former is not None:
            if former <= priority:
                return
            self._leave(key, namespace, former)
        self._keys[key] = priority
        self._lines[priority].setdefault(namespace, deque()).append(key)

    def _leave(self, key: K, namespace: str, priority: Priority) -> None:
        line = self._lines[priority][namespace]
        line.remove(key)
        if not line:
            del self._lines[priority][namespace]

    def _whose(self, waiting: list[Priority]) -> Priority:
        if waiting[0] is Priority.NEW and len(waiting) > 1:
            pressing = waiting[1] <= Priority.CHANGED
            others = self._taken % (OTHERS_EVERY if pressing else WAITS_EVERY) == 0
            return self._of_others(waiting[1:]) if others else Priority.NEW
        return self._of_others(waiting)

    def _of_others(self, waiting: list[Priority]) -> Priority:
        self._others += 1
        if self._others % LOWER_EVERY == 0:
            return waiting[-1]
        # What a person changed takes turns with what serves: either may come in thousands.
        alternate = Priority.CHANGED in waiting and self._others % 2 == 0
        return Priority.CHANGED if alternate else waiting[0]

    def take(self) -> K | None:
        """The next one; None when nobody waits."""
        waiting = [priority for priority in Priority if self._lines[priority]]
        if not waiting:
            return None
        self._taken += 1
        lines = self._lines[self._whose(waiting)]
        namespace = next(iter(lines))
        line = lines.pop(namespace)
        key = line.popleft()
        if line:
            lines[namespace] = line  # behind the other namespaces
        del self._keys[key]
        return key
