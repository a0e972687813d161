"""When a model is measured again: the causes, the most urgent first, and who may start a probe pod next."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterable, Mapping
from datetime import datetime
from enum import StrEnum

from tacho_contract.launch import LiveConfig
from tacho_contract.units import parse_time
from tacho_operator.api.status.measurement import MeasuredRun, MeasurementEntry
from tacho_operator.core.measurement.states import clean, current
from tacho_operator.core.revisions.controller_revision import Revision


class Cause(StrEnum):
    """The reason for a measurement by a probe pod."""

    MISSING = "Missing"
    """No measurement of this plan with this workload exists."""
    REQUESTED = "Requested"
    """A user requested the measurement."""
    PROVISIONAL = "Provisional"
    """Something other than the engine disturbed the present measurement."""
    DEVIATES = "Deviates"
    """A pod checked after the measurement differs from it by more than pods usually do."""


def due_cause(
    measurements: Iterable[MeasurementEntry],
    active: Revision,
    live: LiveConfig,
    *,
    request: str,
    unmeasured_since: datetime | None = None,
    deviating: MeasuredRun | None = None,
) -> Cause | None:
    """The most urgent cause to measure again in a probe pod; None: the present measurement suffices.

    ``request``: the user's unanswered request for a measurement. ``unmeasured_since``: since when a serving
    pod is known to have no full measurement of its present run, as it was only checked, or began again.
    ``deviating``: the check of a serving pod that differs from the measurement.
    """
    found = tuple(measurements)
    entry = current(found)
    requested = (active.plan_key, live.measure_key)
    # On whatever hardware the cluster gave it: a probe pod elsewhere would be followed by others for ever.
    times = [
        parse_time(item.observed_time) for item in found if (item.plan_key, item.measure_key) == requested
    ]
    since = unmeasured_since if entry is None else None
    if not any(since is None or (time is not None and time >= since) for time in times):
        return Cause.MISSING
    if request:
        return Cause.REQUESTED
    if entry is not None and not clean(entry):
        return Cause.PROVISIONAL
    if entry is not None and deviating is not None and deviating.time > (entry.observed_time or ""):
        return Cause.DEVIATES
    return None


Place = tuple[str, str]
"""Namespace and name of a resource."""


def next_turns(waiting: Iterable[Place], measuring: Mapping[Place, bool], limit: int) -> tuple[Place, ...]:
    """The resources of ``waiting`` (in order of arrival) that may start a probe pod now.

    The namespace with the fewest probe pods comes first; among equals, the one that has waited longest.
    ``measuring``: resources that have a probe pod, and whether it counts against every namespace; if not,
    against its own alone. ``limit``: the most probe pods that may count against a namespace.
    """
    lines: dict[str, deque[tuple[int, Place]]] = {}
    for arrival, place in enumerate(waiting):
        lines.setdefault(place[0], deque()).append((arrival, place))
    busy = Counter(namespace for namespace, _ in measuring)
    own = Counter(namespace for (namespace, _), everywhere in measuring.items() if not everywhere)
    found: list[Place] = []
    taken = sum(measuring.values())
    while free := [name for name in lines if taken + len(found) + own[name] < limit]:
        namespace = min(free, key=lambda name: (busy[name], lines[name][0]))
        found.append(lines[namespace].popleft()[1])
        busy[namespace] += 1
        if not lines[namespace]:
            del lines[namespace]
    return tuple(found)
