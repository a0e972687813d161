"""Evaluates the open loop of a probe: requests at a fixed rate, a share of the measured capacity. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from tacho_contract.launch import ServiceLevel
from tacho_contract.measurement import Goodput, OpenLoop, Workload, samples_for
from tacho_contract.units import counted
from tacho_runtime.probe.engine_under_test import LoadTrace
from tacho_runtime.probe.latencies import PARTIAL_TOKENS, Latencies, first_token_milliseconds, latencies
from tacho_runtime.probe.load.streams import StreamResult
from tacho_runtime.probe.statistics import (
    median,
    percentile,
    percentile_if_enough,
    share_is_over,
    share_is_under,
    wilson_lower,
)

LOAD_SHARE = 0.85
"""Rate of the open loop as a share of the capacity. Closer to it, queues grow with the inverse square of the
remaining share.
"""
MIN_ANSWERED = 3
"""Fewest answered requests for which latencies are reported."""
ARRIVALS_MARGIN = 1.25
"""Factor on the time in which a cohort is expected to arrive, as the number of arrivals varies by chance."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenLoopResult:
    figures: OpenLoop | None
    """Latencies of the requests; None: fewer than MIN_ANSWERED were answered."""
    goodput: Goodput | None
    passed: bool | None
    """Whether the service level's percentile was met, with 95 % confidence; None: the requests are too few to
    tell, or no service level is set."""
    notes: tuple[str, ...] = ()
    flags: tuple[str, ...] = ()
    """Flags of the disturbances during the open loop."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenLoopOutcomes:
    """Number of open-loop requests that met the SLO, missed it, or are undecided."""

    kept: int = 0
    broken: int = 0
    """Requests that broke the service level, failed, or waited for their first token longer than the service
    level allows."""
    undecided: int = 0
    """Requests that wait for their first token longer than most, but not yet longer than the service level
    allows."""

    @property
    def requests(self) -> int:
        return self.kept + self.broken + self.undecided

    def passed(self, percent: float) -> bool | None:
        """Whether that percentile of all requests meets the SLO, with 95 % confidence; None where too few
        requests show it."""
        may_break = 1 - percent / 100
        if share_is_over(self.broken, self.requests, may_break):
            return False
        return True if share_is_under(self.broken + self.undecided, self.requests, may_break) else None


def seconds_for(
    requests_per_second: float, *, request_seconds: float, left_seconds: float, slo: ServiceLevel
) -> float:
    """Duration of an open loop in seconds: until the load is steady, and a cohort has been sent and has
    ended.

    0 where the time left is shorter.
    """
    if requests_per_second <= 0:
        return 0.0
    seconds = 2 * request_seconds + ARRIVALS_MARGIN * samples_for(slo.percentile) / requests_per_second
    return seconds if seconds <= left_seconds else 0.0


def outcomes(trace: LoadTrace, workload: Workload, slo: ServiceLevel) -> OpenLoopOutcomes:
    """Outcomes of the requests whose first token came in the window, that failed, or that still waited at its
    end.

    A request that was only just sent, or has too few tokens for a time per token, is not counted: it is as
    likely to meet the SLO as the others are.
    """
    ttfts = latencies(trace, workload).ttft
    usual = percentile(ttfts, slo.percentile) if ttfts else 0.0
    waits = [(trace.end_ns - due) / 1e6 for due in trace.unanswered_ns]
    met = [
        _kept(stream, ttft, workload, slo)
        for place, stream in enumerate(trace.streams)
        if (ttft := first_token_milliseconds(trace, place, stream)) is not None
        and trace.start_ns < stream.tokens[0][0] <= trace.end_ns
    ]
    met += [False for wait in waits if slo.ttft_milliseconds and wait > slo.ttft_milliseconds]
    return OpenLoopOutcomes(
        kept=met.count(True),
        broken=met.count(False) + len(trace.failures),
        undecided=sum(
            usual < wait and not (slo.ttft_milliseconds and wait > slo.ttft_milliseconds) for wait in waits
        ),
    )


def _kept(stream: StreamResult, ttft: float, workload: Workload, slo: ServiceLevel) -> bool | None:
    """Whether the request met the SLO; None: unknown so far."""
    if slo.ttft_milliseconds and ttft > slo.ttft_milliseconds:
        return False
    if not slo.tpot_milliseconds:
        return True
    tpot = stream.tpot_milliseconds
    if tpot is None or stream.output_tokens < min(PARTIAL_TOKENS, workload.output_tokens):
        return None
    return tpot <= slo.tpot_milliseconds


def evaluate_open(
    trace: LoadTrace, workload: Workload, offered: float, slo: ServiceLevel
) -> OpenLoopResult | None:
    """Latencies and SLO result of an open loop; None where too few requests were answered."""
    figures = _figures(trace, workload, offered)
    if not slo.has_target:
        return OpenLoopResult(figures=figures, goodput=None, passed=None) if figures else None
    found = outcomes(trace, workload, slo)
    if figures is None and not found.requests:
        return None
    # Failures that ended it early say enough.
    passed = False if trace.broken else found.passed(slo.percentile)
    notes = []
    if trace.failures:
        notes.append(f"{counted(len(trace.failures), 'open-loop request')} failed")
    if passed is None:
        notes.append(
            f"{found.kept} of {counted(found.requests, 'open-loop request')} met the SLO: too few to tell "
            f"whether {slo.percentile} % do"
        )
    return OpenLoopResult(
        figures=figures, goodput=_goodput(found, offered), passed=passed, notes=tuple(notes)
    )


def _figures(trace: LoadTrace, workload: Workload, offered: float) -> OpenLoop | None:
    found = latencies(trace, workload)
    ends = found.end_to_end or [ttft + (workload.output_tokens - 1) * tpot for ttft, tpot in found.both]
    if len(found.ttft) < MIN_ANSWERED or not found.tpot or not ends:
        return None
    late = _waiting(trace, found)
    return OpenLoop(
        offered_requests_per_second=offered,
        requests=len(found.ttft),
        ttft_milliseconds_p50=median([*found.ttft, *late]),
        ttft_milliseconds_p95=_late_percentile(found.ttft, len(late), 95),
        tpot_milliseconds_p50=median(found.tpot),
        tpot_milliseconds_p95=percentile_if_enough(found.tpot, 95),
        end_to_end_milliseconds_p50=median(ends),
        end_to_end_milliseconds_p95=percentile_if_enough(found.end_to_end, 95),
    )


def _waiting(trace: LoadTrace, found: Latencies) -> list[float]:
    """Waiting times, in ms, of unanswered requests that already exceed the median; leaving them out would
    make the median too low.
    """
    waits = [(trace.end_ns - due) / 1e6 for due in trace.unanswered_ns]
    usual = median(found.ttft)
    return [wait for wait in waits if wait > usual]


def _late_percentile(values: Sequence[float], later: int, percent: float) -> float | None:
    """The percentile of ``values`` and of ``later`` further values that are only known to be above the
    median. None for too few values, or where the percentile may be one of the unknown values."""
    count = len(values) + later
    if count < samples_for(percent) or math.ceil((count - 1) * percent / 100) >= len(values):
        return None
    return percentile([*values, *[max(values)] * later], percent)


def _goodput(found: OpenLoopOutcomes, offered: float) -> Goodput | None:
    if not found.requests:
        return None
    share = found.kept / found.requests
    return Goodput(
        requests_per_second=offered * share,
        compliance_percent=100 * share,
        compliance_percent_lower95=100 * wilson_lower(found.kept, found.requests),
    )
