"""Whether the figures of a closed-loop level fit each other, and stay as they are. Pure."""

from __future__ import annotations

import math

from tacho_contract.measurement import Workload
from tacho_runtime.probe.engine_under_test import LoadTrace
from tacho_runtime.probe.latencies import FEW_REQUESTS
from tacho_runtime.probe.load.streams import StreamResult

CONSISTENT_SHARE = 0.03
"""Most that rate and latencies of a level may differ, as a share of the streams (Little's law)."""
FULL_CACHE, FILLING_SHARE, NEVER_FREE = 0.85, 0.1, 0.95
"""Use of the KV cache by which a window ends, and by how much it rises within, where it is filling up; and
what a mean use to come has to be, to be as good as full."""


def inconsistency(trace: LoadTrace, tokens_per_second: float, interval_percent: float | None) -> str:
    """A message about figures of a closed-loop level that contradict each other; "": none.

    By Little's law, tokens per second times mean seconds per token equals the number of streams. The rate,
    ``tokens_per_second``, is known to ``interval_percent``.
    """
    whole = _ended_under_load(trace)
    tokens = math.fsum(one.output_tokens for one in whole)
    if len(whole) < FEW_REQUESTS or not tokens:
        return ""
    took_seconds = math.fsum(one.end_to_end_milliseconds or 0.0 for one in whole) / 1000
    streams = tokens_per_second * took_seconds / tokens
    allowed = max(CONSISTENT_SHARE, (interval_percent or 0.0) / 100)
    if abs(streams - trace.concurrency) <= allowed * trace.concurrency:
        return ""
    return (
        f"at {trace.concurrency} streams latencies and tokens per second are those of {streams:.0f}: "
        "that level was not steady"
    )


def filling_cache(trace: LoadTrace, workload: Workload) -> str:
    """A message that the KV cache was still filling up in the window, or will after it; "": neither.

    Once it is full, requests wait or are preempted.
    """
    usages = [
        one.counters.kv_cache_usage for one in trace.readings if one.counters.kv_cache_usage is not None
    ]
    if len(usages) < 2:
        return ""
    begun, ended = usages[0], usages[-1]
    if ended < FULL_CACHE and (expected := ended * _growth_to_come(trace, workload)) >= NEVER_FREE:
        further = f", and goes on to {min(1.0, expected):.0%}"
    elif ended < FULL_CACHE or ended - begun < FILLING_SHARE:
        return ""
    else:
        further = ""
    return (
        f"at {trace.concurrency} streams the KV cache filled from {begun:.0%} to {ended:.0%}{further}: that "
        "level was not steady"
    )


def _growth_to_come(trace: LoadTrace, workload: Workload) -> float:
    """By what factor the tokens that the streams hold will grow; 1 once no stream has its first request.

    A new stream asks for the rest of an answer, without the tokens that would have come before.
    """
    running = [
        (stream.output_tokens, first)
        for stream, first in zip(trace.streams, trace.first, strict=False)
        if stream.tokens and not stream.finish_reason
    ]
    held = math.fsum(workload.input_tokens + tokens for tokens, _ in running)
    if not held or not any(first for _, first in running):
        return 1.0
    return len(running) * (workload.input_tokens + workload.output_tokens / 2) / held


def _ended_under_load(trace: LoadTrace) -> tuple[StreamResult, ...]:
    """The requests from which mean times are taken: the whole cohort if it has ended. Else those that began
    and ended under load, among which short ones prevail.
    """
    cohort = trace.cohort
    return cohort if cohort and all(one.finish_reason for one in cohort) else trace.under_load
