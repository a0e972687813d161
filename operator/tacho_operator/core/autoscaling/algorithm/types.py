"""Types of the scaling algorithm. Times are seconds of the caller's clock. A load of 1 is what one replica
was measured to sustain within the SLO."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from tacho_contract.report import LatencyHistogram
from tacho_operator.core.autoscaling.algorithm import tuning

Source = Literal["Histogram", "None"]
"""What latencies are judged by."""
Select = Literal["Max", "Min", "Disabled"]


# --- policy -----------------------------------------------------------------------------------------
@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """A scaling policy: at most ``value`` pods, or percent of the pods, may change within a period."""

    kind: Literal["Pods", "Percent"]
    value: int
    period_seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """A HorizontalPodAutoscaler's rules for one direction: window, scaling policies, tolerance."""

    window_seconds: float = 0.0
    """Stabilization window."""
    select: Select = "Max"
    """Which of several paces applies; Disabled: no change in this direction."""
    paces: tuple[Pace, ...] = ()
    """Scaling policies."""
    tolerance: float = 0.0
    """Share by which need and replicas may differ without a change."""


SCALE_UP = Rules(
    paces=(Pace(kind="Percent", value=100, period_seconds=15), Pace(kind="Pods", value=4, period_seconds=15)),
)
SCALE_DOWN = Rules(
    window_seconds=300.0,
    paces=(Pace(kind="Percent", value=100, period_seconds=15),),
)
"""Defaults of spec.autoscaling.behavior: a HorizontalPodAutoscaler's, but for its tolerance of 0.1."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """Minimum and maximum replicas, and the field or claim that sets them."""

    least: int
    most: int
    source: str = "spec.autoscaling"


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """The user's settings for one decision: bounds at that time, scaling rules, and latency targets."""

    bounds: Bounds
    up: Rules = SCALE_UP
    down: Rules = SCALE_DOWN
    ttft_seconds: float | None = None
    """TTFT of the SLO. None: no target."""
    tpot_seconds: float | None = None
    """TPOT of the SLO. None: no target."""
    percentile: float = 0.95
    """Share of requests that the SLO promises both targets to."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplicaCapacity:
    """What one replica sustains: rates, concurrency and KV cache. A field is None where it is unknown."""

    fingerprint: str = ""
    """Of the measurement."""
    requests_per_second: float | None = None
    prefill_tokens_per_second: float | None = None
    output_tokens_per_second: float | None = None
    """Of all requests together."""
    concurrency: float | None = None
    """Requests at the same time."""
    gap_seconds: float | None = None
    """Time between two tokens at that concurrency."""
    gap_seconds_per_request: float | None = None
    """What each concurrent request adds to it: beta of the scaling law."""
    gap_r2: float = 0.0
    """How well that law fits, 0 to 1."""
    kv_cache_tokens: int | None = None
    input_tokens: int = 512
    """Lengths of the measured requests."""
    output_tokens: int = 200
    trust: float = 1.0
    """Share of the measured rate that counts: the lower end of its interval."""
    unverified: str = ""
    """Why it is not a clean measurement of this configuration, as a clause; "": it is one."""
    unattainable: bool = False
    """An idle replica misses the SLO: no number of replicas meets it."""


# --- input ------------------------------------------------------------------------------------------
@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """One reading of a pod's load metrics. None is unknown, never zero; counters may restart."""

    time_seconds: float
    running: int | None = None
    waiting: int | None = None
    generated_tokens: float | None = None
    computed_prompt_tokens: float | None = None
    """Without tokens that a prefix cache saved."""
    kv_cache_usage: float | None = None
    """0 to 1."""
    first_tokens: float | None = None
    """Requests that have got theirs."""
    ttft: LatencyHistogram | None = None
    tpot: LatencyHistogram | None = None

    @property
    def known(self) -> bool:
        """Whether the pod reports its load: running requests or generated tokens."""
        return self.running is not None or self.generated_tokens is not None


@dataclass(frozen=True, slots=True, kw_only=True)
class PodLoad:
    """A pod that receives requests, and its last sample: None until it has reported its load."""

    uid: str
    name: str = ""
    sample: Sample | None = None
    start_seconds: float | None = None
    """From its creation to its readiness."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ScalingInput:
    """All that one scaling decision is made from, except the state and the time."""

    replicas: int
    """Desired until now, those that still start included."""
    pods: tuple[PodLoad, ...]
    """Those that requests reach."""
    capacity: ReplicaCapacity
    policy: Policy
    refused_above: int | None = None
    """Quota or admission has just refused a pod beyond so many. None: nothing was refused."""
    held: str = ""
    """Why replicas must not be removed now, as a clause; "": they may."""


# --- state ------------------------------------------------------------------------------------------
@dataclass(frozen=True, slots=True)
class Track:
    """A pod's last sample, and its recent output and speed."""

    sample: Sample
    stalled_since: float | None = None
    """Since when it has run requests without a token."""
    expected_tokens: float = 0.0
    """By the measured speed, since its last token."""
    output: float = 0.0
    """Tokens of the last minutes, exponentially weighted by MIX_SECONDS."""
    expected: float = 0.0
    """Those that the measured speed gives for as many requests at the same time."""


@dataclass(frozen=True, slots=True)
class Point:
    """A needed number of replicas at one time, kept for a stabilization window."""

    time_seconds: float
    value: float


@dataclass(frozen=True, slots=True)
class Interval:
    """The offered load between two samples."""

    end_seconds: float
    seconds: float
    offered: float


@dataclass(frozen=True, slots=True)
class Mix:
    """Requests and tokens of the last minutes, exponentially weighted: the traffic's mean lengths."""

    requests: float
    prompt_tokens: float
    output_tokens: float


@dataclass(frozen=True, slots=True)
class Burst:
    """A short rise of the load: its begin, its end, and the replicas that its peak filled."""

    begin_seconds: float
    end_seconds: float
    """While it lasts: when it was last seen."""
    load: float
    """Replicas that its peak surely filled."""

    @property
    def seconds(self) -> float:
        return self.end_seconds - self.begin_seconds


@dataclass(frozen=True, slots=True)
class Scatter:
    """How unevenly requests are spread over the pods: sums, exponentially weighted by MEMORY_SECONDS."""

    squares: float = tuning.MIX_REQUESTS
    """Squared differences from the pods' mean, over the mean: 1 for each pod but one by chance."""
    pods: float = tuning.MIX_REQUESTS
    """Pods but one of each sample."""

    @property
    def imbalance(self) -> float:
        return min(1.0, self.squares / self.pods)


Counts = tuple[float, float, float]
"""Requests, and how many of them met a target at least and at most."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Attainment:
    """SLO attainment of the last minutes, exponentially weighted by MIX_SECONDS."""

    ttft: Source | None = None
    """What judges the TTFT. None: no target."""
    tpot: Source | None = None
    ttft_counts: Counts = (0.0, 0.0, 0.0)
    """By the histograms of all pods that have one for each target."""
    tpot_counts: Counts = (0.0, 0.0, 0.0)

    @property
    def requests(self) -> float:
        return max(self.ttft_counts[0], self.tpot_counts[0])

    @property
    def bounds(self) -> tuple[float, float]:
        """Share of requests that met the SLO. A target that nothing counts: none at least, all at most."""
        known = [counts for source, counts in self._targets if counts[0] >= 1]
        lower = math.fsum(lower / total for total, lower, _ in known) - len(known) + 1
        upper = min((upper / total for total, _, upper in known), default=1.0)
        return 0.0 if "None" in (self.ttft, self.tpot) else max(0.0, lower), min(1.0, upper)

    @property
    def shares(self) -> tuple[float, float] | None:
        """The same. None where a target has no histogram, or no request was counted."""
        known = [source == "Histogram" and counts[0] >= 1 for source, counts in self._targets]
        return self.bounds if known and all(known) else None

    @property
    def _targets(self) -> list[tuple[Source, Counts]]:
        found = ((self.ttft, self.ttft_counts), (self.tpot, self.tpot_counts))
        return [(source, counts) for source, counts in found if source]


@dataclass(frozen=True, slots=True)
class Correction:
    """Capacity in service as a share of the measured one, and the SLO attainment since its last change."""

    factor: float = 1.0
    seconds: float = 0.0
    """Since its last change. Below 0: until the replicas have settled."""
    seen: Attainment = Attainment()


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One change of the desired replicas, with its time and reason."""

    time_seconds: float
    before: int
    after: int
    reason: str = ""
    cause: str = ""
    """Cause of the outcome. "": not recorded."""


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """What the scaler keeps of a resource from one decision to the next."""

    fingerprint: str = ""
    """Measurement that the correction and the units of the load are of."""
    tracks: Mapping[str, Track] = field(default_factory=dict)
    read_seconds: float | None = None
    """When load was last known."""
    in_progress: float | None = None
    """Work of all requests in the pods, in seconds of one replica. None: not known."""
    mix: Mix | None = None
    speed: float = 1.0
    """In service, relative to the measured one."""
    scatter: Scatter = Scatter()
    correction: Correction = Correction()
    attainment: Attainment = Attainment()
    offered: tuple[Interval, ...] = ()
    """Offered load, newest first."""
    watched_since: float | None = None
    """Since when load has been known without a gap."""
    ups: tuple[Point, ...] = ()
    """Needed replicas of the scale-up window; the first is the lowest."""
    downs: tuple[Point, ...] = ()
    """Needed replicas of the scale-down window; the first is the highest."""
    bursts: tuple[Burst, ...] = ()
    """The latest, newest first."""
    low: float | None = None
    """Lowest load since the last of them, at most. None: it has not fallen to half yet."""
    changes: tuple[Change, ...] = ()
    """The latest, newest first."""
    refused: Point | None = None
    """How many pods quota or admission let start, and when it refused one more."""
    starts: tuple[tuple[str, float], ...] = ()
    """Cold starts in seconds, by uid, the newest last."""
    cold_start_seconds: float | None = None
    """Cold start known to an earlier process."""


# --- output -----------------------------------------------------------------------------------------
@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """Figures of the load for status and metrics. A field is None where it is unknown."""

    demand: float | None = None
    """Replicas that the load would fill to the measured capacity."""
    utilization: float | None = None
    """The same, as a share of the serving pods."""
    running: int | None = None
    waiting: int | None = None
    need: int | None = None
    """Replicas needed, with headroom and trend."""
    trusted_requests_per_second: float | None = None
    """Rate that one replica is expected to carry within the SLO, in requests of the measured lengths."""
    trusted_prefill_tokens_per_second: float | None = None
    trusted_output_tokens_per_second: float | None = None
    """The tokens of these requests."""
    cold_start_seconds: float = 0.0
    silent: int = 0
    """Serving pods without load metrics, or that hang."""
    attainment: Attainment = Attainment()
    counts_tokens: bool = True
    """Whether a pod counts tokens: without, the load has no rate."""


@dataclass(frozen=True, slots=True)
class Judged:
    """Status, reason and message of a condition that a HorizontalPodAutoscaler has, too."""

    status: Literal["True", "False", "Unknown"]
    reason: str
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """A scaling decision: the desired replicas, the calculation, the figures and the conditions."""

    replicas: int
    cause: str
    """One word, for counting."""
    reason: str
    """The calculation."""
    figures: Figures
    active: Judged
    able: Judged
    limited: Judged


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """Numbers and reasons of a scaling decision, before its messages are written."""

    replicas: int
    needed: int
    """By the load alone."""
    cause: str
    """Work, Concurrency or KVCache (the largest term), LowDemand, Bounds, Quota, Steady or Unknown."""
    able: str = ""
    """ScaleUpStabilized or ScaleDownStabilized: the change waits; "": it does not."""
    limited: str = ""
    """TooFewReplicas, TooManyReplicas, ScaleUpLimit, ScaleDownLimit or QuotaExceeded."""
    held: str = ""
    highest: float = 0.0
    """Highest need that counts when scaling down."""
    by_bursts: bool = False
    """Whether that is the load of earlier bursts."""
    lowest: float | None = None
    """Lowest need of the scale-up window. None: it did not decide."""
    blind: str = ""
    """Why the load is not known; "": it is."""
