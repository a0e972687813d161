"""One trace from what the processes brought. Pure."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

from tacho_runtime.probe.asking.sockets.job import BIN_NS, NS, Brought
from tacho_runtime.probe.asking.sockets.window import Window
from tacho_runtime.probe.ports import ClientHealth, Reading, Trace


def trace_of(
    brought: Sequence[Brought], window: Window, *, origin_ns: int, concurrency: int, closed: bool
) -> Trace:
    """``closed``: slots' first requests were of residual lives, and come first. Those of an open loop come in
    the order in which they were meant to be sent."""
    samples = sorted(
        (sample for one in brought for sample in one.samples),
        key=lambda sample: (not sample.first, sample.stream.sent_ns) if closed else (False, sample.due_ns),
    )
    low, high = (window.start_ns - origin_ns) // BIN_NS, (window.end_ns - origin_ns) // BIN_NS
    failures = tuple(failure for one in brought for failure in one.failures)
    bins = _together([one.bins for one in brought], low, high)
    started = _together([one.started_bins for one in brought], low, high)
    return Trace(
        concurrency=concurrency,
        start_ns=window.start_ns,
        end_ns=window.end_ns,
        streams=tuple(sample.stream for sample in samples),
        residual=sum(sample.first for sample in samples) if closed else 0,
        intended_ns=() if closed else tuple(sample.due_ns for sample in samples),
        unanswered_ns=tuple(sorted(due_ns for one in brought for due_ns in one.unanswered_ns)),
        bin_nanoseconds=BIN_NS,
        bins=tuple(bins),
        started_bins=tuple(map(round, started)),
        requests_ended=sum(sum(one.ended_bins[low:high]) for one in brought),
        received_tokens=sum(one.received_tokens for one in brought),
        readings=window.readings,
        machine=window.machine,
        client=_worst([one.health for one in brought]),
        started=window.started and not failures,
        failures=failures,
        broken=window.broken,
    )


def _together(parts: Sequence[Sequence[float]], low: int, high: int) -> list[float]:
    """Sums of the processes' bins from ``low`` to ``high``, zeros where none got so far."""
    sums = [sum(column) for column in itertools.zip_longest(*(part[low:high] for part in parts), fillvalue=0)]
    return [*sums, *[0.0] * (high - low - len(sums))]


def _worst(healths: Sequence[ClientHealth]) -> ClientHealth:
    return ClientHealth(
        lag_milliseconds_p99=max(one.lag_milliseconds_p99 for one in healths),
        late_send_milliseconds_p99=max(one.late_send_milliseconds_p99 for one in healths),
        cpu_share=max(one.cpu_share for one in healths),
        processes=len(healths),
    )


def stepped_rate(readings: Sequence[Reading]) -> float | None:
    """Tokens per second between the first and the last reading. None: the engine does not count them, or
    only when a request ends."""
    if len(readings) < 2:
        return None
    first, last = readings[0], readings[-1]
    before, after = first.counters.generated_tokens, last.counters.generated_tokens
    took_ns = last.stamp_ns - first.stamp_ns
    if before is None or after is None or took_ns <= 0 or not last.counters.by_step:
        return None
    return (after - before) / (took_ns / NS)
