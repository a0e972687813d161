"""KubeAI: the mean of active requests over ten minutes, over a target for each replica."""

from __future__ import annotations

import math
from collections import deque

from tacho_operator.simulate.policies.autoscaler import told
from tacho_operator.simulate.policy import Choice, Policy, Setting, View

TARGET_REQUESTS = 100.0
WINDOW_SECONDS = 600.0
SCALE_DOWN_DELAY_SECONDS = 30.0


class KubeAI:
    """Active requests are those that its own proxy has taken and not answered. A view shows them by what pods
    say; where pods cannot be asked the last sum is taken again."""

    name = "kubeai"
    source = (
        "github.com/kubeai-project/kubeai internal/modelautoscaler/autoscaler.go, "
        "internal/modelclient/scale.go at f442a2cd (chart 0.22.1)"
    )
    period_seconds = 10.0

    def __init__(self, setting: Setting, target: float, window_seconds: float) -> None:
        self._least, self._most, self._target = setting.least, setting.most, target
        self._counts: deque[int] = deque(maxlen=math.ceil(window_seconds / self.period_seconds))
        self._required = math.ceil(SCALE_DOWN_DELAY_SECONDS / self.period_seconds)
        self._downs = 0
        self._active_before = 0

    def decide(self, view: View) -> Choice:
        active = self._active(view)
        if not self._counts:
            # As after a restart of KubeAI, whose last mean fills the window: the run begins amid traffic.
            self._counts.extend([active] * (self._counts.maxlen or 1))
        self._counts.append(active)
        mean = sum(self._counts) / len(self._counts)
        wanted = min(max(math.ceil(mean / self._target - 1e-9), self._least), self._most)
        said = f"{mean:.4g} active requests over {self._target:g} ask for {wanted}"
        if wanted >= view.replicas:
            self._downs = 0
        elif self._downs < self._required:
            self._downs += 1
            return Choice(replicas=view.replicas, sentence=f"{said}, which must last")
        return Choice(replicas=wanted, sentence=said)

    def _active(self, view: View) -> int:
        known, _, missing = told(view)
        if missing:
            return self._active_before
        self._active_before = view.gateway_waiting + sum(item.running + item.waiting for item in known)
        return self._active_before


def make(setting: Setting, target: float = TARGET_REQUESTS, window_seconds: float = WINDOW_SECONDS) -> Policy:
    return KubeAI(setting, target, window_seconds)
