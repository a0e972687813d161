"""tacho's own scaling algorithm as a policy, called as the operator's scaler calls it."""

from __future__ import annotations

from collections.abc import Callable

from tacho_operator.api.status.status import AutoscalingStatus
from tacho_operator.core.autoscaling.algorithm.step import step
from tacho_operator.core.autoscaling.algorithm.types import (
    Bounds,
    PodLoad,
    Policy as ScalingPolicy,
    ReplicaCapacity,
    Sample,
    ScalingInput,
    State,
)
from tacho_operator.core.autoscaling.status_view import scaled
from tacho_operator.core.autoscaling.target import TargetPod, restored, victims
from tacho_operator.core.types import Scaled
from tacho_simulate.policy import (
    PodMetrics,
    PolicyDecision,
    PolicyView,
    Setting,
    SimulatedPodView,
    SimulatedPolicy,
)

PERIOD_SECONDS = 10.0
"""Seconds between two decisions, the default of the chart's scalingPeriodSeconds."""


class Tacho:
    name = "tacho"

    def __init__(
        self,
        setting: Setting,
        policy_at: Callable[[float], ScalingPolicy],
        period_seconds: float = PERIOD_SECONDS,
        capacity_at: Callable[[float], ReplicaCapacity] | None = None,
        stored_at: Callable[[float, AutoscalingStatus], AutoscalingStatus] = lambda _, stored: stored,
    ) -> None:
        """``policy_at``: the user's scaling policy at a time. ``capacity_at``: what is measured by then; the
        setting's capacity for None. ``stored_at``: what others have made of the stored status by a restart.
        """
        self.period_seconds = period_seconds
        self._setting, self._policy_at = setting, policy_at
        self._capacity_at, self._stored_at = capacity_at or (lambda _: setting.capacity), stored_at
        self._state = State(cold_start_seconds=setting.cold_start_seconds)
        self._shown: Scaled | None = None
        self._stored: AutoscalingStatus | None = None
        """The resource's status, which outlives the operator's process."""
        self.demand: float | None = None
        """Replicas that the load of the latest decision fills to the measured capacity; None: unknown."""
        self._samples: dict[str, Sample] = {}
        self._started: dict[str, float] = {}
        """Cold start of each pod in seconds; later restarts of the pod are left out."""

    def restarted(self, now: float) -> Tacho:
        """The policy in the operator's next process, which reads status."""
        policy = Tacho(
            self._setting, self._policy_at, self.period_seconds, self._capacity_at, self._stored_at
        )
        if self._stored is not None:
            policy._stored = self._stored_at(now, self._stored)
            policy._state = restored(policy._stored)
        return policy

    def decide(self, view: PolicyView) -> PolicyDecision:
        serving = [pod for pod in view.pods if pod.ready]
        at = ScalingInput(
            replicas=view.replicas,
            pods=tuple(self._load(pod, view.now_seconds) for pod in serving),
            capacity=self._capacity_at(view.now_seconds),
            policy=self._policy_at(view.now_seconds),
        )
        done = step(at, self._state, view.now_seconds)
        self._state = done.state
        self._shown = scaled(
            done.decision, done.state, bounds=at.policy.bounds, problems=(), victims=(), previous=self._shown
        )
        self._stored = self._shown.autoscaling
        self.demand = done.decision.figures.demand
        uids = {pod.uid for pod in serving}
        self._samples = {uid: sample for uid, sample in self._samples.items() if uid in uids}
        targets = [TargetPod(uid=pod.uid, name=pod.uid, address="") for pod in serving]
        return PolicyDecision(
            replicas=done.decision.replicas,
            reason=done.decision.reason,
            victims=victims(targets, done.state.tracks, view.replicas - done.decision.replicas),
        )

    def _load(self, pod: SimulatedPodView, now: float) -> PodLoad:
        """The pod's load. A pod without an answer keeps its last sample, which grows old."""
        if pod.metrics is not None:
            self._samples[pod.uid] = _sample(pod.metrics, now)
        if pod.ready_seconds is not None:
            self._started.setdefault(pod.uid, pod.ready_seconds - pod.created_seconds)
        started = self._started.get(pod.uid)
        return PodLoad(
            uid=pod.uid,
            sample=self._samples.get(pod.uid),
            start_seconds=started if started else None,
        )


def _sample(metrics: PodMetrics, now: float) -> Sample:
    return Sample(
        time_seconds=now,
        running=metrics.running,
        waiting=metrics.waiting,
        generated_tokens=metrics.generation_tokens_total,
        computed_prompt_tokens=metrics.prompt_tokens_total,
        kv_cache_usage=metrics.kv_cache_usage,
        first_tokens=metrics.first_tokens_total,
        ttft=metrics.ttft,
        tpot=metrics.tpot,
    )


def make(setting: Setting) -> Tacho:
    policy = ScalingPolicy(
        bounds=Bounds(least=setting.min_replicas, most=setting.max_replicas),
        ttft_seconds=setting.slo_ttft_seconds,
        tpot_seconds=setting.slo_tpot_seconds,
        percentile=setting.slo_percentile,
    )
    return Tacho(setting, lambda _: policy)


def make_with(policy: ScalingPolicy, setting: Setting) -> SimulatedPolicy:
    """tacho's scaler as a policy, with the user's behavior and bounds."""
    return Tacho(setting, lambda _: policy)
