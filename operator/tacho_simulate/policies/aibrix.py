"""AIBrix: APA and KPA on a metric of pods, both on means over 180 s.

As published, the windows hold means over pods and not totals, so that KPA's division ignores the number of
pods. A scale-down takes the lowest recommendation of the last 300 s.

Source: github.com/vllm-project/aibrix pkg/controller/podautoscaler (algorithm/, metrics/client.go) at
e3e10f9e.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable

from tacho_operator.core.autoscaling.algorithm.types import Point
from tacho_simulate.policies.autoscaler import ready_metrics
from tacho_simulate.policy import PodMetrics, PolicyDecision, PolicyView, Setting, SimulatedPolicy

KV_CACHE = 0.5
"""KV cache target of samples/autoscaling/apa.yaml and kpa.yaml."""
STABLE_SECONDS, PANIC_SECONDS = 180.0, 60.0
TOLERANCE = 0.1
RATE = 2.0
"""Largest factor by which one decision may increase or decrease replicas."""
PANIC = 2.0
DOWN_SECONDS = 300.0


def kv_cache(metrics: PodMetrics) -> float:
    return metrics.kv_cache_usage


def requests(metrics: PodMetrics) -> float:
    return metrics.running + metrics.waiting


METRICS: dict[str, Callable[[PodMetrics], float]] = {"kv-cache": kv_cache, "requests": requests}


def apa(have: int, mean: float, target: float) -> int:
    """The replicas that APA recommends for ``have`` pods with the mean metric value ``mean``."""
    ratio = mean / target
    if ratio > 1 + TOLERANCE:
        return min(math.ceil(have * ratio - 1e-9), math.ceil(RATE * have))
    if ratio < 1 - TOLERANCE:
        return max(math.ceil(have * ratio - 1e-9), math.floor(have / RATE))
    return have


def kpa(have: int, stable: float, panic: float, target: float) -> int:
    """The replicas that KPA recommends, from the mean metric values of the stable and the panic window."""
    fewest, most = math.floor(have / RATE), max(1, math.ceil(RATE * have))
    by_stable, by_panic = (min(max(_over(value, target, have), fewest), most) for value in (stable, panic))
    panicking = stable <= 0 or panic / stable > PANIC
    return max(by_stable, by_panic) if panicking else by_stable


def _over(value: float, target: float, have: int) -> int:
    tolerated = (1 - TOLERANCE) * target <= value <= (1 + TOLERANCE) * target
    return have if tolerated else math.ceil(value / target - 1e-9)


class AIBrix:
    period_seconds = 10.0

    def __init__(
        self, setting: Setting, *, name: str, panics: bool, target: float, metric: str, total: bool
    ) -> None:
        self.name = name
        self._bounded = setting.bounded
        self._panics, self._target, self._metric, self._total = panics, target, METRICS[metric], total
        self._window: deque[Point] = deque()
        self._recommended: deque[Point] = deque()

    def decide(self, view: PolicyView) -> PolicyDecision:
        known, _, _ = ready_metrics(view)
        if not known:
            return PolicyDecision(replicas=view.replicas, reason="no load metrics are available")
        now = view.now_seconds
        amount = math.fsum(self._metric(item) for item in known)
        self._window.append(Point(now, amount if self._total else amount / len(known)))
        while self._window[0].time_seconds < now - STABLE_SECONDS:
            self._window.popleft()
        stable, panic = self._mean(now - STABLE_SECONDS), self._mean(now - PANIC_SECONDS)
        have = view.replicas
        desired = kpa(have, stable, panic, self._target) if self._panics else apa(have, stable, self._target)
        desired = self._bounded(desired)
        chosen = self._cooled(desired, have, now)
        means = f"mean {stable:.4g} over 180 s and {panic:.4g} over 60 s"
        reason = f"{means}, target {self._target:g}: {desired} replicas"
        return PolicyDecision(replicas=chosen, reason=reason)

    def _mean(self, since: float) -> float:
        values = [point.value for point in self._window if point.time_seconds >= since]
        return math.fsum(values) / len(values)

    def _cooled(self, desired: int, have: int, now: float) -> int:
        self._recommended.append(Point(now, desired))
        while self._recommended[0].time_seconds <= now - DOWN_SECONDS:
            self._recommended.popleft()
        if desired >= have:
            return desired
        return int(min(point.value for point in self._recommended))


def make_apa(setting: Setting, target: float = KV_CACHE, metric: str = "kv-cache") -> SimulatedPolicy:
    return AIBrix(setting, name="aibrix-apa", panics=False, target=target, metric=metric, total=False)


def make_kpa(
    setting: Setting, target: float = KV_CACHE, metric: str = "kv-cache", *, total: bool = False
) -> SimulatedPolicy:
    """AIBrix's KPA as a policy. ``total``: its metric is the sum over all pods, as for type External."""
    return AIBrix(setting, name="aibrix-kpa", panics=True, target=target, metric=metric, total=total)
