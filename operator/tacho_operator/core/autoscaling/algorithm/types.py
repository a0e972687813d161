"""The nouns of the scaling law. Times are seconds of one clock that is handed in; amounts of work are in
replicas: 1 is what one replica carries at the service level, as it was measured."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

Select = Literal["Max", "Min", "Disabled"]


# --- what is asked for ----------------------------------------------------------------------------
@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """At most so many pods, or so many percent of them, within a period."""

    kind: Literal["Pods", "Percent"]
    value: int
    period_seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """How replicas may change in one direction, as a HorizontalPodAutoscaler's rules say it."""

    window_seconds: float | None = None
    """For so long a recommendation must hold. None: what the law finds fit."""
    select: Select = "Max"
    """Which of several paces counts; Disabled: no change in this direction."""
    paces: tuple[Pace, ...] = ()
    """(): what the law finds fit."""
    tolerance: float = 0.0
    """Where need and replicas differ by no more than this share, nothing changes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """Between how many replicas the law may choose."""

    least: int
    most: int
    source: str = "spec.autoscaling"
    """Who says so, as a person would write it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """What a person asked for."""

    bounds: Bounds
    up: Rules = Rules()
    down: Rules = Rules()
    ttft_seconds: float | None = None
    """The promise of the time to the first token. None: none was made."""
    tpot_seconds: float | None = None
    """That of the time of each token after it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplicaCapacity:
    """What one replica carries. None: not known."""

    fingerprint: str = ""
    """Of the measurement; what was learned holds for it alone."""
    requests_per_second: float | None = None
    prefill_tokens_per_second: float | None = None
    output_tokens_per_second: float | None = None
    """Of all requests together."""
    concurrency: float | None = None
    """Requests at the same time."""
    tpot_half_seconds: float | None = None
    """Measured time of a token after the first with half of the rate, or less."""
    kv_cache_tokens: int | None = None
    input_tokens: int = 512
    """Of the requests that were measured, and of those that wait."""
    output_tokens: int = 200
    trust: float = 1.0
    """The share of the measured rate that is counted on: the lower end of its interval."""
    unverified: str = ""
    """Why it is not a clean measurement of this configuration, as a clause; "": it is one."""


# --- what was seen --------------------------------------------------------------------------------
@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """One reading of a pod's engine. None is unknown, never zero; counters may start again."""

    time_seconds: float
    running: int | None = None
    waiting: int | None = None
    generated_tokens: float | None = None
    computed_prompt_tokens: float | None = None
    """Without those that a prefix cache saved."""
    kv_cache_usage: float | None = None
    """0 to 1."""
    preemptions: float | None = None
    first_token_seconds: float | None = None
    """Sum of the times to the first token."""
    first_tokens: float | None = None

    @property
    def known(self) -> bool:
        """Whether it says anything of the load."""
        return self.running is not None or self.generated_tokens is not None


@dataclass(frozen=True, slots=True, kw_only=True)
class PodLoad:
    """A pod that requests reach. ``sample`` None: it has never told its load."""

    uid: str
    sample: Sample | None = None
    start_seconds: float | None = None
    """From its creation to its readiness."""


# --- what is remembered ---------------------------------------------------------------------------
@dataclass(frozen=True, slots=True)
class Track:
    """A pod's last reading, and what it did between the one before and that."""

    sample: Sample
    rate: float | None = None
    """Work in a second."""
    stalled_since: float | None = None
    """Since when it has run requests and counted no token."""


@dataclass(frozen=True, slots=True)
class Point:
    """A value at a time."""

    time_seconds: float
    value: float


@dataclass(frozen=True, slots=True)
class Look:
    """What was offered between two looks."""

    seconds: float
    offered: float
    """Work in a second."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """Replicas changed."""

    time_seconds: float
    before: int
    after: int
    sentence: str = ""
    cause: str = ""
    """Of the outcome. "": as an earlier process made it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Learned:
    """How the replicas do against what was measured."""

    factor: float = 1.0
    """The measured rate is taken times this."""
    fingerprint: str = ""
    evidence_since: float | None = None
    """Since when every reading has spoken for a change."""
    upwards: bool = False
    """Of that change."""
    tpot_seconds: float | None = None
    """The mean time of a token, smoothed. None: nothing was generated since the last look, or in an
    overload."""


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """All that the law remembers from one look to the next."""

    tracks: Mapping[str, Track] = field(default_factory=dict)
    read_seconds: float | None = None
    """When loads were last known."""
    fast: float | None = None
    slow: float | None = None
    """Offered work, smoothed over a short and a long time."""
    prompt: float | None = None
    """That of the last look, almost."""
    backlog: float | None = None
    """Work that waited. None: not known, or counted in replicas of another kind."""
    recent: tuple[Point, ...] = ()
    """Offered work of the last minutes, for its trend."""
    lately: tuple[Look, ...] = ()
    """What single looks counted, the newest first."""
    watched_since: float | None = None
    """Since when loads have been known without a gap."""
    ups: tuple[Point, ...] = ()
    """Needs with the headroom for growing: the lowest that is not older than the window decides."""
    downs: tuple[Point, ...] = ()
    """Needs with the headroom for shrinking: the highest decides."""
    leaps: tuple[Point, ...] = ()
    """Work that leapt in lately: the first is the most."""
    changes: tuple[Change, ...] = ()
    """The latest, newest first."""
    refused: Point | None = None
    """How many pods quota or admission let start, and when it refused one more."""
    learned: Learned = Learned()
    starts: tuple[tuple[str, float], ...] = ()
    """Seconds that pods took to start, by uid, the newest last."""
    cold_start_seconds: float | None = None
    """As an earlier process knew it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """What the law is asked about."""

    replicas: int
    """Wanted until now, those that still start included."""
    pods: tuple[PodLoad, ...]
    """Those that requests reach."""
    capacity: ReplicaCapacity
    policy: Policy
    refused_above: int | None = None
    """Quota or admission has just refused a pod beyond so many. None: nothing was refused."""
    held: str = ""
    """Why there must not be fewer replicas now, as a clause; "": there may."""


# --- what is decided ------------------------------------------------------------------------------
@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """What the loads come to. None: not known."""

    demand: float | None = None
    """Replicas that the present load would fill to the measured capacity."""
    utilization: float | None = None
    """That, as a share of the pods that serve."""
    running: int | None = None
    waiting: int | None = None
    """Requests."""
    need: int | None = None
    """Replicas that the load asks for, headroom and trend included."""
    trusted_requests_per_second: float | None = None
    """What one replica is counted on to carry."""
    learned: float = 1.0
    cold_start_seconds: float = 0.0
    silent: int = 0
    """Pods that serve and do not tell their load."""


@dataclass(frozen=True, slots=True)
class Judged:
    """A condition in the words of a HorizontalPodAutoscaler's."""

    status: Literal["True", "False", "Unknown"]
    reason: str
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """How many replicas, and why."""

    replicas: int
    cause: str
    """In one word, for counting."""
    sentence: str
    """The arithmetic."""
    figures: Figures
    active: Judged
    able: Judged
    limited: Judged


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What came of a look, before it is told."""

    replicas: int
    asked: int
    """By the load alone."""
    cause: str
    """Work, Concurrency or KVCache (what asks for more), LowDemand, Bounds, Quota, Steady or Unknown."""
    able: str = ""
    """ScaleUpStabilized or ScaleDownStabilized: the change waits; "": it does not."""
    limited: str = ""
    """TooFewReplicas, TooManyReplicas, ScaleUpLimit, ScaleDownLimit or QuotaExceeded."""
    held: str = ""
    window: float = 0.0
    """Seconds, of the direction that was looked at."""
    blind: bool = False
