"""What the operator watches, and what it says of itself: is it up to date, does it move, how large is it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable

from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from tacho_operator.core.names import DEPLOYMENT_LABEL
from tacho_operator.shell.kube import Kube
from tacho_operator.shell.store.reflector import Reflector
from tacho_operator.shell.store.store import Store
from tacho_operator.shell.workqueue import Key, WorkQueue

Process = Callable[[Key], Awaitable[float | None]]

CHILDREN = (
    "ControllerRevision",
    "Deployment",
    "ReplicaSet",
    "Service",
    "ConfigMap",
    "NetworkPolicy",
    "PodDisruptionBudget",
    "Pod",
)
LISTS_AT_ONCE = 2
STALE_RETRY_SECONDS = 2.0
"""Where several namespaces are watched and some stream of a resource's own is interrupted."""
STUCK_SECONDS = 300.0
"""Keys are due and nothing has moved for so long: the workers hang."""


def reflectors(
    kube: Kube, store: Store, namespaces: tuple[str, ...], on_reconnect: Callable[[str, str], None]
) -> tuple[Reflector, ...]:
    """One a kind and namespace. Nodes have none: whoever serves some namespaces only may not read them."""
    lists = asyncio.Semaphore(LISTS_AT_ONCE)
    found = [
        Reflector(
            kube,
            store,
            kind,
            namespace=namespace,
            selector=DEPLOYMENT_LABEL if kind in CHILDREN else "",
            optional=kind == "PersistentVolumeClaim",
            lists=lists,
            on_reconnect=on_reconnect,
        )
        for namespace in namespaces or ("",)
        for kind in ("LLMDeployment", *CHILDREN, "PersistentVolumeClaim")
    ]
    if namespaces:
        store.forbidden("Node", "")
    else:
        found.append(Reflector(kube, store, "Node", optional=True, lists=lists, on_reconnect=on_reconnect))
    return tuple(found)


def blocked(store: Store, namespaces: tuple[str, ...]) -> bool:
    """Whether nothing can be decided anywhere. One namespace that may not be read any longer, as its roles
    went with it, holds up no other."""
    return all(store.stale(namespace) for namespace in namespaces or ("",))


async def in_sync(store: Store, namespaces: tuple[str, ...]) -> None:
    """Waits until the streams of some namespace all run."""
    while blocked(store, namespaces):
        await store.changed()


def where_in_sync(store: Store, process: Process) -> Process:
    """``process`` where every stream that it reads runs: what may be old decides nothing. Else later."""

    async def turn(key: Key) -> float | None:
        return STALE_RETRY_SECONDS if store.stale(key.namespace) else await process(key)

    return turn


def hanging(store: Store, queue: WorkQueue, namespaces: tuple[str, ...]) -> str:
    """Why the process should be started anew; "" when it moves. An API server that is away is no reason."""
    stuck = queue.stuck_seconds()
    if stuck > STUCK_SECONDS and not blocked(store, namespaces):
        return f"resources wait and no turn has begun or ended for {stuck:.0f} s: the workers hang"
    return ""


class Sizes(Collector):
    """Metrics of the store and the queue, read when they are asked for."""

    def __init__(self, store: Store, queue: WorkQueue, streams: Iterable[Reflector]) -> None:
        self._store, self._queue, self._streams = store, queue, tuple(streams)

    def collect(self) -> Iterable[GaugeMetricFamily]:
        objects = GaugeMetricFamily("tacho_operator_store_objects", "Objects held, by kind.", labels=["kind"])
        age = GaugeMetricFamily(
            "tacho_operator_store_age_seconds",
            "Since a kind's watch last said anything; the API server sends a bookmark about every minute.",
            labels=["kind"],
        )
        ages: dict[str, float] = {}
        for stream in self._streams:
            if not self._store.known(stream.kind, stream.namespace):
                continue  # it is not watched, so its silence means nothing
            ages[stream.kind] = max(ages.get(stream.kind, 0.0), stream.silent_seconds())
        for kind, seconds in ages.items():
            objects.add_metric([kind], self._store.size(kind))
            age.add_metric([kind], seconds)
        yield objects
        yield age
        yield GaugeMetricFamily(
            "tacho_operator_store_stale_streams",
            "Watches that are interrupted: while there is one, nothing is decided in its namespaces.",
            value=len(self._store.stale()),
        )
        depth = GaugeMetricFamily(
            "tacho_operator_queue_depth",
            "Resources waiting to be reconciled, by priority; delayed: their time has not come.",
            labels=["priority"],
        )
        for priority, count in self._queue.depths().items():
            depth.add_metric([priority], count)
        yield depth
