"""Which pods have something to tell, and when time alone changes what is made of the others.

Everything else about a pod comes with an event of its watch.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from datetime import datetime

from tacho_operator.core import names
from tacho_operator.core.pods.reachability import READY_SECONDS, RUNNING_SECONDS
from tacho_operator.core.pods.view import PodView

RECENT_SECONDS = 120.0
"""So long what the cluster did to a pod explains that its revision lost it."""


def tells(pods: Iterable[PodView]) -> bool:
    """Whether some pod's engine runs, and it is not done: only its report says how far it is."""
    return any(
        engine.running_since is not None and (not pod.ready or pod.role == names.ROLE_PROBE)
        for pod in pods
        if (engine := pod.container(names.ENGINE_CONTAINER)) is not None
    )


def schedule_deadline(pod: PodView, limit_seconds: float, now: datetime) -> float | None:
    """Seconds until a pod has waited for a node too long; None: it has one, or has waited longer already."""
    created = pod.created
    has_one = pod.node or pod.phase != "Pending" or pod.condition_time("PodScheduled") is not None
    return None if has_one or created is None else time_left(created, limit_seconds, now)


def deadline_seconds(
    pods: Iterable[PodView], now: datetime, *, schedule_limit_seconds: float, answered: Collection[str]
) -> float | None:
    """The soonest of all; ``answered``: uids of pods that have reported."""
    found: list[float | None] = []
    for pod in pods:
        found.append(schedule_deadline(pod, schedule_limit_seconds, now))
        if (taken := pod.condition_time("DisruptionTarget")) is not None:
            found.append(time_left(taken, RECENT_SECONDS, now))
        if pod.uid not in answered and pod.phase == "Running":
            engine = pod.container(names.ENGINE_CONTAINER)
            if (ready := pod.condition_time("Ready")) is not None:
                found.append(time_left(ready, READY_SECONDS, now))
            if engine is not None and engine.running_since is not None:
                found.append(time_left(engine.running_since, RUNNING_SECONDS, now))
    return min((wait for wait in found if wait is not None), default=None)


def time_left(since: datetime, limit_seconds: float, now: datetime) -> float | None:
    """Seconds until just past the limit, as it has to be exceeded; None: it is.

    A clock that is ahead holds it up for one limit at most.
    """
    left = limit_seconds - (now - since).total_seconds()
    return min(left, limit_seconds) + 0.1 if left >= 0 else None
