"""Which resources have to be looked at for one change of what the store holds."""

from __future__ import annotations

from collections.abc import Iterable

from tacho_operator.shell.store.store import Change, Store
from tacho_operator.shell.turns import Priority
from tacho_operator.shell.workqueue import Key, WorkQueue

TOGETHER_SECONDS = 0.05
"""Changes of children come in bursts: a Deployment, its ReplicaSet and its pods within moments."""
SPREAD_PER_SECOND = 50.0
"""When one change concerns many, so many are looked at in a second."""


class Waker:
    """Adds to the queue what a change concerns."""

    def __init__(self) -> None:
        self._store: Store | None = None
        self._queue: WorkQueue | None = None

    def connect(self, store: Store, queue: WorkQueue) -> None:
        """From now on changes are passed on; what came before is in the store."""
        self._store, self._queue = store, queue

    def __call__(self, change: Change) -> None:
        if self._store is None or self._queue is None:
            return
        if change.kind == "LLMDeployment":
            self._queue.add(Key(change.namespace, change.name))
            if change.freed:
                self._add_all(self._store.waiting_for(change.freed))
        elif change.kind == "Node":
            self._add_all(concerned_by_node(self._store, change.name))
        elif change.kind == "PersistentVolumeClaim":
            self._add_all(self._store.naming(change.namespace, change.name))
        elif change.owner:
            self._queue.add(Key(change.namespace, change.owner), TOGETHER_SECONDS)

    def _add_all(self, keys: Iterable[Key]) -> None:
        assert self._queue is not None
        for index, key in enumerate(sorted(keys)):
            self._queue.add(key, index / SPREAD_PER_SECOND)


def concerned_by_node(store: Store, node: str) -> set[Key]:
    """Who has pods there, and who is not ready: the node may be what it waits for."""
    there = store.owners_on(node)
    return there | {key for key in store.resources() if not store.state(key).ready}


def priority(store: Store, key: Key) -> Priority:
    """How urgent it is to look at a resource."""
    state = store.state(key)
    if not state.told:
        return Priority.NEW
    if state.serves:
        return Priority.SERVES
    return Priority.WAITS if state.looked_at else Priority.CHANGED
