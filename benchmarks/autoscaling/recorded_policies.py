"""Policies of a replay: who goes is who went on the cluster, and replicas are those that it asked for."""

from __future__ import annotations

import dataclasses
import math
from bisect import bisect_right
from collections.abc import Sequence
from typing import Any

from tacho_simulate.policy import PolicyDecision, PolicyView, Restarts, SimulatedPodView, SimulatedPolicy


class AsTheyWent:
    """Of the pods that have as little to finish, the law takes the first by name, and names are chance: here
    it is the one whose recorded one was sent its last request first. ``followed``: whatever they have."""

    def __init__(self, policy: SimulatedPolicy, lasts: Sequence[float], *, followed: bool) -> None:
        self.name, self.period_seconds = policy.name, policy.period_seconds
        self._policy, self._followed = policy, followed
        self._lasts = dict(enumerate(lasts))
        self._held: dict[str, int] = {}

    def restarted(self, now: float) -> AsTheyWent:
        policy = self._policy.restarted(now) if isinstance(self._policy, Restarts) else self._policy
        return AsTheyWent(policy, tuple(self._lasts.values()), followed=self._followed)

    def decide(self, view: PolicyView) -> PolicyDecision:
        choice = self._policy.decide(view)
        for pod in view.pods:
            if pod.metrics is not None:
                self._held[pod.uid] = pod.metrics.running + pod.metrics.waiting
        if not self._lasts:
            return choice

        def first(pod: SimulatedPodView) -> tuple[int, float]:
            held = 0 if self._followed else self._held.get(pod.uid, 0)
            return held, self._lasts.get(pod.begun, math.inf)

        ranked = sorted((pod for pod in view.pods if pod.ready), key=first)
        return dataclasses.replace(choice, victims=tuple(pod.uid for pod in ranked))


class Followed:
    """A policy that asks for what the cluster asked for at the same time: what a look sees came about between
    it and the one before, on the mean in the middle."""

    name, source = "recorded", "the recording"
    period_seconds = 0.25

    def __init__(self, moments: Sequence[dict[str, Any]]) -> None:
        looks = [moment["time_s"] for moment in moments]
        self._times = [(before + after) / 2 for before, after in zip([0.0, *looks], looks, strict=False)]
        self._replicas = [moment["replicas"] for moment in moments]

    def decide(self, view: PolicyView) -> PolicyDecision:
        look = max(0, bisect_right(self._times, view.now_seconds) - 1)
        return PolicyDecision(replicas=self._replicas[look], reason="as it was recorded")


def lasts(requests: Sequence[dict[str, Any]], pods: Sequence[int]) -> list[float]:
    """When each pod was sent its last request."""
    found: dict[int, float] = {}
    for item, pod in zip(requests, pods, strict=False):
        found[pod] = max(item["sent_s"], found.get(pod, 0.0))
    return [found[pod] for pod in sorted(found)]
