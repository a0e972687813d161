"""The metrics of GPU time and its cost for chargeback, by namespace; counted while this process leads."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterator, Mapping
from functools import partial

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily

from tacho_operator.core.measurement.cost import GpuHolding, Use, counted_seconds, gpu_interval
from tacho_operator.shell.series import RESTARTS, ResourceSeries, SeriesValue
from tacho_operator.shell.workqueue import Key

logger = logging.getLogger(__name__)

Idle = Callable[[Key], Mapping[str, bool]]
"""Function from a resource to: whether each of its sampled pods has no request, by pod uid."""
KINDS_LIMIT = 16
"""Most GPU products, or currencies, with series in a namespace. Users choose both, and any number."""
OTHER = "other"


class Totals:
    """Sums by namespace, by kind (GPU product or currency) and by use.

    ``rest``: the kind under which all kinds above KINDS_LIMIT are counted; None: these are not counted, as
    currencies cannot be added.
    """

    def __init__(self, rest: str | None) -> None:
        self._rest = rest
        self._sums: dict[tuple[str, str, Use], float] = {}
        self._kinds: dict[str, set[str]] = {}

    def add(self, namespace: str, kind: str, found: Mapping[Use, float]) -> None:
        """Adds ``found``, the seconds or costs of one interval."""
        if not found:
            return
        kinds = self._kinds.setdefault(namespace, set())
        if kind not in kinds and len(kinds) >= KINDS_LIMIT:
            if self._rest is None:
                return
            kind = self._rest
        kinds.add(kind)
        for use, value in found.items():
            place = (namespace, kind, use)
            self._sums[place] = self._sums.get(place, 0.0) + value

    def forget(self, namespace: str) -> None:
        """Drops the sums of a namespace that has no resource left."""
        self._kinds.pop(namespace, None)
        for place in [place for place in self._sums if place[0] == namespace]:
            del self._sums[place]

    def series(self) -> Iterator[SeriesValue]:
        """(labels, value) of all sums, as a copy: scrapes are rendered in another thread."""
        return iter(self._sums.copy().items())


class GpuTime:
    """The counters of GPU seconds and of their cost. The series of a namespace end with its last resource."""

    def __init__(self, registry: CollectorRegistry, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._held: dict[Key, tuple[GpuHolding, ...]] = {}
        self._last: float | None = None
        self._seconds, self._cost = Totals(OTHER), Totals(None)
        series = partial(ResourceSeries, registry, family=CounterMetricFamily)
        series(
            "tacho_namespace_gpu_seconds",
            "GPU seconds that pods of the namespace held: serving, idle, probing or unready." + RESTARTS,
            ("namespace", "gpu", "use"),
            self._seconds.series,
        )
        series(
            "tacho_namespace_gpu_cost",
            "Cost of these GPU seconds in the currency, where their price is known." + RESTARTS,
            ("namespace", "currency", "use"),
            self._cost.series,
        )

    def observe(self, key: Key, holdings: tuple[GpuHolding, ...]) -> None:
        """Stores the GPUs that the resource holds, as its last reconcile observed them."""
        self._held[key] = holdings

    def forget(self, key: Key) -> None:
        """Drops a deleted resource, and its namespace's sums with the last one."""
        if self._held.pop(key, None) is None or any(other.namespace == key.namespace for other in self._held):
            return
        self._seconds.forget(key.namespace)
        self._cost.forget(key.namespace)

    def add(self, idle: Idle) -> None:
        """Adds the time since the last call to the sums. ``idle``: by pod uid, whether the pod has no
        request."""
        now = self._clock()
        seconds, self._last = counted_seconds(self._last, now), now
        for key, holdings in self._held.items():
            unused = idle(key) if holdings else {}
            for holding in holdings:
                spent, cost = gpu_interval(holding, unused, seconds)
                self._seconds.add(key.namespace, holding.product, spent)
                self._cost.add(key.namespace, holding.price.currency if holding.price else "", cost)

    async def run(self, idle: Idle, period_seconds: float) -> None:
        """Calls ``add`` every ``period_seconds`` until cancelled."""
        while True:
            try:
                self.add(idle)
            except Exception:  # it must not end the process; the next interval may succeed
                logger.exception("GPU time was not counted")
            await asyncio.sleep(period_seconds)
