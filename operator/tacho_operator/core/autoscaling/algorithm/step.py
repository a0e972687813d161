"""One scaling decision: how many replicas, and why. The same arguments give the same decision.

    samples -> offered load, trend, KV cache -> need -> windows -> scaling policies -> bounds

``replicas`` includes those that still start, and the need is absolute: nothing is requested twice. Unknown is
never zero: without known load, replicas stay.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from tacho_operator.core.autoscaling.algorithm import attainment, behavior, demand, guards, limits, tuning
from tacho_operator.core.autoscaling.algorithm.behavior import whole
from tacho_operator.core.autoscaling.algorithm.bursts import ended, with_bursts
from tacho_operator.core.autoscaling.algorithm.demand import Reading
from tacho_operator.core.autoscaling.algorithm.messages import calculation, decided, figures_of, unknown
from tacho_operator.core.autoscaling.algorithm.need import ReplicaNeed, replica_need
from tacho_operator.core.autoscaling.algorithm.request_cost import RequestCost, cost_of
from tacho_operator.core.autoscaling.algorithm.types import (
    Burst,
    Figures,
    Interval,
    Outcome,
    ScalingInput,
    State,
    Step,
)


def step(at: ScalingInput, state: State, now: float) -> Step:
    """The scaling decision at ``now``, in seconds of the samples' clock, and the state for the next one."""
    state = guards.comparable(state, at, now)
    cold_start = demand.cold_start((pod.start_seconds for pod in at.pods), state.cold_start_seconds)
    state = replace(state, cold_start_seconds=cold_start, refused=limits.refused(at, state, now))
    cost = None if state.mix is None else cost_of(at.capacity, state.mix)
    at, read_at = guards.timed(at, state.tracks, now)
    reading = demand.read(state.tracks, at.pods, read_at, cost)
    previous, state = state, _with_load(state, reading, cost, read_at)
    found = replica_need(at, state, reading, cost)
    if not reading.tracks or not found.terms:
        return _step_without_load(at, guards.unwatched(state), reading, now)
    state = _corrected(at, previous, state, found, cost)
    if state.watched_since is not None and now - state.watched_since >= tuning.RATE_SECONDS:
        bursts, low = with_bursts(state.bursts, state.low, now, found.filled(-found.chance), found.filled())
        state = replace(state, bursts=bursts, low=low)
    earlier = ended(state.bursts, state.low, now, at.policy.burst_memory_seconds)
    # A pod without metrics may be full: it keeps its replica, and requests no other.
    lowest = found.need + reading.silent / found.target
    state = behavior.with_needs(at, state, found.need, lowest, now)
    at = guards.held_while_late(at, reading.late, len(reading.tracks))
    outcome = limits.bounded(at, state, _stabilized(at, state, found, earlier, now))
    figures = figures_of(at, reading, found, state.attainment)
    return _done(at, state, outcome, figures, calculation(at, outcome, found, reading), now)


def _with_load(state: State, reading: Reading, cost: RequestCost | None, now: float) -> State:
    """``state`` with new samples, and the load since the last: work done, plus its growth in the pods."""
    if not reading.tracks:
        return replace(state, tracks={})
    elapsed = 0.0 if state.read_seconds is None else now - state.read_seconds
    unbroken = state.watched_since is not None and elapsed <= tuning.MAX_AGE_SECONDS
    work = None if cost is None else demand.in_progress(reading.tracks, cost)
    mix, counted = state.mix, reading.counted
    offered = demand.kept(state.offered, state.cold_start_seconds, now) if cost else ()
    if cost and work is not None and counted and mix and elapsed > 0:
        mix = demand.mixed(mix, counted, elapsed)
        done = cost.of(counted.prompt_tokens, counted.output_tokens)
        growth = 0.0 if state.in_progress is None else work - state.in_progress
        offered = (Interval(now, elapsed, max(0.0, done + growth / elapsed)), *offered)
    return replace(
        state,
        tracks=reading.tracks,
        read_seconds=now,
        in_progress=work,
        mix=mix,
        speed=demand.speed(state.speed, reading, demand.minute(cost)),
        offered=offered,
        watched_since=state.watched_since if unbroken else now,
    )


def _corrected(
    at: ScalingInput,
    previous: State,
    state: State,
    found: ReplicaNeed,
    cost: RequestCost | None,
) -> State:
    """``state`` with the SLO attainment since the ``previous`` samples, and the capacity correction by it."""
    if previous.read_seconds is None or state.read_seconds is None:
        return state
    correction = state.correction
    seconds = max(0.0, state.read_seconds - previous.read_seconds)  # a clock may have been set back
    seen = attainment.counted(previous.tracks, state.tracks, at.policy, cost)
    tracks = state.tracks.values()
    recent = attainment.recent(state.attainment, seen.values(), tracks, at.policy, seconds)
    if not at.capacity.unverified:
        settled = whole(found.need) <= len(state.tracks)
        # A slow pod has a fault of its machine: its latencies say nothing about the capacity of the others.
        below = guards.slow(previous.tracks, demand.minute(cost), 1.0, pods=at.pods)
        judges = [item for uid, item in seen.items() if uid not in below]
        since = attainment.recent(correction.seen, judges, tracks, at.policy, seconds)
        correction = attainment.corrected(correction, since, at.policy, settled=settled, seconds=seconds)
    return replace(state, correction=correction, attainment=recent)


def _stabilized(
    at: ScalingInput, state: State, found: ReplicaNeed, earlier: Sequence[Burst], now: float
) -> Outcome:
    """Replicas after ``earlier`` bursts, stabilization windows and scaling policies."""
    have, highest, needed = at.replicas, state.downs[0].value, whole(found.need)
    recurring = max((item.load for item in earlier), default=0.0)
    by_bursts, highest = recurring > highest, max(highest, recurring)
    outcome = Outcome(replicas=have, needed=needed, cause="Steady", highest=highest, by_bursts=by_bursts)
    if needed > have and not behavior.tolerated(at.policy.up, found.need, have):
        return behavior.scaled_up(at, state, outcome, found.cause, now)
    return behavior.scaled_down(at, state, outcome, now) if needed < have else outcome


def _step_without_load(at: ScalingInput, state: State, reading: Reading, now: float) -> Step:
    """The step while the load is unknown: replicas stay, within the bounds."""
    figures = Figures(cold_start_seconds=state.cold_start_seconds, silent=len(at.pods))
    outcome = limits.bounded(at, state, guards.blind(at, reported=bool(reading.tracks)))
    return _done(at, state, outcome, figures, unknown(at, outcome), now)


def _done(
    at: ScalingInput, state: State, outcome: Outcome, figures: Figures, reason: str, now: float
) -> Step:
    changes = behavior.recorded(at.replicas, state, outcome, reason, now)
    return Step(decided(at, outcome, figures, reason), replace(state, changes=changes))
