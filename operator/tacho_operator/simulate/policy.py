"""What a way of scaling sees, and what it answers. What it may not know in a cluster is not in its view."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from tacho_operator.core.scaling.law.types import Capacity
from tacho_operator.simulate.engine_law import EngineLaw


@dataclass(frozen=True, slots=True, kw_only=True)
class PodMetrics:
    """What an engine tells of itself. Counters are of the pod's whole life."""

    running: int
    waiting: int
    kv_cache_usage: float
    """0 to 1."""
    prompt_tokens_total: float
    """Counted at the first token."""
    generation_tokens_total: float
    requests_total: float
    """That were answered to the end."""
    first_token_seconds_sum: float
    first_tokens_total: float
    preemptions_total: float


@dataclass(frozen=True, slots=True, kw_only=True)
class PodView:
    """A pod that was not told to go."""

    uid: str
    ready: bool
    created_seconds: float
    ready_seconds: float | None
    """When it became ready last; None: it never was."""
    metrics: PodMetrics | None
    """None: it cannot be asked."""
    begun: int = 0
    """How many had become ready when it first did."""


@dataclass(frozen=True, slots=True)
class Arrived:
    """The requests that have come, with the lengths of their answers: for an oracle alone."""

    input_tokens: Sequence[int]
    output_tokens: Sequence[int]
    """Of a whole trace; nobody looks beyond ``total``."""
    total: int

    def latest(self, most: int) -> tuple[tuple[int, int], ...]:
        """Tokens of prompts and answers."""
        rows = slice(max(0, self.total - most), self.total)
        return tuple(zip(self.input_tokens[rows], self.output_tokens[rows], strict=True))


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """One look."""

    now_seconds: float
    replicas: int
    """Asked for."""
    pods: tuple[PodView, ...]
    """The oldest first."""
    arrivals_total: int
    """Requests that have come so far, as a gateway counts them."""
    gateway_waiting: int = 0
    """Those of them that no pod was ready for."""
    arrived_input_tokens: int = 0
    """Of all requests that have come so far. A gateway that counts them knows that much."""
    arrived_output_tokens: int = 0
    """Tokens that they will be answered with: nobody but an oracle knows."""
    arrived: Arrived | None = None
    """For an oracle alone."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """How many replicas from now on."""

    replicas: int
    sentence: str
    """Why."""
    victims: tuple[str, ...] = ()
    """Uids of pods to go first where there are to be fewer. After them those that are not ready go, then the
    newest, as a ReplicaSet has it."""


class Policy(Protocol):
    """One way of scaling, with what it remembers; made anew for each run."""

    @property
    def name(self) -> str: ...

    @property
    def source(self) -> str:
        """Where the algorithm is from: address and version."""
        ...

    @property
    def period_seconds(self) -> float:
        """Between two decisions."""
        ...

    def decide(self, view: View) -> Choice: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """What one run is about, beside its trace."""

    least: int
    most: int
    capacity: Capacity
    """Of one replica, as it was measured; it may be wrong."""
    slo_ttft_seconds: float | None
    slo_tpot_seconds: float | None
    cold_start_seconds: float
    """From a pod's creation to its readiness."""
    law: EngineLaw
    """What replicas really do; the oracle alone may read it."""
    initial: int | None = None
    """Replicas that are ready at the beginning. None: ``least``."""
    initial_start_seconds: float = 0.0
    """That those took, as their pods tell. 0: nobody knows."""
    first_look_seconds: float | None = None
    """When the policy decides for the first time. None: a period after the beginning."""


Factory = Callable[[Setting], Policy]
