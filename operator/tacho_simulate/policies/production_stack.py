"""vLLM's production-stack through KEDA, in two variants: its Helm chart's trigger and its operator's.

The chart scales by waiting requests. The operator scales by running requests and by tokens, each with a
threshold per replica that the user sets.
"""

from __future__ import annotations

from collections import deque

from tacho_operator.core.autoscaling.algorithm.types import Pace, Point, Rules
from tacho_simulate.policies.autoscaler import (
    DOWN,
    SYNC_SECONDS,
    TOLERANCE,
    UP,
    Autoscaler,
    CounterRates,
    by_average,
    by_ratio,
    ready_metrics,
)
from tacho_simulate.policy import PolicyDecision, PolicyView, Setting

WAITING = 5.0
RUNNING, GENERATION, PROMPT = 5.0, 100.0, 100.0
"""Thresholds per replica: running requests, generated tokens/s and prompt tokens/s."""
RATE_SECONDS, KEEPALIVE_SECONDS = 60.0, 120.0
ONE_A_MINUTE = (Pace(kind="Pods", value=1, period_seconds=60),)


class Chart:
    """The chart's default trigger, with the HorizontalPodAutoscaler's own behavior.

    Source: github.com/vllm-project/production-stack helm/templates/scaledobject-vllm.yaml at a6c01db0,
    through KEDA and a HorizontalPodAutoscaler.
    """

    name = "production-stack"
    period_seconds = SYNC_SECONDS

    def __init__(self, setting: Setting, waiting: float = WAITING) -> None:
        self._waiting = waiting
        self._autoscaler = Autoscaler(setting, up=UP, down=DOWN)

    def decide(self, view: PolicyView) -> PolicyDecision:
        # A series that is missing is 0 for KEDA's Prometheus scaler, unless configured otherwise.
        total = sum(item.waiting for item in ready_metrics(view)[0])
        proposal = by_average(total, replicas=view.replicas, target=self._waiting)
        return self._autoscaler.settle(
            view, [proposal], f"{total} waiting requests, threshold {self._waiting:g} per replica"
        )


class Operator:
    """The ScaledObject that production-stack's operator writes: four triggers, of which the largest counts.

    The first keeps replicas as they are for as long as any request comes. Source:
    github.com/vllm-project/production-stack operator/internal/controller/vllmruntime_controller.go at
    a6c01db0, through KEDA and a HorizontalPodAutoscaler.
    """

    name = "production-stack-operator"
    period_seconds = SYNC_SECONDS

    def __init__(self, setting: Setting, factor: float = 1.0, *, keepalive: bool = True) -> None:
        """``factor`` multiplies all three thresholds."""
        self._factor, self._keepalive = factor, keepalive
        self._rates = CounterRates(RATE_SECONDS)
        self._arrivals = deque([Point(0.0, 0)])
        self._autoscaler = Autoscaler(
            setting,
            up=Rules(window_seconds=0.0, paces=ONE_A_MINUTE, tolerance=TOLERANCE),
            down=Rules(window_seconds=300.0, paces=ONE_A_MINUTE, tolerance=TOLERANCE),
        )

    def decide(self, view: PolicyView) -> PolicyDecision:
        self._rates.add(view)
        running = sum(item.running for item in ready_metrics(view)[0])
        amounts = (
            (running, RUNNING),
            (self._rates.total(lambda item: item.generation_tokens_total), GENERATION),
            (self._rates.total(lambda item: item.prompt_tokens_total), PROMPT),
        )
        proposals = [
            by_average(amount, replicas=view.replicas, target=threshold * self._factor)
            for amount, threshold in amounts
        ]
        if self._keepalive:
            ready = sum(pod.ready for pod in view.pods)
            coming = 1.0 if self._comes(view) else 0.0
            proposals.append(by_ratio(coming, ready=ready, replicas=view.replicas))
        amounts_text = ", ".join(
            f"{amount:.4g} of {threshold * self._factor:g}" for amount, threshold in amounts
        )
        reason = f"running requests, output and prompt tokens/s of their thresholds: {amounts_text}"
        return self._autoscaler.settle(view, proposals, reason)

    def _comes(self, view: PolicyView) -> bool:
        self._arrivals.append(Point(view.now_seconds, view.arrivals_total))
        while self._arrivals[0].time_seconds < view.now_seconds - KEEPALIVE_SECONDS:
            self._arrivals.popleft()
        return self._arrivals[-1].value > self._arrivals[0].value
