"""Discrete-event simulation of one trace, one policy and its replicas. The same seed gives the same result.

Events are decisions of the policy, pods that become ready, and faults. Pods do not change between two events,
so all requests of that interval are routed at once and replicas advance independently.
"""

from __future__ import annotations

import heapq
import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from random import Random

from tacho_simulate.fleet import Fleet, SimulatedPod
from tacho_simulate.policy import Arrived, Factory, PolicyView, Restarts, Setting, SimulatedPolicy
from tacho_simulate.replica import NOT_YET, Ledger
from tacho_simulate.result import Moment, ReplicaChange, Result, quantile, quantiles
from tacho_simulate.trace import Trace

DRAIN_SECONDS = 900.0
"""Time after the last arrival; requests that are incomplete by then count as failed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Faults:
    """Faults to inject into a run. Pods are numbered by creation, from 0."""

    metrics_outages: tuple[tuple[float, float], ...] = ()
    """(from, to) in seconds: no pod answers a metrics request."""
    unanswered_seconds: float = 0.0
    """Time of a decision during a metrics outage, if longer than the policy's period."""
    scaler_outages: tuple[tuple[float, float], ...] = ()
    """(from, to) in seconds: the scaler is down. It restarts with what outlives it, and decides after one
    period."""
    hanging: tuple[tuple[float, int | None], ...] = ()
    """(time, pod): the pod stays ready, reports constant metrics and makes no progress. None: the oldest
    ready pod."""
    hang_seconds: float = 300.0
    """Time until a hanging pod is restarted: ready after a cold start; its requests fail."""
    hang_resumes: bool = False
    """The pod resumes its requests instead of being restarted."""
    failing: tuple[tuple[float, int | None], ...] = ()
    """(time, pod): the pod crashes, its requests fail, and it is ready after a cold start. None: the oldest
    ready pod."""
    stragglers: tuple[tuple[int, float], ...] = ()
    """(pod, factor): all times of the pod are multiplied by the factor."""
    cold_start_seconds: tuple[float, ...] = ()
    """Measured cold starts; each pod draws one. Empty: the setting's cold start."""
    starts_in_order: bool = False
    """Pods take the cold starts in order of creation; later pods draw one."""


NO_FAULTS = Faults()


def simulate(
    trace: Trace,
    setting: Setting,
    policy_factory: Factory,
    *,
    seed: int,
    faults: Faults = NO_FAULTS,
    assigned_pods: Sequence[int] = (),
) -> Result:
    """Runs ``policy_factory``'s policy on ``trace``.

    ``assigned_pods``: the pod of each request, by order of first readiness. A random ready pod is used if
    that pod is not ready, and always for ().
    """
    return Simulation(trace, setting, policy_factory, seed, faults, assigned_pods).result()


def _random(seed: int) -> Random:
    return Random(seed)  # noqa: S311  # not a secret


class Simulation:
    def __init__(
        self,
        trace: Trace,
        setting: Setting,
        factory: Factory,
        seed: int,
        faults: Faults,
        assigned_pods: Sequence[int] = (),
    ) -> None:
        self._trace, self._setting, self._factory = trace, setting, factory
        self._policy: SimulatedPolicy = factory(setting)
        self._scaler_ends = 0
        """How often the scaler has ended so far. A decision that was due before is not made after it."""
        self._seed, self._faults = seed, faults
        self._ledger = Ledger(trace.time_seconds, trace.input_tokens, trace.output_tokens)
        self._fleet = Fleet(
            setting.model, faults.stragglers, self._ledger, _random(seed), assigned_pods, setting.routing
        )
        # Cold starts have their own random stream: they do not depend on the number of requests.
        self._starts = _random(seed + 1)
        self._started = 0
        self._events: list[tuple[float, int, Callable[[float], None]]] = []
        self._order = itertools.count()
        self._desired = setting.min_replicas if setting.initial_replicas is None else setting.initial_replicas
        self._trajectory: list[Moment] = []
        self._decisions: list[ReplicaChange] = []
        self._missed: list[tuple[str, float]] = []
        self._totals = (0, 0, 0)
        """(arrived requests, their input tokens, their output tokens) counted so far."""

    def result(self) -> Result:
        trace, fleet = self._trace, self._fleet
        for _ in range(self._desired):
            fleet.become_ready(fleet.create(-self._setting.initial_start_seconds), 0.0)
        self._record_change(0.0)
        first = self._setting.first_decision_seconds
        self._schedule(self._policy.period_seconds if first is None else first, partial(self._decide, 0))
        for begins, ends in self._faults.scaler_outages:
            self._schedule(begins, self._stop_scaler)
            self._schedule(ends, self._restart_scaler)
        for when, whom in self._faults.failing:
            self._schedule(when, partial(self._fail, whom))
        for when, whom in self._faults.hanging:
            self._schedule(when, partial(self._hang, whom))
        horizon = trace.duration_seconds + DRAIN_SECONDS
        while self._events and self._events[0][0] <= horizon:
            when, _, action = heapq.heappop(self._events)
            fleet.arrive(when)
            if when > trace.duration_seconds and self._ledger.ended + self._ledger.failed == len(trace):
                break
            action(when)
            self._record_change(when)
        fleet.arrive(math.inf)
        fleet.settle(horizon)
        return self._result()

    def _schedule(self, when: float, action: Callable[[float], None]) -> None:
        heapq.heappush(self._events, (when, next(self._order), action))

    def _record_change(self, now: float) -> None:
        if self._trajectory and self._trajectory[-1].time_seconds == now:
            self._trajectory.pop()  # events at one time make one moment
        previous = self._trajectory[-1][1:] if self._trajectory else None
        if previous != (self._desired, self._fleet.ready):
            self._trajectory.append(Moment(now, self._desired, self._fleet.ready))

    # --- events -------------------------------------------------------------------------------------
    def _stop_scaler(self, now: float) -> None:
        del now
        self._scaler_ends += 1

    def _restart_scaler(self, now: float) -> None:
        previous = self._policy
        self._policy = (
            previous.restarted(now) if isinstance(previous, Restarts) else self._factory(self._setting)
        )
        self._schedule(now + self._policy.period_seconds, partial(self._decide, self._scaler_ends))

    def _decide(self, ends: int, now: float) -> None:
        if ends != self._scaler_ends:
            return
        fleet, setting = self._fleet, self._setting
        blind = any(begins <= now < ends for begins, ends in self._faults.metrics_outages)
        arrivals, prompts, answers = self._counted()
        view = PolicyView(
            now_seconds=now,
            replicas=self._desired,
            pods=fleet.observe(now, blind=blind),
            arrivals_total=arrivals,
            gateway_waiting=fleet.held,
            arrived_input_tokens=prompts,
            arrived_output_tokens=answers,
            arrived=Arrived(self._trace.input_tokens, self._trace.output_tokens, arrivals),
        )
        choice = self._policy.decide(view)
        desired = setting.bounded(choice.replicas)
        if desired != self._desired:
            self._decisions.append(ReplicaChange(now, self._desired, desired, choice.reason))
            self._desired = desired
        for _ in range(desired - len(fleet.pods)):
            self._start_pod(fleet.create(now), now)
        fleet.remove(len(fleet.pods) - desired, choice.victims, now)
        waited = self._faults.unanswered_seconds if blind else 0.0
        self._schedule(now + max(self._policy.period_seconds, waited), partial(self._decide, ends))

    def _start_pod(self, pod: SimulatedPod, now: float) -> None:
        known = self._faults.cold_start_seconds
        seconds = self._starts.choice(known) if known else self._setting.cold_start_seconds
        if self._faults.starts_in_order and self._started < len(known):
            seconds = known[self._started]
        self._started += 1

        def ready(when: float) -> None:
            if pod.deleted_seconds == math.inf:
                self._fleet.become_ready(pod, when)

        self._schedule(now + seconds, ready)

    def _fail(self, number: int | None, now: float) -> None:
        pod = self._serving(number)
        if pod is None:
            self._missed.append(("crash", now))
            return
        self._fleet.crash(pod, now)
        self._start_pod(pod, now)

    def _hang(self, number: int | None, now: float) -> None:
        pod = self._serving(number)
        if pod is None:
            self._missed.append(("hang", now))
            return
        pod.replica.hang(now)

        def restart(when: float) -> None:
            if pod.deleted_seconds == math.inf and pod.replica.hung:
                if self._faults.hang_resumes:
                    pod.replica.resume(when)
                    return
                self._fleet.crash(pod, when)
                self._start_pod(pod, when)

        self._schedule(now + self._faults.hang_seconds, restart)

    def _serving(self, number: int | None) -> SimulatedPod | None:
        """The ready pod with that number, or the oldest ready pod; hung pods excluded. None: no such pod."""
        found = (pod for pod in self._fleet.pods if number is None or pod.number == number)
        return next((pod for pod in found if pod.ready and not pod.replica.hung), None)

    def _counted(self) -> tuple[int, int, int]:
        counted, prompts, answers = self._totals
        for request in range(counted, self._fleet.arrived):
            prompts += self._trace.input_tokens[request]
            answers += self._trace.output_tokens[request]
        self._totals = (self._fleet.arrived, prompts, answers)
        return self._totals

    # --- result -------------------------------------------------------------------------------------
    def _result(self) -> Result:
        trace, ledger, fleet, setting = self._trace, self._ledger, self._fleet, self._setting
        duration = trace.duration_seconds
        ttft: list[float] = []
        whole: list[float] = []
        tpot: list[float] = []
        met = 0
        ttft_limit = math.inf if setting.slo_ttft_seconds is None else setting.slo_ttft_seconds
        tpot_limit = math.inf if setting.slo_tpot_seconds is None else setting.slo_tpot_seconds
        rows = zip(ledger.arrived, ledger.first, ledger.last, ledger.output_tokens, strict=True)
        for arrived, first, last, tokens in rows:
            if last == NOT_YET:
                continue
            ttft.append(first - arrived)
            whole.append(last - arrived)
            gap = 0.0
            if tokens > 1:
                gap = (last - first) / (tokens - 1)
                tpot.append(gap)
            met += first - arrived <= ttft_limit and gap <= tpot_limit
        seconds = (
            max(0.0, min(duration, pod.deleted_seconds) - min(duration, max(0.0, pod.created)))
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
            slo_attainment=met / len(trace) if len(trace) else 1.0,
            ttft_seconds=quantiles(ttft),
            ttft_p90_seconds=quantile(sorted(ttft), 0.9) if ttft else None,
            e2e_seconds=quantiles(whole),
            tpot_seconds=quantiles(tpot),
            preemptions=fleet.preemptions,
            trajectory=tuple(self._trajectory),
            decisions=tuple(self._decisions),
            missed=tuple(self._missed),
        )
