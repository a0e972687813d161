"""The greedy reference: it knows the performance model and the answer lengths of requests that have arrived.

It decides every second, without stabilization. Other policies can beat it, so it is no bound.
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass

from tacho_operator.core.autoscaling.algorithm.behavior import with_high
from tacho_operator.core.autoscaling.algorithm.types import Point
from tacho_simulate.capacity import open_rate
from tacho_simulate.policy import Arrived, PolicyDecision, PolicyView, Setting

SHARE = 0.995
"""SLO attainment of a replica at its capacity, relative to an idle replica."""
LONG_SECONDS = 60.0
WINDOWS_SECONDS = (5.0, 10.0, 20.0, 40.0)
MIN_HOLD_SECONDS, MAX_HOLD_SECONDS = 300.0, 900.0
ENOUGH = 30
"""Fewest requests from which lengths are estimated; before that the measured workload is used."""
LATEST = 1000
"""Number of latest requests from which lengths are estimated."""
MIX_STEPS = 3
"""Resolution of lengths, in steps per factor of two."""


@dataclass(frozen=True, slots=True)
class ArrivalTotals:
    """Totals of the requests that have arrived up to one time."""

    time_seconds: float
    arrivals: int
    input_tokens: int
    output_tokens: int


class GreedyReference:
    name = "greedy"
    period_seconds = 1.0

    def __init__(self, setting: Setting) -> None:
        self._setting = setting
        self._seen: deque[ArrivalTotals] = deque([ArrivalTotals(0.0, 0, 0, 0)])
        self._hold = min(MAX_HOLD_SECONDS, max(MIN_HOLD_SECONDS, setting.cold_start_seconds))
        self._needs: tuple[Point, ...] = ()
        """Needed replicas over time, with falling values; the first is the maximum within the hold time."""
        self._rates: dict[tuple[int, int], float] = {}

    def decide(self, view: PolicyView) -> PolicyDecision:
        now = view.now_seconds
        latest = ArrivalTotals(
            now, view.arrivals_total, view.arrived_input_tokens, view.arrived_output_tokens
        )
        self._seen.append(latest)
        while len(self._seen) > 2 and self._seen[1].time_seconds <= now - LONG_SECONDS:
            self._seen.popleft()
        carried = self._carried(view.arrived)
        arriving = self._arriving(latest)
        waiting = view.gateway_waiting + sum(pod.metrics.waiting for pod in view.pods if pod.metrics)
        drain = max(WINDOWS_SECONDS[0], self._setting.cold_start_seconds)
        amount = (arriving + waiting / drain) / carried
        need = max(1, math.ceil(amount))
        self._needs = with_high(self._needs, Point(now, need), self._hold)
        loads = {
            pod.uid: pod.metrics.running + pod.metrics.waiting if pod.metrics else 0 for pod in view.pods
        }
        idle = sorted((pod for pod in view.pods if pod.ready), key=lambda pod: loads[pod.uid])
        starting = [pod.uid for pod in view.pods if not pod.ready]
        load = f"{arriving:.2f} requests/s and {waiting} pending requests"
        reason = f"{load} at {carried:.2f} requests/s per replica: {amount:.2f}"
        return PolicyDecision(
            replicas=int(self._needs[0].value),
            reason=reason,
            victims=(*starting, *(pod.uid for pod in idle)),
        )

    def _arriving(self, latest: ArrivalTotals) -> float:
        """Requests per second: the mean over the long window, or the lower bound (one sigma) of a shorter
        window if that is higher.
        """
        rates = [0.0]
        for window in (*WINDOWS_SECONDS, LONG_SECONDS):
            begins = next(
                (seen for seen in reversed(self._seen) if seen.time_seconds <= latest.time_seconds - window),
                self._seen[0],
            )
            elapsed = latest.time_seconds - begins.time_seconds
            if elapsed > 0:
                count = latest.arrivals - begins.arrivals
                rates.append((count if window == LONG_SECONDS else count - math.sqrt(count)) / elapsed)
        return max(rates)

    def _carried(self, arrived: Arrived | None) -> float:
        """Requests per second that one replica sustains, for the lengths of recent requests."""
        first, last = self._seen[0], self._seen[-1]
        count = last.arrivals - first.arrivals
        if count < ENOUGH:
            first, count = ArrivalTotals(0.0, 0, 0, 0), last.arrivals
        few, known = count < ENOUGH, self._setting.capacity
        prompt = known.input_tokens if few else (last.input_tokens - first.input_tokens) / count
        answer = known.output_tokens if few else (last.output_tokens - first.output_tokens) / count
        mix = _step(prompt), _step(answer)
        if mix not in self._rates:
            self._rates[mix] = open_rate(
                self._setting.model,
                [(known.input_tokens, known.output_tokens)]
                if few or arrived is None
                else arrived.latest(LATEST),
                ttft_seconds=self._setting.slo_ttft_seconds,
                tpot_seconds=self._setting.slo_tpot_seconds,
                share=SHARE,
            )
        return self._rates[mix]


def _step(tokens: float) -> int:
    return round(MIX_STEPS * math.log2(max(1.0, tokens)))
