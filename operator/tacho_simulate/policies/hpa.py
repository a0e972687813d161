"""HorizontalPodAutoscalers on engine metrics, as custom metrics of pods."""

from __future__ import annotations

from collections.abc import Callable

from tacho_simulate.policies import tacho
from tacho_simulate.policies.autoscaler import (
    SYNC_SECONDS,
    Autoscaler,
    by_average,
    by_pods,
    ready_metrics,
)
from tacho_simulate.policy import PodMetrics, PolicyDecision, PolicyView, Setting, SimulatedPolicy

QUEUE, KV_CACHE, CONCURRENCY, DEMAND = 5.0, 0.5, 50.0, 0.8
"""Targets of the HPAs. None has an official default: queue of 5 as in vllm-project/production-stack's chart,
half the KV cache as in vllm-project/aibrix's sample, 0.8 of the demand, and a round number of requests.
"""


class OnPods:
    """An HPA on a metric of pods: the average value per pod against a target."""

    period_seconds = SYNC_SECONDS

    def __init__(
        self, setting: Setting, *, name: str, metric: Callable[[PodMetrics], float], target: float
    ) -> None:
        self.name = name
        self._metric, self._target = metric, target
        self._autoscaler = Autoscaler(setting)

    def decide(self, view: PolicyView) -> PolicyDecision:
        metrics, unready, missing = ready_metrics(view)
        known = [self._metric(item) for item in metrics]
        proposal = by_pods(
            known, unready=unready, missing=missing, replicas=view.replicas, target=self._target
        )
        mean = sum(known) / len(known) if known else 0.0
        return self._autoscaler.settle(view, [proposal], f"{mean:.4g} per pod, target {self._target:g}")


class OnDemand:
    """An HPA on tacho's metric of demand in replicas, an external metric with an AverageValue."""

    name = "hpa-demand"
    period_seconds = SYNC_SECONDS

    def __init__(self, setting: Setting, target: float = DEMAND) -> None:
        self._tacho, self._target = tacho.make(setting), target
        self._autoscaler = Autoscaler(setting)

    def decide(self, view: PolicyView) -> PolicyDecision:
        self._tacho.decide(view)
        demand = self._tacho.demand
        proposal = None
        if demand is not None:
            proposal = by_average(demand, replicas=view.replicas, target=self._target)
        return self._autoscaler.settle(view, [proposal], f"demand {demand or 0:.4g}, target {self._target:g}")


def on_queue(setting: Setting, target: float = QUEUE) -> SimulatedPolicy:
    """The HPA on waiting requests per pod."""
    return OnPods(setting, name="hpa-queue", metric=lambda item: item.waiting, target=target)


def on_kv_cache(setting: Setting, target: float = KV_CACHE) -> SimulatedPolicy:
    """The HPA on the used share of the KV cache per pod."""
    return OnPods(setting, name="hpa-kv-cache", metric=lambda item: item.kv_cache_usage, target=target)


def on_concurrency(setting: Setting, target: float = CONCURRENCY) -> SimulatedPolicy:
    """The HPA on requests per pod, running and waiting."""
    return OnPods(
        setting, name="hpa-concurrency", metric=lambda item: item.running + item.waiting, target=target
    )
