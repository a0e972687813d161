"""Rates of counters per pod over a window, as Prometheus computes them."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable

from tacho_simulate.policy import PodMetrics, PolicyView

Sample = tuple[float, PodMetrics]


class CounterRates:
    """The samples of a window."""

    def __init__(self, window_seconds: float) -> None:
        self._window_seconds = window_seconds
        self._pods: dict[str, deque[Sample]] = {}

    def add(self, view: PolicyView) -> None:
        now = view.now_seconds
        for pod in view.pods:
            if pod.ready and pod.metrics is not None:
                self._pods.setdefault(pod.uid, deque()).append((now, pod.metrics))
        for uid, samples in list(self._pods.items()):
            while samples and samples[0][0] < now - self._window_seconds:
                samples.popleft()
            if not samples:
                del self._pods[uid]

    def of(self, uid: str, counter: Callable[[PodMetrics], float]) -> float:
        """A counter's rate per second; 0 with a single sample, and after the counter was reset."""
        samples = self._pods.get(uid, deque())
        if len(samples) < 2:
            return 0.0
        (since, first), (until, last) = samples[0], samples[-1]
        return max(0.0, counter(last) - counter(first)) / (until - since)

    def total(self, counter: Callable[[PodMetrics], float]) -> float:
        """Sum over all pods of a counter's rate per second."""
        return math.fsum(self.of(uid, counter) for uid in self._pods)

    def highest(self, uid: str, gauge: Callable[[PodMetrics], float]) -> float:
        """Maximum of one pod's gauge within the window."""
        return max((gauge(metrics) for _, metrics in self._pods.get(uid, ())), default=0.0)
