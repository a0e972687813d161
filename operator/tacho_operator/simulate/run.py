"""One run: a trace, replicas that follow one policy, and what came of it. Same seed, same result.

Time goes from one event to the next (a look of the policy, a pod that becomes ready, a fault). Between two of
them nobody comes or goes, so requests are dealt out at once, and each replica goes its own way.
"""

from __future__ import annotations

import heapq
import itertools
import math
from collections.abc import Callable, Sequence
from functools import partial
from random import Random

from tacho_operator.simulate.faults import Faults
from tacho_operator.simulate.fleet import Fleet, Pod
from tacho_operator.simulate.policy import Arrived, Factory, Policy, Setting, View
from tacho_operator.simulate.replica import Ledger
from tacho_operator.simulate.replica.ledger import NEVER
from tacho_operator.simulate.result import Decided, Moment, Result, quantiles
from tacho_operator.simulate.trace import Trace

DRAIN_SECONDS = 900.0
"""After the last arrival: what is not answered by then counts as never."""
NO_FAULTS = Faults()

__all__ = ["Faults", "simulate"]


def simulate(
    trace: Trace,
    setting: Setting,
    policy_factory: Factory,
    *,
    seed: int,
    faults: Faults = NO_FAULTS,
    dealt: Sequence[int] = (),
) -> Result:
    """What ``policy_factory``'s policy does with ``trace``.

    ``dealt``: the pod of each request, in the order in which pods become ready; a pod of chance where that
    one does not serve, and for () always.
    """
    return Run(trace, setting, policy_factory, seed, faults, dealt).result()


def _chance(seed: int) -> Random:
    return Random(seed)  # noqa: S311  # a game, not a secret


class Run:
    def __init__(
        self,
        trace: Trace,
        setting: Setting,
        factory: Factory,
        seed: int,
        faults: Faults,
        dealt: Sequence[int] = (),
    ) -> None:
        self._trace, self._setting, self._factory = trace, setting, factory
        self._policy: Policy = factory(setting)
        self._seed, self._faults = seed, faults
        self._ledger = Ledger(trace.time_seconds, trace.input_tokens, trace.output_tokens)
        self._fleet = Fleet(setting.law, faults.stragglers, self._ledger, _chance(seed), dealt)
        # Starts have a stream of their own: other requests do not make other starts.
        self._starts = _chance(seed + 1)
        self._started = 0
        self._events: list[tuple[float, int, Callable[[float], None]]] = []
        self._order = itertools.count()
        self._asked = setting.least if setting.initial is None else setting.initial
        self._trajectory: list[Moment] = []
        self._decisions: list[Decided] = []
        self._missed: list[tuple[str, float]] = []
        self._totals = (0, 0, 0)
        """Arrivals that were counted, and tokens of their prompts and answers."""

    def result(self) -> Result:
        trace, fleet = self._trace, self._fleet
        for _ in range(self._asked):
            fleet.become_ready(fleet.create(-self._setting.initial_start_seconds), 0.0)
        self._note(0.0)
        first = self._setting.first_look_seconds
        self._at(self._policy.period_seconds if first is None else first, self._decide)
        for when, whom in self._faults.failing:
            self._at(when, partial(self._fail, whom))
        for when, whom in self._faults.hanging:
            self._at(when, partial(self._hang, whom))
        horizon = trace.duration_seconds + DRAIN_SECONDS
        while self._events and self._events[0][0] <= horizon:
            when, _, action = heapq.heappop(self._events)
            fleet.arrive(when)
            if when > trace.duration_seconds and self._done():
                break
            action(when)
            self._note(when)
        fleet.arrive(math.inf)
        fleet.settle(horizon)
        return self._told()

    def _at(self, when: float, action: Callable[[float], None]) -> None:
        heapq.heappush(self._events, (when, next(self._order), action))

    def _done(self) -> bool:
        return self._ledger.ended + self._ledger.lost == len(self._trace)

    def _note(self, now: float) -> None:
        if self._trajectory and self._trajectory[-1].time_seconds == now:
            self._trajectory.pop()  # what happens at one time is one moment
        former = self._trajectory[-1][1:] if self._trajectory else None
        if former != (self._asked, self._fleet.ready):
            self._trajectory.append(Moment(now, self._asked, self._fleet.ready))

    # --- what happens -------------------------------------------------------------------------------
    def _decide(self, now: float) -> None:
        fleet, setting = self._fleet, self._setting
        if any(begins <= now < ends for begins, ends in self._faults.decider_lost):
            self._policy = self._factory(setting)
            self._at(now + self._policy.period_seconds, self._decide)
            return
        blind = any(begins <= now < ends for begins, ends in self._faults.metrics_lost)
        arrivals, prompts, answers = self._counted()
        view = View(
            now_seconds=now,
            replicas=self._asked,
            pods=fleet.look(now, blind=blind),
            arrivals_total=arrivals,
            gateway_waiting=fleet.held,
            arrived_input_tokens=prompts,
            arrived_output_tokens=answers,
            arrived=Arrived(self._trace.input_tokens, self._trace.output_tokens, arrivals),
        )
        choice = self._policy.decide(view)
        wanted = min(setting.most, max(setting.least, choice.replicas))
        if wanted != self._asked:
            self._decisions.append(Decided(now, self._asked, wanted, choice.sentence))
            self._asked = wanted
        for _ in range(wanted - len(fleet.pods)):
            self._start(fleet.create(now), now)
        fleet.remove(len(fleet.pods) - wanted, choice.victims, now)
        waited = self._faults.unanswered_seconds if blind else 0.0
        self._at(now + max(self._policy.period_seconds, waited), self._decide)

    def _start(self, pod: Pod, now: float) -> None:
        known = self._faults.cold_start_seconds
        seconds = self._starts.choice(known) if known else self._setting.cold_start_seconds
        if self._faults.starts_in_order and self._started < len(known):
            seconds = known[self._started]
        self._started += 1

        def ready(when: float) -> None:
            if pod.gone == math.inf:
                self._fleet.become_ready(pod, when)

        self._at(now + seconds, ready)

    def _fail(self, number: int | None, now: float) -> None:
        pod = self._serving(number)
        if pod is None:
            self._missed.append(("crash", now))
            return
        self._fleet.crash(pod, now)
        self._start(pod, now)

    def _hang(self, number: int | None, now: float) -> None:
        pod = self._serving(number)
        if pod is None:
            self._missed.append(("hang", now))
            return
        self._fleet.hang(pod, now)

        def restart(when: float) -> None:
            if pod.gone == math.inf and pod.hung:
                if self._faults.hanging_goes_on:
                    self._fleet.go_on(pod, when)
                    return
                self._fleet.crash(pod, when)
                self._start(pod, when)

        self._at(now + self._faults.hang_seconds, restart)

    def _serving(self, number: int | None) -> Pod | None:
        """That pod, or the oldest. None: there is no such pod that could still fail."""
        found = (pod for pod in self._fleet.pods if number is None or pod.number == number)
        return next((pod for pod in found if pod.ready and not pod.hung), None)

    def _counted(self) -> tuple[int, int, int]:
        counted, prompts, answers = self._totals
        for request in range(counted, self._fleet.arrived):
            prompts += self._trace.input_tokens[request]
            answers += self._trace.output_tokens[request]
        self._totals = (self._fleet.arrived, prompts, answers)
        return self._totals

    # --- what came of it ----------------------------------------------------------------------------
    def _told(self) -> Result:
        trace, ledger, fleet, setting = self._trace, self._ledger, self._fleet, self._setting
        duration = trace.duration_seconds
        ttft: list[float] = []
        whole: list[float] = []
        tpot: list[float] = []
        kept = 0
        ttft_limit = math.inf if setting.slo_ttft_seconds is None else setting.slo_ttft_seconds
        tpot_limit = math.inf if setting.slo_tpot_seconds is None else setting.slo_tpot_seconds
        rows = zip(ledger.arrived, ledger.first, ledger.last, ledger.output_tokens, strict=True)
        for arrived, first, last, tokens in rows:
            if last == NEVER:
                continue
            ttft.append(first - arrived)
            whole.append(last - arrived)
            gap = 0.0
            if tokens > 1:
                gap = (last - first) / (tokens - 1)
                tpot.append(gap)
            kept += first - arrived <= ttft_limit and gap <= tpot_limit
        seconds = (
            max(0.0, min(duration, pod.gone) - min(duration, max(0.0, pod.created)))
            for pod in (*fleet.pods, *fleet.ended)
        )
        return Result(
            policy=self._policy.name,
            trace=trace.name,
            seed=self._seed,
            duration_seconds=duration,
            requests=len(trace),
            unfinished=len(trace) - len(whole),
            gpu_hours=math.fsum(seconds) / 3600,
            slo_attainment=kept / len(trace) if len(trace) else 1.0,
            ttft_seconds=quantiles(ttft),
            e2e_seconds=quantiles(whole),
            tpot_seconds=quantiles(tpot),
            preemptions=fleet.preemptions,
            trajectory=tuple(self._trajectory),
            decisions=tuple(self._decisions),
            missed=tuple(self._missed),
        )
