"""What the scaler remembers of past load: its bursts, and how evenly requests are spread over the pods."""

from __future__ import annotations

from dataclasses import dataclass

from tacho_operator.core.autoscaling.algorithm import tuning


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
    """How unevenly requests are spread over the pods, as sums that are exponentially weighted by
    MEMORY_SECONDS."""

    squares: float = tuning.MIX_REQUESTS
    """Squared differences from the pods' mean, over the mean: 1 for each pod but one, where chance deals."""
    pods: float = tuning.MIX_REQUESTS
    """Pods but one of each sample."""

    @property
    def imbalance(self) -> float:
        return min(1.0, self.squares / self.pods)
