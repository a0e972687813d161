"""llm-d's Workload Variant Autoscaler, saturation analyzer V2, with one variant; carried out by a
HorizontalPodAutoscaler.

The unit is a token in a KV cache. A replica holds the lesser of what its cache admits (k1) and what
was in use when its queue was full (k2: observed now, else the mean of the last ten observations for answers
as long as now, else by its flags). Replicas that start are counted when there are to be more.

Source: github.com/llm-d/llm-d-workload-variant-autoscaler internal/engines/analyzers/saturation_v2 at
b08b1c77, through a HorizontalPodAutoscaler as in its chart.
"""

from __future__ import annotations

import math
import statistics
from collections import deque
from dataclasses import dataclass

from tacho_operator.core.autoscaling.algorithm.types import Pace, Rules
from tacho_simulate.policies.autoscaler import SYNC_SECONDS, TOLERANCE, Autoscaler, CounterRates, by_average
from tacho_simulate.policy import PolicyDecision, PolicyView, Setting

SCALE_UP, SCALE_DOWN = 0.85, 0.70
KV_CACHE, QUEUE = 0.80, 5.0
OBSERVATIONS = 10
SHORT, MEDIUM = 100, 500
"""Answer lengths in tokens that separate short, medium and long answers."""
ANALYZE_SECONDS = 30.0
PEAK_SECONDS, MEAN_SECONDS = 60.0, 300.0
CHART = Rules(
    window_seconds=240.0, paces=(Pace(kind="Pods", value=10, period_seconds=150),), tolerance=TOLERANCE
)
SAMPLE = Rules(
    window_seconds=0.0, paces=(Pace(kind="Pods", value=10, period_seconds=15),), tolerance=TOLERANCE
)
"""Scaling rules of config/samples/hpa-integration.yaml, for both directions."""
RULES = {"chart": CHART, "sample": SAMPLE}


@dataclass(frozen=True, slots=True, kw_only=True)
class AnalyzedReplica:
    """Metrics of a pod as the analyzer reads them: peaks of a minute, means of five minutes."""

    used_tokens: float
    waiting: float
    input_tokens: float
    output_tokens: float

    @property
    def demand(self) -> float:
        return self.used_tokens + self.waiting * self.input_tokens


def by_flags(input_tokens: float, output_tokens: float, batched_tokens: float, sequences: float) -> float:
    """Tokens in the KV cache of a replica whose steps are full, from the engine's arguments; 0: unknown."""
    if output_tokens <= 0:
        return 0.0
    steady = min(batched_tokens * output_tokens / (input_tokens + output_tokens), sequences)
    return math.floor(steady * (input_tokens + output_tokens / 2))


def desired(have: int, *, ready: int, kv_tokens: float, demand: float, up: float, down: float) -> int:
    """Desired replicas, where one replica holds ``kv_tokens`` tokens."""
    if kv_tokens <= 0:
        return have
    required = demand / up - have * kv_tokens
    if required > 0:
        return have + math.ceil(required / kv_tokens - 1e-9)
    spare = ready * kv_tokens - demand / down
    return max(1, have - math.floor(spare / kv_tokens + 1e-9)) if spare > 0 else have


class WVA:
    name = "wva"
    period_seconds = SYNC_SECONDS

    def __init__(self, setting: Setting, up: float = SCALE_UP, rules: str = "chart") -> None:
        # The engine's flags and the size of its cache are public: a Deployment and a metric show them.
        self._cache_tokens = setting.capacity.kv_cache_tokens or setting.model.kv_cache_tokens
        self._sequences = setting.model.max_num_seqs
        self._batched = setting.model.step_tokens
        self._bounded = setting.bounded
        self._up, self._down = up, up - (SCALE_UP - SCALE_DOWN)
        self._peaks, self._means = CounterRates(PEAK_SECONDS), CounterRates(MEAN_SECONDS)
        self._observed: dict[str, deque[float]] = {}
        self._autoscaler = Autoscaler(setting, up=RULES[rules], down=RULES[rules])
        self._desired: int | None = None
        self._analyzed = -math.inf

    def decide(self, view: PolicyView) -> PolicyDecision:
        self._peaks.add(view)
        self._means.add(view)
        if view.now_seconds - self._analyzed >= ANALYZE_SECONDS:
            self._analyzed = view.now_seconds
            self._analyze(view)
        desired = view.replicas if self._desired is None else self._desired
        proposal = by_average(desired, replicas=view.replicas, target=1.0)
        return self._autoscaler.settle(view, [proposal], f"{desired} replicas by the saturation analyzer")

    def _analyze(self, view: PolicyView) -> None:
        replicas = [self._replica(pod.uid) for pod in view.pods if pod.ready and pod.metrics is not None]
        if not replicas:
            return
        count = desired(
            view.replicas,
            ready=len(replicas),
            kv_tokens=statistics.median(self._kv_capacity(item) for item in replicas),
            demand=math.fsum(item.demand for item in replicas),
            up=self._up,
            down=self._down,
        )
        self._desired = self._bounded(count)

    def _replica(self, uid: str) -> AnalyzedReplica:
        ended = self._means.of(uid, lambda item: item.requests_total)
        prompts = self._means.of(uid, lambda item: item.prompt_tokens_total)
        answers = self._means.of(uid, lambda item: item.generation_tokens_total)
        return AnalyzedReplica(
            used_tokens=self._peaks.highest(uid, lambda item: item.kv_cache_usage) * self._cache_tokens,
            waiting=self._peaks.highest(uid, lambda item: item.waiting),
            input_tokens=prompts / ended if ended else 0.0,
            output_tokens=answers / ended if ended else 0.0,
        )

    def _kv_capacity(self, replica: AnalyzedReplica) -> float:
        by_cache = self._cache_tokens * KV_CACHE
        return min(by_cache, self._by_batch(replica) or by_cache)

    def _by_batch(self, replica: AnalyzedReplica) -> float:
        length = replica.output_tokens
        bucket = "short" if length < SHORT else "medium" if length < MEDIUM else "long"
        seen = self._observed.setdefault(bucket, deque(maxlen=OBSERVATIONS))
        if replica.waiting >= QUEUE and replica.used_tokens > 0:
            seen.append(replica.used_tokens)
            return replica.used_tokens
        if seen:
            return statistics.fmean(seen)
        return by_flags(replica.input_tokens, replica.output_tokens, self._batched, self._sequences)
