"""How CPUs and room are shared among requests that are computed at the same time."""

from __future__ import annotations

import threading


def shares(cpus: int, concurrency: int) -> tuple[int, int]:
    """(requests computed at a time, threads of each): as many as there are CPUs for, at most all."""
    workers = max(1, min(concurrency, cpus))
    return workers, max(1, cpus // workers)


class Room:
    """Lets prompts in as long as their tokens together are no more than ``most``; one always fits.

    CTranslate2 computes a row of the whole vocabulary for every token of a prompt. So the memory for that is
    that of one prompt of the longest kind, however many requests there are.
    """

    def __init__(self, most: int) -> None:
        self._most, self._taken = most, 0
        self._changed = threading.Condition()

    def take(self, tokens: int) -> None:
        """Waits until there is room."""
        with self._changed:
            self._changed.wait_for(lambda: not self._taken or self._taken + tokens <= self._most)
            self._taken += tokens

    def give(self, tokens: int) -> None:
        with self._changed:
            self._taken -= tokens
            self._changed.notify_all()
