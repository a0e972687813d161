"""What the operator watches, which resources an event affects, and whether the work queue hangs."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable

from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from tacho_operator.core.names import DEPLOYMENT_LABEL
from tacho_operator.shell.kube import Kube
from tacho_operator.shell.lease import Elector
from tacho_operator.shell.observe import CHILDREN
from tacho_operator.shell.store.reflector import Reflector, WatchScope
from tacho_operator.shell.store.resource_state import StoreChange
from tacho_operator.shell.store.store import Store, later
from tacho_operator.shell.workqueue import Key, Priority, WorkQueue

Process = Callable[[Key], Awaitable[float | None]]

LISTS_AT_ONCE = 2
STALE_RETRY_SECONDS = 2.0
"""Seconds until a reconcile is tried again because a watch that it needs is interrupted, if several
namespaces are watched.
"""
STUCK_SECONDS = 300.0
"""Seconds during which keys were due but no reconcile began, went on or ended, after which the work queue
counts as hung. A reconcile waits for 36 s at most, the time for an answer of the API server.
"""


def reflectors(
    kube: Kube, store: Store, namespaces: tuple[str, ...], on_reconnect: Callable[[str, str], None]
) -> tuple[Reflector, ...]:
    """One reflector for each kind and namespace.

    If only some namespaces are watched, the operator has no right to read nodes, and they are left out.
    """
    lists = asyncio.Semaphore(LISTS_AT_ONCE)
    found = [
        Reflector(
            kube,
            store,
            WatchScope(
                kind,
                namespace,
                selector=DEPLOYMENT_LABEL if kind in CHILDREN else "",
                optional=kind == "PersistentVolumeClaim",
            ),
            lists=lists,
            on_reconnect=on_reconnect,
        )
        for namespace in namespaces or ("",)
        for kind in ("LLMDeployment", *CHILDREN, "PersistentVolumeClaim")
    ]
    if namespaces:
        store.forbidden("Node", "")
    else:
        found.append(
            Reflector(kube, store, WatchScope("Node", optional=True), lists=lists, on_reconnect=on_reconnect)
        )
    return tuple(found)


def blocked(store: Store, namespaces: tuple[str, ...]) -> bool:
    """Whether no resource can be reconciled, as watches of all namespaces are interrupted.

    One namespace whose objects may no longer be read, e.g. after its roles were deleted, does not block the
    others.
    """
    return all(store.is_stale(namespace) for namespace in namespaces or ("",))


async def in_sync(store: Store, namespaces: tuple[str, ...]) -> None:
    """Waits until all watches of at least one namespace are up to date."""
    while blocked(store, namespaces):
        await store.changed()


async def led_and_in_sync(leadership: Elector, store: Store, namespaces: tuple[str, ...]) -> None:
    """Waits until this process leads and all watches of at least one namespace are up to date."""
    while not leadership.leads() or blocked(store, namespaces):
        await leadership.led()
        await in_sync(store, namespaces)


def where_in_sync(store: Store, process: Process) -> Process:
    """Wraps ``process`` so that a resource is reconciled only while its watches are up to date, and later
    otherwise."""

    async def process_in_sync(key: Key) -> float | None:
        return STALE_RETRY_SECONDS if store.is_stale(key.namespace) else await process(key)

    return process_in_sync


def hanging(leadership: Elector, store: Store, queue: WorkQueue, namespaces: tuple[str, ...]) -> str:
    """Why the operator should be restarted: resources are due and no worker makes progress. "": it should
    not.

    An unreachable API server is no reason, nor is another process that leads.
    """
    stuck = queue.stuck_seconds()
    if stuck > STUCK_SECONDS and leadership.leads() and not blocked(store, namespaces):
        return f"resources are due, and no reconcile went on for {stuck:.0f} s: the workers hang"
    return ""


class Sizes(Collector):
    """Metrics of the number of stored objects and of waiting keys, read at each scrape."""

    def __init__(self, store: Store, queue: WorkQueue, streams: Iterable[Reflector]) -> None:
        self._store, self._queue, self._streams = store, queue, tuple(streams)

    def collect(self) -> Iterable[GaugeMetricFamily]:
        objects = GaugeMetricFamily(
            "tacho_operator_store_objects", "Objects in the cache, by kind.", labels=["kind"]
        )
        age = GaugeMetricFamily(
            "tacho_operator_store_age_seconds",
            "Seconds since the kind's watch last delivered anything. A bookmark comes about every minute.",
            labels=["kind"],
        )
        ages: dict[str, float] = {}
        for stream in self._streams:
            if not self._store.may_read(stream.kind, stream.namespace):
                continue  # it is not watched, so its silence means nothing
            ages[stream.kind] = max(ages.get(stream.kind, 0.0), stream.silent_seconds())
        for kind, seconds in ages.items():
            objects.add_metric([kind], self._store.size(kind))
            age.add_metric([kind], seconds)
        yield objects
        yield age
        yield GaugeMetricFamily(
            "tacho_operator_store_stale_streams",
            "Interrupted watches. No resource of their namespaces is reconciled meanwhile.",
            value=len(self._store.stale()),
        )
        depth = GaugeMetricFamily(
            "tacho_operator_queue_depth",
            "Resources waiting to be reconciled, by priority; delayed: due later.",
            labels=["priority"],
        )
        for priority, count in self._queue.depths().items():
            depth.add_metric([priority], count)
        yield depth
        yield GaugeMetricFamily(
            "tacho_operator_queue_oldest_seconds",
            "How long the resource has been due that has waited longest; 0 when none is due.",
            value=self._queue.oldest_seconds(),
        )
        yield GaugeMetricFamily(
            "tacho_operator_queue_stuck_seconds",
            "How long a resource has been due while no reconcile went on. In a standby it grows.",
            value=self._queue.stuck_seconds(),
        )


TOGETHER_SECONDS = 0.05
"""Seconds by which a reconcile is delayed after a child changed, as Deployment, ReplicaSet and pods change
within moments.
"""
SPREAD_PER_SECOND = 50.0
"""Reconciles per second when one change affects many resources."""


class ChangeRouter:
    """Adds the resources that a changed object affects to the work queue."""

    def __init__(self) -> None:
        self._store: Store | None = None
        self._queue: WorkQueue | None = None

    def connect(self, store: Store, queue: WorkQueue) -> None:
        """Sets store and queue: from now on changes reach the queue. Earlier changes are already in the
        store."""
        self._store, self._queue = store, queue

    def __call__(self, change: StoreChange) -> None:
        if self._store is None or self._queue is None:
            return
        if change.kind == "LLMDeployment":
            self._queue.add(Key(change.namespace, change.name))
        elif change.kind == "Node":
            self._add_all(concerned_by_node(self._store, change.name))
        elif change.kind == "PersistentVolumeClaim":
            self._add_all(self._store.naming({(change.namespace, change.name)}))
        elif change.owner and self._store.find("LLMDeployment", change.namespace, change.owner):
            self._queue.add(Key(change.namespace, change.owner), TOGETHER_SECONDS)

    def noticed(self, namespace: str, name: str, version: str) -> None:
        """Adds the LLMDeployment of an event from kopf, if it is held, and the operator's own reflector has
        not delivered that version yet.
        """
        assert self._store is not None
        assert self._queue is not None
        held = self._store.find("LLMDeployment", namespace, name)
        if held is not None and not later(held[1], version):
            self._queue.add(Key(namespace, name), TOGETHER_SECONDS)

    def _add_all(self, keys: Iterable[Key]) -> None:
        assert self._queue is not None
        for index, key in enumerate(in_turns(keys)):
            self._queue.add(key, index / SPREAD_PER_SECOND)


def in_turns(keys: Iterable[Key]) -> list[Key]:
    """``keys``, alternating between namespaces, so that thousands of one do not delay the others."""
    taken: Counter[str] = Counter()
    found = []
    for key in sorted(keys):
        found.append((taken[key.namespace], key))
        taken[key.namespace] += 1
    return [key for _, key in sorted(found)]


def concerned_by_node(store: Store, node: str) -> set[Key]:
    """Resources with pods on the node, and resources that are not ready and might use it."""
    return store.owners_on(node) | {key for key in store.resources() if not store.state(key).ready}


def priority(store: Store, key: Key) -> Priority:
    """The priority with which a resource is reconciled."""
    return Priority.OTHERS if store.state(key).reported else Priority.NEW


def begin_anew(streams: Iterable[Reflector], silent_seconds: float) -> None:
    """Ends the watches that have been silent for so long; each goes on where it was."""
    for stream in streams:
        stream.begin_anew(silent_seconds)


async def resync(store: Store, queue: WorkQueue, seconds: float) -> None:
    """Adds every resource to the queue once in ``seconds``, spread over that time; runs until cancelled."""
    while True:
        await asyncio.sleep(seconds)
        keys = list(store.resources())
        for index, key in enumerate(keys):
            queue.add(key, seconds * index / len(keys))
