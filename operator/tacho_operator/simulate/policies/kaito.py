"""KAITO's scaler for KEDA: one replica more or fewer by the requests that wait in each, if all are ready."""

from __future__ import annotations

from tacho_operator.core.scaling.law.types import Pace, Rules
from tacho_operator.simulate.policies.autoscaler import SYNC_SECONDS, TOLERANCE, Autoscaler, by_value, told
from tacho_operator.simulate.policy import Choice, Policy, Setting, View

UP_WAITING, DOWN_WAITING = 10.0, 1.0
"""Of the README's examples: both must be typed in."""
MORE, FEWER, HOLD = 2.0, 0.5, 1.0
"""What the formula tells the HorizontalPodAutoscaler, whose target is 1 and whose paces allow one pod."""
UP_COOLDOWN_SECONDS = 300.0


class Kaito:
    name = "kaito"
    source = (
        "github.com/kaito-project/keda-kaito-scaler pkg/scaledobject/provisioner.go at 3ce909d4, "
        "through a HorizontalPodAutoscaler"
    )
    period_seconds = SYNC_SECONDS

    def __init__(self, setting: Setting, up: float, down: float, cooldown_seconds: float) -> None:
        self._up, self._down = up, down
        self._autoscaler = Autoscaler(setting, up=_one_in(cooldown_seconds, 60.0), down=_one_in(300.0, 300.0))

    def decide(self, view: View) -> Choice:
        known, unready, _ = told(view)
        if not known:
            return self._autoscaler.settle(view, [None], "requests that wait")
        mean = sum(item.waiting for item in known) / len(known)
        ready = len(view.pods) - unready
        gate = ready >= view.replicas
        value = MORE if gate and mean > self._up else FEWER if mean < self._down else HOLD
        proposal = by_value(value, ready=ready, replicas=view.replicas, target=1.0)
        said = f"{mean:.4g} wait a replica, {self._up:g} are too many, {self._down:g} few"
        return self._autoscaler.settle(view, [proposal], said)


def _one_in(period_seconds: float, window_seconds: float) -> Rules:
    pace = Pace(kind="Pods", value=1, period_seconds=period_seconds)
    return Rules(window_seconds=window_seconds, paces=(pace,), tolerance=TOLERANCE)


def make(
    setting: Setting,
    up: float = UP_WAITING,
    down: float = DOWN_WAITING,
    cooldown_seconds: float = UP_COOLDOWN_SECONDS,
) -> Policy:
    return Kaito(setting, up, down, cooldown_seconds)
