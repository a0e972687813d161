"""The algorithm of the HorizontalPodAutoscaler, and rates of counters, which several policies use.

    metric ─► proposal (ratio, tolerance) ─► stabilized over a window ─► scaling policies ─► bounds

An unavailable metric makes no proposal, and replicas stay.

Source: github.com/kubernetes/kubernetes pkg/controller/podautoscaler (horizontal.go, replica_calculator.go)
at 00067268; changes of both directions count in a period, as of 1.26.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace

from tacho_operator.core.autoscaling.algorithm import tuning
from tacho_operator.core.autoscaling.algorithm.behavior import limit, with_high, with_low
from tacho_operator.core.autoscaling.algorithm.types import SCALE_DOWN, SCALE_UP, Change, Point, Rules
from tacho_simulate.policy import PodMetrics, PolicyDecision, PolicyView, Setting

SYNC_SECONDS = 15.0
TOLERANCE = 0.1
UP, DOWN = (replace(rules, tolerance=TOLERANCE) for rules in (SCALE_UP, SCALE_DOWN))


def by_pods(
    known: Sequence[float], *, unready: int, missing: int, replicas: int, target: float
) -> int | None:
    """Proposed replicas for a metric of type Pods with AverageValue; None without values.

    ``known``: values of ready pods. ``missing``: ready pods without a value. At a scale-down, pods without a
    value count as at the target; at a scale-up they count as idle, like unready pods.
    """
    if not known:
        return None
    ratio = math.fsum(known) / len(known) / target
    if missing == 0 and not (unready and ratio > 1):
        return replicas if _tolerated(ratio) else _whole(ratio * len(known))
    counted = len(known) + missing
    total = math.fsum(known)
    if ratio < 1:
        total += missing * target
    elif ratio > 1:
        counted += unready
    again = total / counted / target
    if _tolerated(again) or (ratio < 1) != (again < 1):
        return replicas
    proposed = _whole(again * counted)
    turned = proposed > replicas if again < 1 else proposed < replicas
    return replicas if turned else proposed


def by_average(total: float, *, replicas: int, target: float) -> int:
    """Proposed replicas for a metric of type External with AverageValue."""
    if replicas and _tolerated(total / (target * replicas)):
        return replicas
    return _whole(total / target)


def by_ratio(ratio: float, *, ready: int, replicas: int) -> int:
    """Proposed replicas for a metric of type External or Object with Value, as a part of its target."""
    return replicas if _tolerated(ratio) else _whole(ratio * ready)


def _tolerated(ratio: float) -> bool:
    return abs(ratio - 1) <= TOLERANCE + 1e-12


def _whole(amount: float) -> int:
    return math.ceil(amount - 1e-9)


class Autoscaler:
    """A HorizontalPodAutoscaler with its recent recommendations and changes."""

    def __init__(self, setting: Setting, *, up: Rules = UP, down: Rules = DOWN) -> None:
        self._bounded = setting.bounded
        self._up, self._down = up, down
        self._lows: tuple[Point, ...] = ()
        self._highs: tuple[Point, ...] = ()
        self._changes: list[Change] = []

    def settle(self, view: PolicyView, proposals: Iterable[int | None], reason: str) -> PolicyDecision:
        """The decision: the largest proposal, limited by windows, scaling policies and bounds.

        While a metric is missing, the others may scale up only.
        """
        all_proposals = list(proposals)
        found = [item for item in all_proposals if item is not None]
        now, have = view.now_seconds, view.replicas
        if not found or (len(found) < len(all_proposals) and max(found) < have):
            return PolicyDecision(replicas=have, reason=f"{reason}: metric missing, {have} replicas stay")
        desired = max(found)
        steady = self._stabilized(self._bounded(desired), have, now)
        if steady > have:
            steady = min(steady, limit(self._up, have, self._changes, now, upwards=True))
        elif steady < have:
            steady = max(steady, limit(self._down, have, self._changes, now, upwards=False))
        steady = self._bounded(steady)
        if steady != have:
            longest = max(pace.period_seconds for rules in (self._up, self._down) for pace in rules.paces)
            young = [item for item in self._changes if now - item.time_seconds < longest]
            self._changes = [*young, Change(time_seconds=now, before=have, after=steady)]
        return PolicyDecision(
            replicas=steady, reason=f"{reason}: {desired} recommended, {have} -> {steady} replicas"
        )

    def _stabilized(self, desired: int, have: int, now: float) -> int:
        """``desired``, limited to at most the lowest recommendation of the scale-up window and at least the
        highest of the scale-down window.
        """
        point = Point(now, desired)
        self._lows = with_low(self._lows, point, self._up.window_seconds - tuning.EARLY_SECONDS)
        self._highs = with_high(self._highs, point, self._down.window_seconds - tuning.EARLY_SECONDS)
        return min(max(have, int(self._lows[0].value)), int(self._highs[0].value))


def ready_metrics(view: PolicyView) -> tuple[list[PodMetrics], int, int]:
    """(metrics of ready pods, number of unready pods, number of ready pods without metrics)."""
    ready = [pod for pod in view.pods if pod.ready]
    known = [pod.metrics for pod in ready if pod.metrics is not None]
    return known, len(view.pods) - len(ready), len(ready) - len(known)


Sample = tuple[float, PodMetrics]


class CounterRates:
    """Rates per second of pods' counters, over a sliding window of samples."""

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
        """A counter's rate per second in one pod; 0 with a single sample, and after the counter was reset."""
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
