"""What goes wrong in a run. Pods are counted in the order of their creation, from 0."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Faults:
    metrics_lost: tuple[tuple[float, float], ...] = ()
    """(from, to) in seconds: no pod can be asked."""
    unanswered_seconds: float = 0.0
    """From a look that finds none to the next, where that is longer than the policy's period: it waits."""
    decider_lost: tuple[tuple[float, float], ...] = ()
    """(from, to) in seconds: nobody decides, and who does then remembers nothing."""
    hanging: tuple[tuple[float, int | None], ...] = ()
    """(time, pod): it stays ready, answers with the same figures and does nothing. None: the oldest that
    serves then."""
    hang_seconds: float = 300.0
    """After so long a pod that hangs is restarted: ready again after a cold start; what it had is lost."""
    hanging_goes_on: bool = False
    """It is not restarted then, but goes on with what it has."""
    failing: tuple[tuple[float, int | None], ...] = ()
    """(time, pod): it crashes, and is ready again after a cold start; what it had is lost. None: the oldest
    that serves then."""
    stragglers: tuple[tuple[int, float], ...] = ()
    """(pod, factor): all that it does takes so many times as long."""
    cold_start_seconds: tuple[float, ...] = ()
    """Starts that were measured, one of which each pod draws. (): all take what the setting says."""
    starts_in_order: bool = False
    """The first pod that is created takes the first of them, and so on; those after the last draw."""
