"""The interface of scaling policies: what they see of the cluster, and their decision."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol, runtime_checkable

from tacho_contract.report import LatencyHistogram
from tacho_operator.core.autoscaling.algorithm.types import ReplicaCapacity
from tacho_simulate.performance_model import PerformanceModel


@dataclass(frozen=True, slots=True, kw_only=True)
class PodMetrics:
    """The metrics of one pod's engine. Counters begin at 0 with the pod."""

    running: int
    waiting: int
    kv_cache_usage: float
    """KV cache usage, 0 to 1."""
    prompt_tokens_total: float
    """Number of prompt tokens, counted at the first token of each request."""
    generation_tokens_total: float
    requests_total: float
    """Completed requests since the pod's start."""
    first_tokens_total: float
    ttft: LatencyHistogram | None = None
    tpot: LatencyHistogram | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SimulatedPodView:
    """A pod as a policy sees it; pods that are being deleted are not shown."""

    uid: str
    ready: bool
    created_seconds: float
    ready_seconds: float | None
    """When the pod last became ready, in seconds; None: never."""
    metrics: PodMetrics | None
    """The pod's metrics; None: the pod did not answer."""
    begun: int = 0
    """Number of pods that became ready before this pod."""


@dataclass(frozen=True, slots=True)
class Arrived:
    """The requests that have arrived, with their answer lengths; only the greedy reference may use them."""

    input_tokens: Sequence[int]
    output_tokens: Sequence[int]
    """Output tokens of each request of the whole trace; valid up to ``total``."""
    total: int

    def latest(self, limit: int) -> tuple[tuple[int, int], ...]:
        """(input tokens, output tokens) of the latest ``limit`` requests."""
        rows = slice(max(0, self.total - limit), self.total)
        return tuple(zip(self.input_tokens[rows], self.output_tokens[rows], strict=True))


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicyView:
    """Input of a scaling policy at one decision: time, desired replicas, pods, and what a gateway counts."""

    now_seconds: float
    replicas: int
    """Number of desired replicas."""
    pods: tuple[SimulatedPodView, ...]
    """The pods, oldest first."""
    arrivals_total: int
    """Requests that have arrived, as counted by a gateway."""
    gateway_waiting: int = 0
    """Requests at the gateway without a ready pod."""
    arrived_input_tokens: int = 0
    """Input tokens of all arrived requests."""
    arrived_output_tokens: int = 0
    """Future output tokens of all arrived requests; only the greedy reference may use it."""
    arrived: Arrived | None = None
    """The arrived requests with their answer lengths; only the greedy reference may use them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicyDecision:
    """A policy's decision: the desired replicas from now on, and the reason."""

    replicas: int
    reason: str
    """Explanation for the report."""
    victims: tuple[str, ...] = ()
    """Uids of pods to delete first on scale-down. Then unready and newest pods, as in a ReplicaSet."""


class SimulatedPolicy(Protocol):
    """A scaling policy with its state; created for each run."""

    @property
    def name(self) -> str: ...

    @property
    def period_seconds(self) -> float:
        """Seconds between two decisions of the policy."""
        ...

    def decide(self, view: PolicyView) -> PolicyDecision: ...


@runtime_checkable
class Restarts(Protocol):
    """A policy of which something outlives its process. Any other is made anew."""

    def restarted(self, now: float) -> SimulatedPolicy: ...


Routing = Literal["random", "least-loaded"]
"""How a request's pod is chosen: any ready one, as by a Service, or the least loaded, as by a gateway."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """The parameters of one run except its trace: bounds, SLO, capacity, cold starts."""

    min_replicas: int
    max_replicas: int
    capacity: ReplicaCapacity
    """Measured capacity of one replica, which may be wrong."""
    slo_ttft_seconds: float | None
    slo_tpot_seconds: float | None
    cold_start_seconds: float
    """Seconds from a pod's creation to its readiness."""
    model: PerformanceModel
    """Behavior of the simulated replicas; only the greedy reference may read it."""
    initial_replicas: int | None = None
    """Ready replicas at the beginning. None: ``min_replicas``."""
    initial_start_seconds: float = 0.0
    """Cold start of the initial replicas. 0: unknown."""
    first_decision_seconds: float | None = None
    """Time of the first decision. None: after one period."""
    routing: Routing = "random"
    slo_percentile: float = 0.95
    """Share of requests that have to meet the SLO."""

    def bounded(self, replicas: int) -> int:
        """``replicas`` within the minimum and the maximum."""
        return min(max(replicas, self.min_replicas), self.max_replicas)


Factory = Callable[[Setting], SimulatedPolicy]
