"""Series made when they are scraped, from what is known by then.

prometheus_client keeps an object with a lock for every series: 14 KB for the twenty of a resource, where what
they tell takes one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TypeVar

from prometheus_client import CollectorRegistry
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

Sample = tuple[Sequence[str], float]
"""Values of the labels, and the figure."""
K = TypeVar("K")
V = TypeVar("V")


class Gauges(Collector):
    """One gauge; ``read`` tells its series."""

    def __init__(
        self,
        registry: CollectorRegistry,
        name: str,
        what: str,
        labels: Sequence[str],
        read: Callable[[], Iterable[Sample]],
    ) -> None:
        self._name, self._what, self._labels = name, what, labels
        self._read = read
        registry.register(self)

    def describe(self) -> Iterable[GaugeMetricFamily]:
        """Without series: whoever registers need not read them all."""
        yield GaugeMetricFamily(self._name, self._what, labels=self._labels)

    def collect(self) -> Iterable[GaugeMetricFamily]:
        family = GaugeMetricFamily(self._name, self._what, labels=self._labels)
        for values, figure in self._read():
            family.add_metric(values, figure)
        yield family


def now(known: dict[K, V]) -> list[tuple[K, V]]:
    """What is known at this moment: scrapes are answered by another thread than the one that learns."""
    return list(known.copy().items())
