"""Requests that arrive at a rate of their own, at a share of what a level carried. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from tacho_contract.launch import ServiceLevel
from tacho_contract.measurement import Goodput, OpenLoop, Workload
from tacho_runtime.probe.asking.streams import Stream
from tacho_runtime.probe.levels import PARTIAL_TOKENS, Latencies, first_token_milliseconds, latencies
from tacho_runtime.probe.ports import Trace
from tacho_runtime.probe.statistics import founded_percentile, median, percentile, samples_for, wilson

LOAD_SHARE = 0.85
"""Of the capacity: nearer to it, queues grow with the square of what is missing to one."""
STEP_DOWN = 0.85
FEWEST_REQUESTS = 12
FEWEST_ANSWERED = 3
"""Of fewer, times tell nothing."""
WANTED_REQUESTS = 110
"""Enough for 95 of 100 where one of them is late by chance."""
FEWEST_SECONDS, MOST_SECONDS = 4.0, 20.0


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenResult:
    figures: OpenLoop | None
    """None: fewer than FEWEST_ANSWERED were answered."""
    goodput: Goodput | None
    passed: bool | None
    """Whether the service level was kept, with 95 % confidence; None: too few came to tell, or there is no
    service level to keep."""
    notes: tuple[str, ...] = ()
    flags: tuple[str, ...] = ()
    """What disturbed it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcomes:
    """What became of the requests, by the service level."""

    kept: int = 0
    broken: int = 0
    """Those that failed too, and those that waited for their first token for longer than they may."""
    undecided: int = 0
    """Waiting for it for longer than others do, and not yet for longer than they may."""

    @property
    def requests(self) -> int:
        return self.kept + self.broken + self.undecided

    def passed(self, percent: float) -> bool | None:
        """Whether ``percent`` of all such requests keep the service level, by Wilson's one-sided bounds: kept
        whatever becomes of the undecided ones, broken whatever becomes of them, or too few to tell."""
        if not self.requests:
            return None
        if wilson(self.kept, self.requests) >= percent / 100:
            return True
        if wilson(self.kept + self.undecided, self.requests, upper=True) < percent / 100:
            return False
        return None


def seconds_for(requests_per_second: float, *, request_seconds: float, left_seconds: float) -> float:
    """How long it takes: the time of a request, until as many are under way as ever, and then enough arrivals
    to judge, for at most MOST_SECONDS; 0 where the time left holds too few."""
    enough = max(FEWEST_SECONDS, WANTED_REQUESTS / requests_per_second) if requests_per_second > 0 else 0.0
    window = min(MOST_SECONDS, enough, left_seconds - request_seconds)
    return request_seconds + window if window * requests_per_second >= FEWEST_REQUESTS else 0.0


def outcomes(trace: Trace, workload: Workload, slo: ServiceLevel) -> Outcomes:
    """Of requests whose first token came in the window, that failed, or that still waited at its end.

    One that has only just been sent, or has too few tokens for a time per token, counts nowhere: it is as
    likely to keep the service level as the others are.
    """
    ttfts = latencies(trace, workload).ttft
    usual = percentile(ttfts, slo.percentile) if ttfts else 0.0
    waits = [(trace.end_ns - due) / 1e6 for due in trace.unanswered_ns]
    told = [
        _kept(stream, ttft, workload, slo)
        for place, stream in enumerate(trace.streams)
        if (ttft := first_token_milliseconds(trace, place, stream)) is not None
        and trace.start_ns < stream.tokens[0][0] <= trace.end_ns
    ]
    told += [False for wait in waits if slo.ttft_milliseconds and wait > slo.ttft_milliseconds]
    return Outcomes(
        kept=told.count(True),
        broken=told.count(False) + len(trace.failures),
        undecided=sum(
            usual < wait and not (slo.ttft_milliseconds and wait > slo.ttft_milliseconds) for wait in waits
        ),
    )


def _kept(stream: Stream, ttft: float, workload: Workload, slo: ServiceLevel) -> bool | None:
    """None: that cannot be told yet."""
    if slo.ttft_milliseconds and ttft > slo.ttft_milliseconds:
        return False
    if not slo.tpot_milliseconds:
        return True
    tpot = stream.tpot_milliseconds
    if tpot is None or stream.output_tokens < min(PARTIAL_TOKENS, workload.output_tokens):
        return None
    return tpot <= slo.tpot_milliseconds


def evaluate_open(trace: Trace, workload: Workload, offered: float, slo: ServiceLevel) -> OpenResult | None:
    """None when nothing came of it that says anything."""
    figures = _figures(trace, workload, offered)
    if not (slo.ttft_milliseconds or slo.tpot_milliseconds):
        return OpenResult(figures=figures, goodput=None, passed=None) if figures else None
    found = outcomes(trace, workload, slo)
    if figures is None and not found.requests:
        return None
    # Failures that ended it early say enough.
    passed = False if trace.broken else found.passed(slo.percentile)
    notes = []
    if trace.failures:
        notes.append(f"of the requests that arrived by themselves {len(trace.failures)} failed")
    if passed is None:
        notes.append(
            f"{found.requests} requests that arrived by themselves are too few to tell whether "
            f"{slo.percentile} of 100 keep the service level: {found.kept} did"
        )
    return OpenResult(figures=figures, goodput=_goodput(found, offered), passed=passed, notes=tuple(notes))


def _figures(trace: Trace, workload: Workload, offered: float) -> OpenLoop | None:
    found = latencies(trace, workload)
    ends = found.end_to_end or [ttft + (workload.output_tokens - 1) * tpot for ttft, tpot in found.both]
    if len(found.ttft) < FEWEST_ANSWERED or not found.tpot or not ends:
        return None
    late = _waiting(trace, found)
    return OpenLoop(
        offered_requests_per_second=offered,
        requests=len(found.ttft),
        ttft_milliseconds_p50=median([*found.ttft, *late]),
        ttft_milliseconds_p95=_late_percentile(found.ttft, len(late), 95),
        tpot_milliseconds_p50=median(found.tpot),
        tpot_milliseconds_p95=founded_percentile(found.tpot, 95),
        end_to_end_milliseconds_p50=median(ends),
        end_to_end_milliseconds_p95=founded_percentile(found.end_to_end, 95),
    )


def _waiting(trace: Trace, found: Latencies) -> list[float]:
    """For how long those have waited that are later than the median: they would lift it."""
    waits = [(trace.end_ns - due) / 1e6 for due in trace.unanswered_ns]
    usual = median(found.ttft)
    return [wait for wait in waits if wait > usual]


def _late_percentile(values: Sequence[float], later: int, percent: float) -> float | None:
    """The percentile of ``values`` and of ``later`` ones of which only that they are above its half is known;
    None where there are too few, or it may be one of those."""
    count = len(values) + later
    if count < samples_for(percent) or math.ceil((count - 1) * percent / 100) >= len(values):
        return None
    return percentile([*values, *[max(values)] * later], percent)


def _goodput(found: Outcomes, offered: float) -> Goodput | None:
    if not found.requests:
        return None
    share = found.kept / found.requests
    return Goodput(
        requests_per_second=offered * share,
        compliance_percent=100 * share,
        compliance_percent_lower95=100 * wilson(found.kept, found.requests),
    )
