"""KAITO's scaler for KEDA: one replica more or fewer by waiting requests per replica, if all are ready.

Source: github.com/kaito-project/keda-kaito-scaler pkg/scaledobject/provisioner.go at 3ce909d4, through a
HorizontalPodAutoscaler.
"""

from __future__ import annotations

from tacho_operator.core.autoscaling.algorithm.types import Pace, Rules
from tacho_simulate.policies.autoscaler import SYNC_SECONDS, TOLERANCE, Autoscaler, by_ratio, ready_metrics
from tacho_simulate.policy import PolicyDecision, PolicyView, Setting

UP_WAITING, DOWN_WAITING = 10.0, 1.0
"""Waiting requests per replica for one replica more, and fewer; from the README: users have to set both."""
MORE, FEWER, HOLD = 2.0, 0.5, 1.0
"""Values returned to the HorizontalPodAutoscaler for one replica more, fewer or none. Its target is 1, its
scaling policy one pod.
"""
UP_COOLDOWN_SECONDS = 300.0


class Kaito:
    name = "kaito"
    period_seconds = SYNC_SECONDS

    def __init__(
        self,
        setting: Setting,
        up: float = UP_WAITING,
        down: float = DOWN_WAITING,
        cooldown_seconds: float = UP_COOLDOWN_SECONDS,
    ) -> None:
        self._up, self._down = up, down
        self._autoscaler = Autoscaler(setting, up=_one_in(cooldown_seconds, 60.0), down=_one_in(300.0, 300.0))

    def decide(self, view: PolicyView) -> PolicyDecision:
        known, unready, _ = ready_metrics(view)
        if not known:
            return self._autoscaler.settle(view, [None], "waiting requests")
        mean = sum(item.waiting for item in known) / len(known)
        ready = len(view.pods) - unready
        gate = ready >= view.replicas
        value = MORE if gate and mean > self._up else FEWER if mean < self._down else HOLD
        proposal = by_ratio(value, ready=ready, replicas=view.replicas)
        reason = f"{mean:.4g} waiting requests per replica, thresholds {self._up:g} and {self._down:g}"
        return self._autoscaler.settle(view, [proposal], reason)


def _one_in(period_seconds: float, window_seconds: float) -> Rules:
    pace = Pace(kind="Pods", value=1, period_seconds=period_seconds)
    return Rules(window_seconds=window_seconds, paces=(pace,), tolerance=TOLERANCE)
