"""The inputs of plans that wait to be made, in bounded memory for each namespace."""

from __future__ import annotations

from collections import Counter
from typing import NamedTuple

from tacho_operator.shell.workqueue import Key

NAMESPACE_BYTES = 4 << 20
"""Most bytes of packed inputs of a namespace that wait, beyond those of one resource.

Usual inputs have 1.3 KB. Random text in a spec makes 450 KB, and facts may be made for plans of ten seconds.
"""
RETRIED = 8
"""Most resources of a namespace that are reconciled at once as there is place for their inputs."""


class Question(NamedTuple):
    """A plan to be made: its inputs and their hash."""

    hash: str
    inputs: bytes
    """The inputs, packed."""


class WaitingPlans:
    """The latest inputs of each waiting resource. Those without a place are left out, and known by name."""

    def __init__(self) -> None:
        self._found: dict[Key, Question] = {}
        self._bytes: Counter[str] = Counter()
        self._left_out: dict[str, dict[Key, None]] = {}

    def get(self, key: Key) -> Question | None:
        return self._found.get(key)

    def put(self, key: Key, question: Question) -> bool:
        """Keeps the inputs in place of earlier ones of the resource. False: they have no place."""
        self.forget(key)
        used, size = self._bytes[key.namespace], len(question.inputs)
        if used and used + size > NAMESPACE_BYTES:
            self._left_out.setdefault(key.namespace, {})[key] = None
            return False
        self._found[key] = question
        self._bytes[key.namespace] += size
        return True

    def pop(self, key: Key) -> Question | None:
        """Removes the inputs of a resource, and returns them."""
        found = self._found.pop(key, None)
        if found is not None:
            self._bytes[key.namespace] -= len(found.inputs)
            if not self._bytes[key.namespace]:
                del self._bytes[key.namespace]
        return found

    def forget(self, key: Key) -> None:
        """Removes all that is known of a resource."""
        self.pop(key)
        left_out = self._left_out.get(key.namespace, {})
        left_out.pop(key, None)
        if not left_out:
            self._left_out.pop(key.namespace, None)

    def retried(self, namespace: str, most: int = 1) -> list[Key]:
        """Resources of a namespace that were left out, the first ones; they are no longer known here."""
        found = list(self._left_out.get(namespace, ()))[:most]
        for key in found:
            self.forget(key)
        return found

    def all_retried(self) -> list[Key]:
        """As ``retried``, of every namespace."""
        return [key for namespace in list(self._left_out) for key in self.retried(namespace, RETRIED)]
