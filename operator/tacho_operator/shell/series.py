"""Series made when they are scraped, from what is known by then.

prometheus_client keeps an object with a lock for every series: 14 KB for the twenty of a resource, where what
they tell takes one. It also takes five times as long to write a line, and two thousand resources have tens of
thousands of them.
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
        # In the order in which prometheus_client writes them: who looks for a line finds it.
        self._order = sorted(range(len(labels)), key=labels.__getitem__)
        places = ",".join(f'{labels[place]}="%s"' for place in self._order)
        self._line = f"{name}{{{places}}} %s\n"
        registry.register(self)

    def describe(self) -> Iterable[GaugeMetricFamily]:
        """Without series: whoever registers need not read them all."""
        yield GaugeMetricFamily(self._name, self._what, labels=self._labels)

    def collect(self) -> Iterable[GaugeMetricFamily]:
        family = GaugeMetricFamily(self._name, self._what, labels=self._labels)
        for values, figure in self._read():
            family.add_metric(values, figure)
        yield family

    def text(self) -> str:
        """As Prometheus reads it, in either of its formats."""
        line, quotes, order = self._line, 2 * len(self._labels), self._order
        lines = [f"# HELP {self._name} {self._what}\n# TYPE {self._name} gauge\n"]
        for values, figure in self._read():
            shown = "1.0" if figure == 1.0 else "0.0" if figure == 0.0 else repr(float(figure))
            sorted_values = [values[place] for place in order]
            written = line % (*sorted_values, shown)
            if written.count('"') != quotes or written.count("\n") != 1 or "\\" in written:
                written = line % (*map(_escaped, sorted_values), shown)
            lines.append(written)
        return "".join(lines)


def _escaped(value: str) -> str:
    return value.replace("\\", "\\\\").replace("\n", "\\n").replace('"', '\\"')


class Registry(CollectorRegistry):
    """Tells the series of this module apart from those that prometheus_client has to write."""

    def __init__(self) -> None:
        super().__init__()
        self.gauges: list[Gauges] = []
        self.others = CollectorRegistry()

    def register(self, collector: Collector) -> None:
        """Also where all are looked up by name."""
        super().register(collector)
        if isinstance(collector, Gauges):
            self.gauges.append(collector)
        else:
            self.others.register(collector)


def now(known: dict[K, V]) -> list[tuple[K, V]]:
    """What is known at this moment: scrapes are answered by another thread than the one that learns."""
    return list(known.copy().items())
