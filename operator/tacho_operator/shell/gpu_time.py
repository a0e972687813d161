"""GPU time and its cost as counters by namespace, summed while this process leads."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator, Mapping
from functools import partial

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily

from tacho_operator.core.measurement.gpu_time import GpuHolding, Use, counted_seconds, gpu_interval
from tacho_operator.shell.series import RESTARTS, ResourceSeries, SeriesValue
from tacho_operator.shell.workqueue import Key

Idle = Callable[[Key], Mapping[str, bool]]
"""Whether each sampled pod of a resource has no request, by uid."""
Totals = dict[tuple[str, str, Use], float]
"""By namespace, by GPU product or currency, by use."""


class GpuTime:
    """Both counters. A namespace's series go with its last resource."""

    def __init__(self, registry: CollectorRegistry, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._held: dict[Key, GpuHolding] = {}
        self._last: float | None = None
        self._seconds: Totals = {}
        self._cost: Totals = {}
        series = partial(ResourceSeries, registry, family=CounterMetricFamily)
        series(
            "tacho_namespace_gpu_seconds",
            "GPU seconds that pods of the namespace held: serving, idle, probing or unready." + RESTARTS,
            ("namespace", "gpu", "use"),
            partial(_series, self._seconds),
        )
        series(
            "tacho_namespace_gpu_cost",
            "Cost of these GPU seconds in the currency, where their price is known." + RESTARTS,
            ("namespace", "currency", "use"),
            partial(_series, self._cost),
        )

    def observe(self, key: Key, holding: GpuHolding) -> None:
        """What a reconcile has found."""
        self._held[key] = holding

    def forget(self, key: Key) -> None:
        """The resource was deleted."""
        if self._held.pop(key, None) is None or any(other.namespace == key.namespace for other in self._held):
            return
        for totals in (self._seconds, self._cost):
            for place in [place for place in totals if place[0] == key.namespace]:
                del totals[place]

    def add(self, idle: Idle) -> None:
        """Counts the time since the last call."""
        now = self._clock()
        seconds, self._last = counted_seconds(self._last, now), now
        for key, holding in self._held.items():
            if holding.pods:
                found = gpu_interval(holding, idle(key), seconds)
                _add(self._seconds, key.namespace, holding.product, found.seconds)
                _add(self._cost, key.namespace, holding.price.currency if holding.price else "", found.cost)

    async def run(self, idle: Idle, period_seconds: float) -> None:
        """Counts until cancelled."""
        while True:
            self.add(idle)
            await asyncio.sleep(period_seconds)


def _add(totals: Totals, namespace: str, what: str, found: Mapping[Use, float]) -> None:
    for use, value in found.items():
        totals[namespace, what, use] = totals.get((namespace, what, use), 0.0) + value


def _series(totals: Totals) -> Iterator[SeriesValue]:
    return iter(totals.copy().items())
