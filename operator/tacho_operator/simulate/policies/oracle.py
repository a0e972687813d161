"""An oracle: it sees requests only as they come, but with the lengths of their answers; it knows what
replicas really do, looks every second and acts at once. Starts take it as long as everybody."""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass

from tacho_operator.simulate.capacity import open_rate
from tacho_operator.simulate.policy import Arrived, Choice, Policy, Setting, View

SHARE = 0.995
"""Of the requests that a replica is to serve within the service level when it is as full as may be."""
LONG_SECONDS = 60.0
WINDOWS_SECONDS = (5.0, 10.0, 20.0, 40.0)
LEAST_HOLD_SECONDS, MOST_HOLD_SECONDS = 300.0, 900.0
ENOUGH = 30
"""Requests that tell their mix; before so many have come they are taken to be as those that were measured."""
LATEST = 1000
"""So many tell how lengths are spread."""
MIX_STEPS = 3
"""Lengths are told apart in so many steps to the double."""


@dataclass(frozen=True, slots=True)
class Seen:
    """Totals at a time."""

    time_seconds: float
    arrivals: int
    input_tokens: int
    output_tokens: int


class Oracle:
    name = "oracle"
    source = "knows the replicas' law; an upper bound, not a policy for a cluster"
    period_seconds = 1.0

    def __init__(self, setting: Setting) -> None:
        self._setting = setting
        self._seen: deque[Seen] = deque([Seen(0.0, 0, 0, 0)])
        self._hold = min(MOST_HOLD_SECONDS, max(LEAST_HOLD_SECONDS, setting.cold_start_seconds))
        self._needs: deque[tuple[float, int]] = deque()
        """(time, replicas), falling: the first is the highest of the time that is held."""
        self._rates: dict[tuple[int, int], float] = {}

    def decide(self, view: View) -> Choice:
        now = view.now_seconds
        latest = Seen(now, view.arrivals_total, view.arrived_input_tokens, view.arrived_output_tokens)
        self._seen.append(latest)
        while len(self._seen) > 2 and self._seen[1].time_seconds <= now - LONG_SECONDS:
            self._seen.popleft()
        carried = self._carried(view.arrived)
        arriving = self._arriving(latest)
        waiting = view.gateway_waiting + sum(pod.metrics.waiting for pod in view.pods if pod.metrics)
        drain = max(WINDOWS_SECONDS[0], self._setting.cold_start_seconds)
        amount = (arriving + waiting / drain) / carried
        need = max(1, math.ceil(amount))
        while self._needs and self._needs[-1][1] <= need:
            self._needs.pop()
        self._needs.append((now, need))
        while self._needs[0][0] < now - self._hold:
            self._needs.popleft()
        wanted = self._needs[0][1]
        loads = {
            pod.uid: pod.metrics.running + pod.metrics.waiting if pod.metrics else 0 for pod in view.pods
        }
        idle = sorted((pod for pod in view.pods if pod.ready), key=lambda pod: loads[pod.uid])
        starting = [pod.uid for pod in view.pods if not pod.ready]
        said = f"{arriving:.2f} requests/s and {waiting} that wait, {carried:.2f} a replica: {amount:.2f}"
        return Choice(
            replicas=wanted,
            sentence=said,
            victims=(*starting, *(pod.uid for pod in idle)),
        )

    def _arriving(self, latest: Seen) -> float:
        """Requests a second: the mean of the long window, or what a shorter one surely has."""
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
        """Requests a second of one replica, of the lengths that came lately."""
        first, last = self._seen[0], self._seen[-1]
        count = last.arrivals - first.arrivals
        if count < ENOUGH:
            first, count = Seen(0.0, 0, 0, 0), last.arrivals
        few, known = count < ENOUGH, self._setting.capacity
        prompt = known.input_tokens if few else (last.input_tokens - first.input_tokens) / count
        answer = known.output_tokens if few else (last.output_tokens - first.output_tokens) / count
        mix = _step(prompt), _step(answer)
        if mix not in self._rates:
            self._rates[mix] = open_rate(
                self._setting.law,
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


def make(setting: Setting) -> Policy:
    return Oracle(setting)
