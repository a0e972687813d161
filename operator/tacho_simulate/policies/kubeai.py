"""KubeAI's autoscaler: the mean of active requests over ten minutes, divided by a target for each replica.

Source: github.com/kubeai-project/kubeai internal/modelautoscaler/autoscaler.go and
internal/modelclient/scale.go at f442a2cd (chart 0.22.1).
"""

from __future__ import annotations

import math
from collections import deque

from tacho_simulate.policies.autoscaler import ready_metrics
from tacho_simulate.policy import PolicyDecision, PolicyView, Setting

TARGET_REQUESTS = 100.0
WINDOW_SECONDS = 600.0
SCALE_DOWN_DELAY_SECONDS = 30.0


class KubeAI:
    """KubeAI's autoscaler as a policy.

    Active requests are those that KubeAI's own proxy has accepted and not answered. The simulation takes them
    from the pods' metrics; where pods do not answer, the last sum is used again.
    """

    name = "kubeai"
    period_seconds = 10.0

    def __init__(
        self, setting: Setting, target: float = TARGET_REQUESTS, window_seconds: float = WINDOW_SECONDS
    ) -> None:
        self._bounded = setting.bounded
        self._target = target
        self._counts: deque[int] = deque(maxlen=math.ceil(window_seconds / self.period_seconds))
        self._required = math.ceil(SCALE_DOWN_DELAY_SECONDS / self.period_seconds)
        self._downs = 0
        self._active_before = 0

    def decide(self, view: PolicyView) -> PolicyDecision:
        active = self._active(view)
        if not self._counts:
            # The run begins within traffic, so the window starts full, as after a restart of KubeAI.
            self._counts.extend([active] * (self._counts.maxlen or 1))
        self._counts.append(active)
        mean = sum(self._counts) / len(self._counts)
        desired = self._bounded(math.ceil(mean / self._target - 1e-9))
        reason = f"{mean:.4g} active requests, target {self._target:g}: {desired} replicas"
        if desired >= view.replicas:
            self._downs = 0
        elif self._downs < self._required:
            self._downs += 1
            return PolicyDecision(replicas=view.replicas, reason=f"{reason}, scale-down delay")
        return PolicyDecision(replicas=desired, reason=reason)

    def _active(self, view: PolicyView) -> int:
        known, _, missing = ready_metrics(view)
        if missing:
            return self._active_before
        self._active_before = view.gateway_waiting + sum(item.running + item.waiting for item in known)
        return self._active_before
