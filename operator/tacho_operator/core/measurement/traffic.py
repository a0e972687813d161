"""Raises a measured lower bound of the capacity where users' requests show that a replica sustains more.

Only a capacity with boundary Floor is raised, and it stays Floor: traffic does not show where the SLO is
missed. Only requests of the measured lengths count. Engines report sums, so means are compared with the SLO's
percentile.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime

from tacho_contract.launch import ServiceLevel
from tacho_contract.measurement import Capacity
from tacho_contract.report import Load, believed
from tacho_contract.units import format_time
from tacho_operator.api.status.measurement import MeasurementEntry, SeenTraffic
from tacho_operator.core.measurement.rounding import rounded
from tacho_operator.core.measurement.states import FLOOR, clean

WINDOW_SECONDS = 60.0
"""Length in seconds of the window in which a pod's traffic is counted."""
GAP_SECONDS = 45.0
"""Longest time in seconds between two samples; after a longer gap the traffic is unknown."""
FEWEST_REQUESTS = 59
"""Fewest requests in a window: as many as a probe needs for a 95th percentile."""
LENGTH_SHARE = 0.1
"""Largest difference between the lengths of users' requests and the measured ones, as a share."""
WAITING_SHARE = 0.1
"""Most requests that may wait at the end of a window, as a share of the running ones. With more the pod did
not sustain the load.
"""
LEAST_GAIN = 1.02
"""Smallest factor by which traffic must exceed the lower bound to raise it."""

Counters = tuple[float, float, float, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class TrafficWindow:
    """The users' requests of one pod, counted since the window began."""

    first: Load
    last: Load
    seconds: float = 0.0
    at_seconds: float
    """Time of the last sample in seconds, by the operator's clock."""
    running_seconds: float = 0.0
    """Sum of the times that requests were running in the window, in seconds."""


def _counters(load: Load) -> Counters | None:
    """(requests with a first token, seconds of their waits, prompt tokens, output tokens); None: unknown."""
    found = (
        load.first_tokens_total,
        load.first_token_seconds_total,
        load.prompt_tokens_total,
        load.generation_tokens_total,
    )
    requests, waits, prompts, outputs = found
    if requests is None or waits is None or prompts is None or outputs is None:
        return None
    return requests, waits, prompts, outputs


def _since(first: Load, last: Load) -> Counters | None:
    """Change of the counters between two samples; None where a value is unknown or a counter was reset."""
    before, after = _counters(first), _counters(last)
    if before is None or after is None:
        return None
    requests, waits, prompts, outputs = (new - old for new, old in zip(after, before, strict=True))
    found = (requests, waits, prompts, outputs)
    return found if all(math.isfinite(one) and one >= 0 for one in found) else None


def extended(window: TrafficWindow | None, load: Load, at_seconds: float) -> TrafficWindow:
    """The window with one more sample; a new window where the last one is full, was interrupted, or the
    engine restarted."""
    fresh = TrafficWindow(first=load, last=load, at_seconds=at_seconds)
    if window is None or window.seconds >= WINDOW_SECONDS:
        return fresh
    if window.last.observed_time == load.observed_time:
        return window  # the same sample was delivered twice
    passed = at_seconds - window.at_seconds
    before, after = window.last.running, load.running
    if not 0 <= passed <= GAP_SECONDS or before is None or after is None:
        return fresh
    if _since(window.last, load) is None:
        return fresh
    return dataclasses.replace(
        window,
        last=load,
        seconds=window.seconds + passed,
        at_seconds=at_seconds,
        running_seconds=window.running_seconds + passed * (before + after) / 2,
    )


def watch_traffic(
    windows: Mapping[str, TrafficWindow],
    loads: Mapping[str, tuple[Load, float]],
    entry: MeasurementEntry | None,
    slo: ServiceLevel,
    now: datetime,
) -> tuple[dict[str, TrafficWindow], dict[str, SeenTraffic]]:
    """(windows with one more sample, traffic that raises the capacity's lower bound), both by pod uid.

    ``loads``: each pod's load, and the time of its counters in seconds.
    """
    if entry is None or not _may_be_raised(entry):
        return {}, {}
    found = {
        # Windows last for a minute, and need no histograms, which take most of the memory.
        uid: extended(windows.get(uid), dataclasses.replace(believed(load), ttft=None, tpot=None), at_seconds)
        for uid, (load, at_seconds) in loads.items()
    }
    seen = {uid: seen_traffic(window, entry, slo, now) for uid, window in found.items()}
    return found, {uid: one for uid, one in seen.items() if one is not None}


def seen_traffic(
    window: TrafficWindow, entry: MeasurementEntry, slo: ServiceLevel, now: datetime
) -> SeenTraffic | None:
    """The traffic that a pod sustained in a full window; None where that does not raise the capacity's lower
    bound."""
    bound = carried(entry)
    counted = _since(window.first, window.last)
    if bound is None or not _may_be_raised(entry) or counted is None or window.seconds < WINDOW_SECONDS:
        return None
    requests, waits, prompts, outputs = counted
    if (
        requests < FEWEST_REQUESTS
        or outputs <= 0
        or not _has_same_lengths(entry, prompts / requests, outputs / requests)
    ):
        return None
    running = window.running_seconds / window.seconds
    waiting = window.last.waiting
    if waiting is None or waiting > WAITING_SHARE * running:
        return None
    if not _meets_slo(slo, 1000 * waits / requests, 1000 * window.running_seconds / outputs):
        return None
    rate = outputs / window.seconds
    if rate < LEAST_GAIN * (bound.output_tokens_per_second or math.inf):
        return None
    return SeenTraffic(
        observed_time=format_time(now),
        concurrency=round(running),
        requests_per_second=rounded(requests / window.seconds),
        output_tokens_per_second=rounded(rate),
        total_tokens_per_second=rounded(rate + prompts / window.seconds),
    )


def _may_be_raised(entry: MeasurementEntry) -> bool:
    """Whether the capacity is a lower bound at a service level."""
    capacity = entry.capacity
    return capacity is not None and (capacity.boundary, capacity.basis) == (FLOOR, "SLO") and clean(entry)


def _has_same_lengths(entry: MeasurementEntry, input_tokens: float, output_tokens: float) -> bool:
    shape = entry.workload
    if shape is None:
        return False
    pairs = ((input_tokens, shape.input_tokens), (output_tokens, shape.output_tokens))
    return all(abs(mean - own) <= LENGTH_SHARE * own for mean, own in pairs)


def _meets_slo(slo: ServiceLevel, ttft_milliseconds: float, tpot_milliseconds: float) -> bool:
    """Whether mean latencies are low enough that the SLO's percentile is met, too.

    Waits are taken to be exponentially distributed. Times per token vary half as much, since requests of one
    batch share its steps.
    """
    if not 0 < slo.percentile < 100:
        return False
    tail = -math.log(1 - slo.percentile / 100)
    first = not slo.ttft_milliseconds or tail * ttft_milliseconds <= slo.ttft_milliseconds
    further = not slo.tpot_milliseconds or max(1.0, tail / 2) * tpot_milliseconds <= slo.tpot_milliseconds
    return slo.has_target and first and further


def carried(entry: MeasurementEntry) -> Capacity | None:
    """The capacity of ``entry``, raised to the traffic that a pod sustained where that is more; its boundary
    stays Floor."""
    capacity, seen = entry.capacity, entry.traffic
    if capacity is None or seen is None or not _may_be_raised(entry):
        return capacity
    if (seen.output_tokens_per_second or 0.0) <= (capacity.output_tokens_per_second or math.inf):
        return capacity
    return dataclasses.replace(
        capacity,
        concurrency=max(seen.concurrency or 0, capacity.concurrency or 0),
        requests_per_second=seen.requests_per_second,
        output_tokens_per_second=seen.output_tokens_per_second,
        total_tokens_per_second=seen.total_tokens_per_second,
    )


def raised(entry: MeasurementEntry, seen: Iterable[SeenTraffic]) -> MeasurementEntry:
    """``entry`` with the highest traffic that its pods sustained above its lower bound; unchanged where none
    did."""
    bound = entry.capacity.output_tokens_per_second if entry.capacity and _may_be_raised(entry) else None
    known = [*([entry.traffic] if entry.traffic else []), *seen]
    beyond = [item for item in known if (item.output_tokens_per_second or 0.0) > (bound or math.inf)]
    best = max(beyond, key=lambda item: item.output_tokens_per_second or 0.0, default=None)
    return entry if best is entry.traffic else entry.model_copy(update={"traffic": best})
