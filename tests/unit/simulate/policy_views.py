"""Views for policies, made by hand."""

from __future__ import annotations

from collections.abc import Sequence

from tacho_operator.core.autoscaling.algorithm.types import ReplicaCapacity
from tacho_simulate.performance_model import PerformanceModel
from tacho_simulate.policy import PodMetrics, PolicyView, Setting, SimulatedPodView

MODEL = PerformanceModel(
    steps=((1, 0.02),), prefill_tokens_per_second=8000.0, kv_cache_tokens=10_000, max_num_seqs=16
)
SETTING = Setting(
    min_replicas=1,
    max_replicas=20,
    capacity=ReplicaCapacity(requests_per_second=1.0, output_tokens_per_second=400.0, kv_cache_tokens=10_000),
    slo_ttft_seconds=1.0,
    slo_tpot_seconds=0.05,
    cold_start_seconds=60.0,
    model=MODEL,
)


def metrics(
    *,
    running: int = 0,
    waiting: int = 0,
    kv_cache_usage: float = 0.0,
    prompt: float = 0.0,
    generation: float = 0.0,
    requests: float = 0.0,
) -> PodMetrics:
    return PodMetrics(
        running=running,
        waiting=waiting,
        kv_cache_usage=kv_cache_usage,
        prompt_tokens_total=prompt,
        generation_tokens_total=generation,
        requests_total=requests,
        first_tokens_total=0.0,
    )


def view(
    now: float,
    pods: Sequence[PodMetrics | None],
    *,
    starting: int = 0,
    replicas: int | None = None,
    arrivals: int = 0,
) -> PolicyView:
    """``pods``: those that are ready; None: one that cannot be asked."""
    ready = [
        SimulatedPodView(
            uid=f"pod-{number}", ready=True, created_seconds=0.0, ready_seconds=0.0, metrics=item
        )
        for number, item in enumerate(pods)
    ]
    unready = [
        SimulatedPodView(
            uid=f"new-{number}", ready=False, created_seconds=now, ready_seconds=None, metrics=None
        )
        for number in range(starting)
    ]
    found = (*ready, *unready)
    return PolicyView(
        now_seconds=now,
        replicas=len(found) if replicas is None else replicas,
        pods=found,
        arrivals_total=arrivals,
    )
