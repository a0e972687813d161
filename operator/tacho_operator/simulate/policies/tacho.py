"""The operator's own decision, driven as its scaler does."""

from __future__ import annotations

from collections.abc import Callable

from tacho_contract import __version__
from tacho_operator.core.scaling.law.step import step
from tacho_operator.core.scaling.law.types import Bounds, PodLoad, Policy as Asked, Sample, Standing, State
from tacho_operator.core.scaling.target import TargetPod
from tacho_operator.core.scaling.victims import victims
from tacho_operator.simulate.policy import Choice, PodMetrics, PodView, Policy, Setting, View

PERIOD_SECONDS = 10.0
"""Of the chart's scalingPeriodSeconds."""


class Tacho:
    name = "tacho"
    source = f"tacho {__version__}, core/scaling/law/step.py"

    def __init__(
        self, setting: Setting, asked: Callable[[float], Asked], period_seconds: float = PERIOD_SECONDS
    ) -> None:
        """``asked``: at a time, what a person asks for then."""
        self.period_seconds = period_seconds
        self._capacity, self._asked = setting.capacity, asked
        self._state = State(cold_start_seconds=setting.cold_start_seconds)
        self._samples: dict[str, Sample] = {}
        self._started: dict[str, float] = {}
        """Seconds of each pod's first start; a later one tells nothing, as the pod is older."""

    def decide(self, view: View) -> Choice:
        serving = [pod for pod in view.pods if pod.ready]
        standing = Standing(
            replicas=view.replicas,
            pods=tuple(self._load(pod, view.now_seconds) for pod in serving),
            capacity=self._capacity,
            policy=self._asked(view.now_seconds),
        )
        done = step(standing, self._state, view.now_seconds)
        self._state = done.state
        uids = {pod.uid for pod in serving}
        self._samples = {uid: sample for uid, sample in self._samples.items() if uid in uids}
        targets = [TargetPod(uid=pod.uid, name=pod.uid, address="") for pod in serving]
        return Choice(
            replicas=done.decision.replicas,
            sentence=done.decision.sentence,
            victims=victims(targets, done.state.tracks, view.replicas - done.decision.replicas),
        )

    def _load(self, pod: PodView, now: float) -> PodLoad:
        """A pod that does not answer is known by its last answer, which grows old."""
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
        preemptions=metrics.preemptions_total,
        first_token_seconds=metrics.first_token_seconds_sum,
        first_tokens=metrics.first_tokens_total,
    )


def make(setting: Setting) -> Policy:
    asked = Asked(
        bounds=Bounds(least=setting.least, most=setting.most),
        ttft_seconds=setting.slo_ttft_seconds,
        tpot_seconds=setting.slo_tpot_seconds,
    )
    return Tacho(setting, lambda _: asked)


def make_with(asked: Asked, setting: Setting) -> Policy:
    """With the behavior and bounds that a person asked for."""
    return Tacho(setting, lambda _: asked)
