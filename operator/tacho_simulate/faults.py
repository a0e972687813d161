"""Faults to inject into a run. Pods are numbered by creation, from 0."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Faults:
    metrics_outages: tuple[tuple[float, float], ...] = ()
    """(from, to) in seconds: no pod answers a metrics request."""
    unanswered_seconds: float = 0.0
    """Time of a decision during a metrics outage, if longer than the policy's period."""
    scaler_outages: tuple[tuple[float, float], ...] = ()
    """(from, to) in seconds: the scaler is down and restarts without state."""
    hanging: tuple[tuple[float, int | None], ...] = ()
    """(time, pod): the pod stays ready, reports constant metrics and makes no progress. None: the oldest
    ready pod."""
    hang_seconds: float = 300.0
    """Time until a hanging pod is restarted: ready after a cold start; its requests fail."""
    hang_resumes: bool = False
    """The pod resumes its requests instead of being restarted."""
    failing: tuple[tuple[float, int | None], ...] = ()
    """(time, pod): the pod crashes, its requests fail, and it is ready after a cold start. None: the oldest
    ready pod."""
    stragglers: tuple[tuple[int, float], ...] = ()
    """(pod, factor): all times of the pod are multiplied by the factor."""
    cold_start_seconds: tuple[float, ...] = ()
    """Measured cold starts; each pod draws one. Empty: the setting's cold start."""
    starts_in_order: bool = False
    """Pods take the cold starts in order of creation; later pods draw one."""
