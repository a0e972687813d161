"""The greedy reference: it knows the performance model and the answer lengths of requests that have arrived.

It decides every second, without stabilization. Other policies can beat it, so it is no bound.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from random import Random
from statistics import fmean

from tacho_operator.core.autoscaling.algorithm.behavior import with_high
from tacho_operator.core.autoscaling.algorithm.types import Point
from tacho_simulate.loops import Level, answered, closed_loop
from tacho_simulate.performance_model import PerformanceModel
from tacho_simulate.policy import Arrived, PolicyDecision, PolicyView, Setting
from tacho_simulate.replica import NOT_YET

KNEE = 0.9
"""Share of the maximum throughput from which a level has nearly all of it."""
OPEN_REQUESTS = 1000
BISECTIONS = 7
ALONE = 0.01
"""Utilization at which a replica counts as idle (1 %)."""


def knee(model: PerformanceModel, *, input_tokens: int, output_tokens: int) -> Level:
    """The lowest level of a closed loop with nearly the highest throughput."""
    concurrencies = [1]
    while concurrencies[-1] < model.max_num_seqs:
        concurrencies.append(min(2 * concurrencies[-1], model.max_num_seqs))
    levels = [
        closed_loop(model, input_tokens=input_tokens, output_tokens=output_tokens, concurrency=concurrency)
        for concurrency in concurrencies
    ]
    enough = KNEE * max(found.output_tokens_per_second for found in levels)
    return next(found for found in levels if found.output_tokens_per_second >= enough)


def open_rate(
    model: PerformanceModel,
    lengths: Sequence[tuple[int, int]],
    *,
    ttft_seconds: float | None,
    tpot_seconds: float | None,
    share: float,
) -> float:
    """Requests per second at which one replica still meets the SLO nearly as well as when idle.

    Poisson arrivals with lengths drawn from ``lengths``; the SLO attainment is ``share`` of that of an idle
    replica.
    """
    highest = knee(
        model,
        input_tokens=round(fmean(prompt for prompt, _ in lengths)),
        output_tokens=max(1, round(fmean(answer for _, answer in lengths))),
    )
    max_rate = 1.5 * highest.requests_per_second

    def met(rate: float) -> float:
        return _met_share(model, rate, lengths, ttft_seconds, tpot_seconds)

    low, high = ALONE * max_rate, max_rate
    target = share * met(low)
    for _ in range(BISECTIONS):
        middle = (low + high) / 2
        if met(middle) >= target:
            low = middle
        else:
            high = middle
    return low


def _met_share(
    model: PerformanceModel,
    rate: float,
    lengths: Sequence[tuple[int, int]],
    ttft_seconds: float | None,
    tpot_seconds: float | None,
) -> float:
    rng = Random(0)  # noqa: S311  # a game, not a secret
    arrived: list[float] = []
    now = 0.0
    for _ in range(OPEN_REQUESTS):
        now += rng.expovariate(rate)
        arrived.append(now)
    rows = [rng.choice(lengths) for _ in arrived]
    ledger = answered(model, arrived, [prompt for prompt, _ in rows], [answer for _, answer in rows])
    met = 0
    for request, last in enumerate(ledger.last):
        if last == NOT_YET:
            continue
        first = ledger.first[request]
        gap = (last - first) / max(1, rows[request][1] - 1)
        late = ttft_seconds is not None and first - arrived[request] > ttft_seconds
        slow = tpot_seconds is not None and gap > tpot_seconds
        met += not late and not slow
    return met / len(arrived)


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
        carried = self._sustained_rate(view.arrived)
        arriving = self._arrival_rate(latest)
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

    def _arrival_rate(self, latest: ArrivalTotals) -> float:
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

    def _sustained_rate(self, arrived: Arrived | None) -> float:
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
