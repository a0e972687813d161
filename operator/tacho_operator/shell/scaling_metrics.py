"""Load, capacity and decisions as metrics: what a person plots, and what KEDA or an adapter scales by."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import NamedTuple

from prometheus_client import CollectorRegistry, Counter

from tacho_operator.core.scaling.law.types import Decision, Figures
from tacho_operator.shell.series import Gauges, Sample, now
from tacho_operator.shell.workqueue import Key

PREFIX = "tacho_llmdeployment_"
LABELS = ("namespace", "name")


class Known(NamedTuple):
    """What is shown of one resource."""

    figures: Figures
    desired: int | None
    """None: somebody else scales it."""


READ: tuple[tuple[str, str, Callable[[Known], float | None]], ...] = (
    (
        "demand_replicas",
        "Replicas that the present load would fill to the measured capacity.",
        lambda item: item.figures.demand,
    ),
    (
        "utilization_ratio",
        "Load as a part of what the serving pods were measured to carry.",
        lambda item: item.figures.utilization,
    ),
    (
        "capacity_requests_per_second",
        "Requests per second that one replica is counted on to carry.",
        lambda item: item.figures.trusted_requests_per_second,
    ),
    ("requests_running", "Requests that pods are answering.", lambda item: item.figures.running),
    ("requests_waiting", "Requests that wait in pods.", lambda item: item.figures.waiting),
    (
        "pods_silent",
        "Pods that serve and do not tell their load, or hang.",
        lambda item: item.figures.silent,
    ),
    (
        "cold_start_seconds",
        "Seconds that nine in ten starts of a pod took at most.",
        lambda item: item.figures.cold_start_seconds,
    ),
    ("desired_replicas", "Replicas that the scaler wants.", lambda item: item.desired),
)
"""Name, help, and the figure; None has no series: 0 would be taken for idle."""


class ScalingMetrics:
    """All series, on the registry passed in."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._known: dict[Key, Known] = {}
        for name, what, read in READ:
            Gauges(registry, PREFIX + name, what, LABELS, partial(self._figures, read))
        self._decisions = Counter(
            f"{PREFIX}scaling_decisions",
            "Changes of the number of replicas, by direction and by what asked for them.",
            (*LABELS, "direction", "reason"),
            registry=registry,
        )
        self._counted: dict[Key, set[tuple[str, str]]] = {}

    def _figures(self, read: Callable[[Known], float | None]) -> Iterator[Sample]:
        for key, item in now(self._known):
            if (value := read(item)) is not None:
                yield key, value

    def decided(self, key: Key, decision: Decision, *, before: int, scaled: bool) -> None:
        """One look at a resource; ``scaled``: its replicas are the scaler's."""
        self._known[key] = Known(decision.figures, decision.replicas if scaled else None)
        if scaled and decision.replicas != before:
            kind = ("up" if decision.replicas > before else "down", decision.cause)
            self._counted.setdefault(key, set()).add(kind)
            self._decisions.labels(*key, *kind).inc()

    def unknown(self, key: Key) -> None:
        """Its load is no longer looked at."""
        self._known.pop(key, None)

    def forget(self, key: Key) -> None:
        """The resource is gone: so are its series."""
        self.unknown(key)
        for kind in self._counted.pop(key, set()):
            self._decisions.remove(*key, *kind)
