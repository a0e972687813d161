"""Prometheus series that are created at each scrape from the values known by then.

prometheus_client keeps an object with a lock for every series, 14 KB for the twenty of a resource, where a
tuple holds their values.
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
"""Ends the help text of a counter that no other process goes on with."""

SeriesValue = tuple[Sequence[str], float]
"""Values of the labels, and the series' value."""
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
        """The metrics without their series: otherwise registration would have to read all series."""
        yield self._family(self._name, self._documentation, labels=self._labels)

    def collect(self) -> Iterable[Family]:
        family = self._family(self._name, self._documentation, labels=self._labels)
        for values, figure in self._read():
            family.add_metric(values, figure)
        yield family


class KnownFigures(Generic[V]):
    """The known values of each resource, with a gauge for each field. A value that is None has no series."""

    def __init__(
        self,
        registry: CollectorRegistry,
        prefix: str,
        gauges: Iterable[tuple[str, str, Callable[[V], float | None]]],
    ) -> None:
        """``gauges``: name without ``prefix``, help and figure of each."""
        self.known: dict[Key, V] = {}
        for name, documentation, read in gauges:
            ResourceSeries(registry, prefix + name, documentation, LABELS, partial(self._series, read))

    def items(self) -> list[tuple[Key, V]]:
        """A copy of the known values, by resource: scrapes run in another thread than the event loop."""
        return list(self.known.copy().items())

    def _series(self, read: Callable[[V], float | None]) -> Iterator[SeriesValue]:
        for key, item in self.items():
            if (value := read(item)) is not None:
                yield key, value
