"""TTFT and TPOT of a level's requests, and whether they meet the SLO. Pure."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from statistics import NormalDist, fmean

from tacho_contract.launch import ServiceLevel
from tacho_contract.measurement import Goodput, Workload
from tacho_runtime.probe.engine_under_test import LoadTrace
from tacho_runtime.probe.load.streams import StreamResult
from tacho_runtime.probe.statistics import mean_error, percentile, wilson_lower

SHORTEST_SHARE = 0.75
"""Shortest answer that the probe requests where it draws lengths, as a share of the workload's length."""
FEW_REQUESTS = 5
"""Fewest requests for which an interval is computed from their rates. With fewer, Student's t makes it
several times too wide.
"""
PARTIAL_TOKENS = 8
"""Fewest tokens of a cut request from which its time per token counts."""
SLICES = 10
"""Number of equal slices of a window whose times per token are compared."""


@dataclass(slots=True)
class Latencies:
    """TTFT and TPOT, in milliseconds, of the requests that count for a window."""

    ttft: list[float] = field(default_factory=list)
    tpot: list[float] = field(default_factory=list)
    end_to_end: list[float] = field(default_factory=list)
    both: list[tuple[float, float]] = field(default_factory=list)
    """(TTFT, TPOT) of the same request."""
    waiting: list[float] = field(default_factory=list)
    """Milliseconds that requests of the cohort without a token had waited at the window's end."""
    tpot_error: float = 0.0
    """Standard error of the mean time per token, as a share of it."""
    note: str = ""


def latencies(trace: LoadTrace, workload: Workload) -> Latencies:
    """TTFT and TPOT of the requests in a trace.

    Closed loop: TTFT of the requests sent in the window, up to the first that still waits; each stream's
    first request is left out. Open loop: TTFT of the requests whose first token came in the window. TPOT is
    of the tokens inside the window. A request counts with at least as many tokens as the shortest answer may
    have. Where too few requests have that, half of the workload's length suffices, else a few tokens, else
    any.
    """
    found = Latencies()
    tpots: list[tuple[float, float]] = []
    waiting_ns = min((one.sent_ns for one in trace.later if one.waits), default=trace.end_ns)
    for place, stream in enumerate(trace.streams):
        ttft = first_token_milliseconds(trace, place, stream)
        if ttft is None or (trace.first and trace.first[place]):
            continue
        if trace.first:
            inside = trace.start_ns <= stream.sent_ns < waiting_ns
            followed = trace.start_ns <= stream.sent_ns <= trace.sent_until_ns
        else:
            inside = trace.start_ns < stream.tokens[0][0] <= trace.end_ns
            followed = True
        if inside:
            found.ttft.append(ttft)
        if followed and stream.finish_reason:
            found.end_to_end.append(ttft + (stream.tokens[-1][0] - stream.tokens[0][0]) / 1e6)
        tokens, tpot = tpot_inside(stream, trace)
        if tpot is None:
            continue
        tpots.append((tokens, tpot))
        if inside and stream.output_tokens >= min(PARTIAL_TOKENS, workload.output_tokens):
            found.both.append((ttft, tpot))
    if trace.first and len(found.end_to_end) < len(trace.cohort):
        found.end_to_end = []  # the short ones end first
    # Where no other request is there the streams' first ones are the way out.
    if not tpots:
        every = (tpot_inside(stream, trace) for stream in trace.streams)
        tpots = [(tokens, tpot) for tokens, tpot in every if tpot is not None]
    found.tpot = _tpots_of_longest(tpots, workload.output_tokens)
    found.tpot_error = tpot_error(trace)
    found.waiting = [(trace.end_ns - one.sent_ns) / 1e6 for one in trace.cohort if one.waits]
    if not found.ttft:
        found.ttft = [ttft for one in trace.streams if (ttft := one.ttft_milliseconds) is not None]
        began = "that began inside the window was answered" if found.waiting else "began inside the window"
        found.note = (
            f"at {trace.concurrency} streams no request {began}, so TTFT is that of the streams' first ones"
        )
    return found


def tpot_inside(stream: StreamResult, trace: LoadTrace) -> tuple[float, float | None]:
    """(tokens, milliseconds per token) of a request inside the window, after its first token there.

    The time is None where too few tokens are inside.
    """
    inside = [point for point in stream.tokens if trace.start_ns <= point[0] <= trace.end_ns]
    tokens = math.fsum(count for _, count in inside[1:])
    return tokens, (inside[-1][0] - inside[0][0]) / 1e6 / tokens if tokens > 0 else None


def tpot_error(trace: LoadTrace) -> float:
    """Standard error of a window's mean time per token, as a share of it, computed from slices of the window.

    Requests of the same moment share the engine's steps, so they are no independent observations.
    """
    seconds, tokens = [0.0] * SLICES, [0.0] * SLICES
    for stream in trace.streams:
        for (before_ns, _), (stamp_ns, count) in itertools.pairwise(stream.tokens):
            if trace.start_ns <= before_ns and stamp_ns < trace.end_ns:
                place = SLICES * (stamp_ns - trace.start_ns) // (trace.end_ns - trace.start_ns)
                seconds[place] += (stamp_ns - before_ns) / 1e9
                tokens[place] += count
    paces = [took / count for took, count in zip(seconds, tokens, strict=True) if count]
    known = mean_error(paces)
    return known[0] if known else 0.0


def _tpots_of_longest(tpots: Sequence[tuple[float, float]], output_tokens: int) -> list[float]:
    """The times per token of the requests with the most tokens; the fewer requests have many, the fewer
    tokens are required (see ``latencies``).
    """
    tiers = (
        (SHORTEST_SHARE * output_tokens - 2, FEW_REQUESTS),
        (output_tokens / 2 - 1, 1),
        (PARTIAL_TOKENS - 1, 1),
        (0, 0),
    )
    sets = (([tpot for tokens, tpot in tpots if tokens >= least], few) for least, few in tiers)
    return next(found for found, few in sets if len(found) >= few)


def first_token_milliseconds(trace: LoadTrace, place: int, stream: StreamResult) -> float | None:
    """TTFT of one request, from its intended sending time in an open loop, else from its sending; None
    without a token."""
    if not stream.tokens:
        return None
    began = trace.intended_ns[place] if trace.intended_ns else stream.sent_ns
    return (stream.tokens[0][0] - began) / 1e6


def slo_ratios(found: Latencies, slo: ServiceLevel) -> tuple[float | None, float | None]:
    """The percentiles of TTFT and TPOT, each divided by its limit: 1 is exactly at the limit; None without a
    limit.

    A request that has already waited longer than the TTFT limit counts as above it. TPOT includes the
    standard error of the window's mean.
    """
    over = [wait for wait in found.waiting if wait > slo.ttft_milliseconds]
    return (
        _ratio([*found.ttft, *over], slo.ttft_milliseconds, slo.percentile),
        _ratio(found.tpot, slo.tpot_milliseconds, slo.percentile, found.tpot_error),
    )


def _ratio(values: Sequence[float], limit: float, percent: float, error: float = 0.0) -> float | None:
    """The percentile of ``values`` divided by ``limit``. ``error``: standard deviation, as a share, that all
    values have in common; it is added in squares.
    """
    if limit <= 0 or not values:
        return None
    mean, at = fmean(values), percentile(values, percent)
    shared = NormalDist().inv_cdf(percent / 100) * error * mean
    return (mean + math.copysign(math.hypot(at - mean, shared), at - mean + shared)) / limit


def goodput_of(found: Latencies, slo: ServiceLevel, requests_per_second: float) -> Goodput | None:
    """Share and rate of the requests that met the SLO, among those with known TTFT and TPOT.

    None without an SLO, or without such a request.
    """
    if not slo.has_target or not found.both:
        return None
    good = sum(
        (not slo.ttft_milliseconds or ttft <= slo.ttft_milliseconds)
        and (not slo.tpot_milliseconds or tpot <= slo.tpot_milliseconds)
        for ttft, tpot in found.both
    )
    share = good / len(found.both)
    return Goodput(
        requests_per_second=requests_per_second * share,
        compliance_percent=100 * share,
        compliance_percent_lower95=100 * wilson_lower(good, len(found.both)),
    )
