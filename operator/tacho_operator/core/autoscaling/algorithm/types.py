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
"""Where SLO results of a latency come from."""
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
    """Length of the stabilization window in seconds."""
    select: Select = "Max"
    """Which of several scaling policies applies; Disabled: no change in this direction."""
    paces: tuple[Pace, ...] = ()
    """The scaling policies of this direction."""
    tolerance: float = 0.0
    """Largest difference between need and replicas, as a share, without a change."""


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
    burst_memory_seconds: float = tuning.MEMORY_SECONDS
    """Seconds for which an ended burst keeps its replicas, up to MEMORY_SECONDS."""
    ttft_seconds: float | None = None
    """Target for TTFT in seconds. None: none."""
    tpot_seconds: float | None = None
    """Target for TPOT in seconds. None: none."""
    percentile: float = 0.95
    """Share of requests (0 to 1) that have to meet both targets."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplicaCapacity:
    """What one replica sustains: rates, concurrency and KV cache. A field is None where it is unknown."""

    fingerprint: str = ""
    """Fingerprint of the measurement; "": none."""
    requests_per_second: float | None = None
    prefill_tokens_per_second: float | None = None
    output_tokens_per_second: float | None = None
    """Throughput of all requests together."""
    concurrency: float | None = None
    """Number of concurrent requests."""
    gap_seconds: float | None = None
    """Time between two tokens at ``concurrency``."""
    gap_seconds_per_request: float | None = None
    """Seconds that each concurrent request adds to ``gap_seconds`` (beta of the fitted line)."""
    gap_r2: float = 0.0
    """Quality of that fit: coefficient of determination, 0 to 1."""
    most_running: float | None = None
    """The most requests that were seen to get tokens at the same time, as a multiple of those at
    ``concurrency``."""
    kv_cache_tokens: int | None = None
    input_tokens: int = 512
    """Prompt and output tokens of a measured request."""
    output_tokens: int = 200
    trust: float = 1.0
    """Share of the measured rate that is relied on: the lower end of its confidence interval."""
    unverified: str = ""
    """Why there is no clean measurement, as a clause; "": there is one."""
    unattainable: bool = False
    """Whether even an idle replica misses the SLO, so that no number of replicas meets it."""


# --- input ------------------------------------------------------------------------------------------
@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """One reading of a pod's load metrics. None is unknown, never zero; counters may restart."""

    time_seconds: float
    running: int | None = None
    waiting: int | None = None
    generated_tokens: float | None = None
    computed_prompt_tokens: float | None = None
    """Computed prompt tokens, without those from a prefix cache."""
    kv_cache_usage: float | None = None
    """Share of the KV cache in use, 0 to 1."""
    first_tokens: float | None = None
    """Number of requests that have received their first token."""
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
    revision: str = ""
    sample: Sample | None = None
    start_seconds: float | None = None
    """Seconds from the pod's creation to its readiness; None: unknown."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ScalingInput:
    """The input of one scaling decision, apart from the state and the time."""

    replicas: int
    """Number of desired replicas so far, including those that are starting."""
    pods: tuple[PodLoad, ...]
    """The pods that receive requests."""
    capacity: ReplicaCapacity
    policy: Policy
    refused_above: int | None = None
    """Number of pods beyond which quota or admission just refused one. None: it refused none."""
    held: str = ""
    """Why no replica may be removed now, as a clause; "": removal is allowed."""


# --- state ------------------------------------------------------------------------------------------
@dataclass(frozen=True, slots=True)
class Track:
    """A pod's last sample, and its recent output and speed."""

    sample: Sample
    stalled_since: float | None = None
    """Since when the pod has had running requests without producing a token; None: it has not."""
    output: float = 0.0
    """Output tokens of the last minutes, weighted exponentially (MIX_SECONDS)."""
    expected: float = 0.0
    """Output tokens expected at the measured speed for the same requests, weighted alike."""


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
    """When the burst ended; while it lasts, the time of the last sample."""
    load: float
    """Replicas that the burst's peak filled, by a lower bound."""


Counts = tuple[float, ...]
"""(number of requests, at least and at most how many of them met a target)"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Attainment:
    """SLO attainment of the last minutes, exponentially weighted by MIX_SECONDS."""

    ttft: Source | None = None
    """Where TTFT results come from. None: no target is set."""
    tpot: Source | None = None
    ttft_counts: Counts = (0.0, 0.0, 0.0)
    """Counts of TTFT over all pods with a histogram for each target."""
    tpot_counts: Counts = (0.0, 0.0, 0.0)

    @property
    def requests(self) -> float:
        return max(self.ttft_counts[0], self.tpot_counts[0])

    @property
    def bounds(self) -> tuple[float, float]:
        """Lower and upper bound of the SLO attainment. Without histogram the bounds are 0 and 1."""
        known = [counts for source, counts in self._targets if counts[0] >= 1]
        lower = math.fsum(lower / total for total, lower, _ in known) - len(known) + 1
        upper = min((upper / total for total, _, upper in known), default=1.0)
        return 0.0 if "None" in (self.ttft, self.tpot) else max(0.0, lower), min(1.0, upper)

    @property
    def shares(self) -> tuple[float, float] | None:
        """The same bounds; None where a target has no histogram, or no request was counted."""
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
    """Seconds of attainment that this factor was judged by. Below zero, nothing is judged: requests that
    waited for replicas still end.
    """
    seen: Attainment = Attainment()


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One change of the desired replicas, with its time and reason."""

    time_seconds: float
    before: int
    after: int
    reason: str = ""
    cause: str = ""
    """Cause of the decision (see Outcome.cause); "": unknown."""


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """What the scaler keeps of a resource from one decision to the next."""

    fingerprint: str = ""
    """Fingerprint of the measurement whose units the load and the correction have."""
    tracks: Mapping[str, Track] = field(default_factory=dict)
    read_seconds: float | None = None
    """When the load was last known: the mean time of its samples. None: never."""
    in_progress: float | None = None
    """Unfinished work in the pods, in seconds of one replica; None: unknown."""
    mix: Mix | None = None
    speed: float = 1.0
    """Present speed of the pods, as a multiple of the measured speed."""
    correction: Correction = Correction()
    attainment: Attainment = Attainment()
    offered: tuple[Interval, ...] = ()
    """Offered load, newest first."""
    watched_since: float | None = None
    """Since when the load has been known without interruption."""
    ups: tuple[Point, ...] = ()
    """Needs in the scale-up window over time; the first is the lowest."""
    downs: tuple[Point, ...] = ()
    """Needs in the scale-down window over time; the first is the highest."""
    bursts: tuple[Burst, ...] = ()
    """The latest bursts, newest first."""
    low: float | None = None
    """Lowest load since the last burst; None: it has not fallen to half yet."""
    changes: tuple[Change, ...] = ()
    """The latest replica changes, newest first."""
    refused: Point | None = None
    """Number of pods that quota or admission allowed, and when it refused one more."""
    cold_start_seconds: float = tuning.UNKNOWN_START_SECONDS
    """Expected cold start of a new replica, in seconds."""


# --- output -----------------------------------------------------------------------------------------
@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """Values of the load for status and metrics. None: unknown."""

    demand: float | None = None
    """Replicas that the load would fill up to the measured capacity."""
    utilization: float | None = None
    """The demand as a share of the serving pods."""
    running: int | None = None
    waiting: int | None = None
    need: int | None = None
    """Number of needed replicas, with headroom and trend."""
    trusted_requests_per_second: float | None = None
    """Requests per second that one replica is expected to serve within the SLO, at the measured lengths."""
    trusted_prefill_tokens_per_second: float | None = None
    trusted_output_tokens_per_second: float | None = None
    """Output tokens per second of these requests."""
    cold_start_seconds: float = 0.0
    silent: int = 0
    """Number of serving pods without load metrics, or that hang."""
    attainment: Attainment = Attainment()
    counts_tokens: bool = True
    """Whether any pod counts tokens; without, the load has no rate."""


@dataclass(frozen=True, slots=True)
class ConditionState:
    """Status, reason and message of the condition ScalingActive."""

    status: Literal["True", "False", "Unknown"]
    reason: str
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """A scaling decision: the desired replicas, the calculation, the figures and a condition."""

    replicas: int
    cause: str
    """Cause of the decision in one word, as a label of metrics."""
    reason: str
    """The calculation behind the decision, as text."""
    figures: Figures
    active: ConditionState
    deviation: str
    """What differs from the load's need: see ``able`` and ``limited`` of Outcome; "": nothing."""


@dataclass(frozen=True, slots=True)
class Step:
    """A scaling decision, and the state that the next decision starts from."""

    decision: Decision
    state: State


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """Numbers and reasons of a scaling decision, before its messages are written."""

    replicas: int
    needed: int
    """Number of replicas needed for the load alone."""
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
