"""Prometheus series that are created at each scrape from the values known at that time.

prometheus_client would keep an object with a lock for each series: 14 kB for the twenty of a resource. Here a
tuple holds the values.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from typing import Generic, TypeVar

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

from tacho_operator.shell.workqueue import Key

LABELS = ("namespace", "name")
RESTARTS = " Restarts at 0 with the operator and with a change of its leader."
"""End of the help text of a counter that is not continued by the next process."""

SeriesValue = tuple[Sequence[str], float]
"""(label values, value of the series)."""
V = TypeVar("V")


Family = GaugeMetricFamily | CounterMetricFamily


class ResourceSeries(Collector):
    """One gauge or counter on the registry passed in; ``read`` yields its series at each scrape."""

    def __init__(
        self,
        registry: CollectorRegistry,
        name: str,
        documentation: str,
        labels: Sequence[str],
        read: Callable[[], Iterable[SeriesValue]],
        family: type[Family] = GaugeMetricFamily,
    ) -> None:
        self._name, self._documentation, self._labels = name, documentation, labels
        self._family: type[Family] = family
        self._read = read
        registry.register(self)

    def describe(self) -> Iterable[Family]:
        """The metrics without series; without this method registration would read all series."""
        yield self._family(self._name, self._documentation, labels=self._labels)

    def collect(self) -> Iterable[Family]:
        family = self._family(self._name, self._documentation, labels=self._labels)
        for values, figure in self._read():
            family.add_metric(values, figure)
        yield family


class KnownFigures(Generic[V]):
    """The last values of each resource, with a gauge for each field. None has no series."""

    def __init__(
        self,
        registry: CollectorRegistry,
        prefix: str,
        gauges: Iterable[tuple[str, str, Callable[[V], float | None]]],
    ) -> None:
        """``gauges``: name without ``prefix``, help text, and function to the value, of each gauge."""
        self.known: dict[Key, V] = {}
        for name, documentation, read in gauges:
            ResourceSeries(registry, prefix + name, documentation, LABELS, partial(self._series, read))

    def items(self) -> list[tuple[Key, V]]:
        """A copy of the values by resource, as scrapes run in another thread."""
        return list(self.known.copy().items())

    def _series(self, read: Callable[[V], float | None]) -> Iterator[SeriesValue]:
        for key, item in self.items():
            if (value := read(item)) is not None:
                yield key, value
