"""HorizontalPodAutoscalers on what engines tell of themselves, as a custom metric of pods."""

from __future__ import annotations

from collections.abc import Callable

from tacho_operator.simulate.policies.autoscaler import SOURCE, SYNC_SECONDS, Autoscaler, by_pods, told
from tacho_operator.simulate.policy import Choice, PodMetrics, Policy, Setting, View

QUEUE, KV_CACHE, CONCURRENCY = 5.0, 0.5, 50.0
"""Nothing has a default: a queue of 5 as in the chart of vllm-project/production-stack, half a KV cache as in
the sample of vllm-project/aibrix, the requests at once are a round number."""


class OnPods:
    """Each pod is to be at the target on average."""

    period_seconds = SYNC_SECONDS
    source = SOURCE

    def __init__(
        self, setting: Setting, *, name: str, metric: Callable[[PodMetrics], float], target: float
    ) -> None:
        self.name = name
        self._metric, self._target = metric, target
        self._autoscaler = Autoscaler(setting)

    def decide(self, view: View) -> Choice:
        metrics, unready, missing = told(view)
        known = [self._metric(item) for item in metrics]
        proposal = by_pods(
            known, unready=unready, missing=missing, replicas=view.replicas, target=self._target
        )
        mean = sum(known) / len(known) if known else 0.0
        return self._autoscaler.settle(view, [proposal], f"{mean:.4g} a pod, {self._target:g} is the target")


def on_queue(setting: Setting, target: float = QUEUE) -> Policy:
    """Requests that wait in a pod."""
    return OnPods(setting, name="hpa-queue", metric=lambda item: item.waiting, target=target)


def on_kv_cache(setting: Setting, target: float = KV_CACHE) -> Policy:
    """The share of the KV cache that is used."""
    return OnPods(setting, name="hpa-kv-cache", metric=lambda item: item.kv_cache_usage, target=target)


def on_concurrency(setting: Setting, target: float = CONCURRENCY) -> Policy:
    """Requests in a pod, waiting or not."""
    return OnPods(
        setting, name="hpa-concurrency", metric=lambda item: item.running + item.waiting, target=target
    )
