"""One scaling decision: how many replicas, and why. The same arguments give the same decision.

    samples -> offered load, trend, KV cache -> need -> windows -> scaling policies -> bounds

``replicas`` includes those that still start, and the need is absolute: nothing is requested twice. Unknown is
never zero: without known load, replicas stay.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from tacho_operator.core.autoscaling.algorithm import attainment, behavior, demand, tuning
from tacho_operator.core.autoscaling.algorithm.bursts import ended, soon_over, with_bursts
from tacho_operator.core.autoscaling.algorithm.demand import Reading
from tacho_operator.core.autoscaling.algorithm.messages import calculation, decided, figures_of, unknown
from tacho_operator.core.autoscaling.algorithm.need import ReplicaNeed, replica_need, whole
from tacho_operator.core.autoscaling.algorithm.request_cost import RequestCost, cost_of, measured_mix
from tacho_operator.core.autoscaling.algorithm.types import (
    Burst,
    Change,
    Correction,
    Decision,
    Figures,
    Interval,
    Outcome,
    Point,
    ScalingInput,
    State,
    Track,
)

CHANGES_KEPT = 10
"""Most replica changes in status. ``State`` keeps those of the longest period of a scaling policy."""


@dataclass(frozen=True, slots=True)
class Step:
    """A scaling decision, and the state that the next decision starts from."""

    decision: Decision
    state: State


def step(at: ScalingInput, state: State, now: float) -> Step:
    """The scaling decision at ``now``, in seconds of the samples' clock, and the state for the next one."""
    state = _in_present_units(_not_ahead(state, now), at)
    cold_start = demand.cold_start((pod.start_seconds for pod in at.pods), state.cold_start_seconds)
    state = replace(state, cold_start_seconds=cold_start, refused=_refused(at, state, now))
    cost = None if state.mix is None else cost_of(at.capacity, state.mix)
    reading = demand.read(state.tracks, at.pods, now, cost)
    former, state = state, _with_load(state, reading, cost, now)
    found = replica_need(at, state, reading, cost)
    if not reading.tracks or not found.terms:
        return _blind(at, _unwatched(state), reading, now)
    state = _corrected(at, former, state, reading, found, cost)
    # A pod without metrics may be full: it keeps its replica, and requests no other.
    lowest = found.need + reading.silent / found.target
    if state.watched_since is not None and now - state.watched_since >= tuning.RATE_SECONDS:
        bursts, low = with_bursts(state.bursts, state.low, now, found.filled(-found.chance), found.filled())
        state = replace(state, bursts=bursts, low=low)
    up, down = at.policy.up.window_seconds, at.policy.down.window_seconds
    ups = behavior.with_low(state.ups, Point(now, found.need), up)
    state = replace(state, ups=ups, downs=behavior.with_high(state.downs, Point(now, lowest), down))
    if reading.late and not at.held:
        # A pod's last load leaves with the pod, and would be taken for load that ended.
        at = replace(at, held=f"{reading.late} of {len(reading.tracks)} pods have no new load metrics")
    outcome = _bounded(at, state, _stabilized(at, state, found, now))
    figures = figures_of(at, reading, found, state.attainment)
    return _done(at, state, outcome, figures, calculation(at, outcome, found, reading), now)


def unread(state: State) -> State:
    """``state`` without samples, after sampling has stopped: old counters must not be compared with later
    ones."""
    return replace(_unwatched(state), tracks={}, read_seconds=None, in_progress=None, offered=())


def _unwatched(state: State) -> State:
    """``state`` in which the scale-down window begins anew, as the load was not known throughout."""
    return replace(state, watched_since=None, ups=(), downs=())


def _not_ahead(state: State, now: float) -> State:
    """``state`` with no time after ``now``, in case a clock was set back."""
    past = tuple(item for item in state.changes if item.time_seconds <= now)
    ahead = state.read_seconds is not None and state.read_seconds > now
    return replace(unread(state) if ahead else state, changes=past)


def _in_present_units(state: State, at: ScalingInput) -> State:
    """``state`` without load, speed and bursts if these are in units of another measurement."""
    present = replace(state, mix=state.mix or measured_mix(at.capacity, tuning.MIX_REQUESTS))
    if at.capacity.unverified or at.capacity.fingerprint == state.fingerprint:
        return present
    tracks = {uid: Track(track.sample, track.stalled_since) for uid, track in state.tracks.items()}
    present = replace(_unwatched(present), fingerprint=at.capacity.fingerprint, tracks=tracks, speed=1.0)
    return replace(present, in_progress=None, offered=(), correction=Correction(), bursts=(), low=None)


def _refused(at: ScalingInput, state: State, now: float) -> Point | None:
    """The number of replicas that quota or admission allows, until the next try; None: no limit.

    A number below the minimum counts only from the second refusal on, so that a short failure of a webhook
    costs no replicas.
    """
    former = state.refused
    if at.refused_above is not None:
        return Point(now, at.refused_above if former else max(at.refused_above, at.policy.bounds.least))
    return former if former and 0 <= now - former.time_seconds < tuning.RETRY_SECONDS else None


def _with_load(state: State, reading: Reading, cost: RequestCost | None, now: float) -> State:
    """``state`` with the new samples, and the load since the last ones: work done, plus growth of the work in
    the pods.
    """
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
    former: State,
    state: State,
    reading: Reading,
    found: ReplicaNeed,
    cost: RequestCost | None,
) -> State:
    """``state`` with the SLO attainment since the ``former`` samples, and the capacity correction by it."""
    if former.read_seconds is None or state.read_seconds is None:
        return state
    seconds, correction = state.read_seconds - former.read_seconds, state.correction
    seen = attainment.counted(former.tracks, state.tracks, at.policy, cost)
    tracks = state.tracks.values()
    recent = attainment.recent(state.attainment, seen.values(), tracks, at.policy, seconds)
    if not at.capacity.unverified:
        settled = whole(found.need) <= len(state.tracks)
        # A slow pod has a fault of its machine: its latencies say nothing about the capacity of the others.
        below = demand.slow(former.tracks, demand.minute(cost), 1.0)
        judges = [item for uid, item in seen.items() if uid not in below]
        since = attainment.recent(correction.seen, judges, tracks, at.policy, seconds)
        correction = attainment.corrected(correction, since, at.policy, settled=settled, seconds=seconds)
    imbalance = demand.imbalance(state.imbalance, reading, seconds)
    return replace(state, correction=correction, attainment=recent, imbalance=imbalance)


def _worthwhile(state: State, found: ReplicaNeed, earlier: Sequence[Burst]) -> int:
    """The most replicas that are useful: during a burst like ``earlier`` ones, the number that those filled;
    else the need.
    """
    most = whole(max((item.load for item in earlier), default=0.0))
    like = state.low is None and found.cause == "Work" and whole(found.filled(-found.chance)) <= most
    over = like and bool(earlier) and soon_over(state.bursts[0], earlier, state.cold_start_seconds)
    return most if over else whole(found.need)


def _stabilized(at: ScalingInput, state: State, found: ReplicaNeed, now: float) -> Outcome:
    """Replicas after stabilization windows and scaling policies."""
    up, down, have = at.policy.up, at.policy.down, at.replicas
    watched = 0.0 if state.watched_since is None else now - state.watched_since
    earlier, needed = ended(state.bursts, state.low, now, down.window_seconds), whole(found.need)
    recurring = max((item.load for item in earlier), default=0.0)
    by_bursts, highest = recurring > state.downs[0].value, max(state.downs[0].value, recurring)
    outcome = Outcome(replicas=have, needed=needed, cause="Steady", highest=highest, by_bursts=by_bursts)
    if needed > have and not behavior.tolerated(up, found.need, have):
        worth = _worthwhile(state, found, earlier)
        if worth <= have:
            why = "a new replica would start too late for this burst"
            return replace(outcome, able="ScaleUpStabilized", held=why)
        # The first sample after a gap shows no rate yet: full pods alone are no reason for more.
        steady = whole(state.ups[0].value) if watched and watched >= up.window_seconds else have
        if steady <= have:
            return replace(outcome, able="ScaleUpStabilized")
        if steady < needed:
            outcome = replace(outcome, lowest=state.ups[0].value)
        most = min(steady, worth)
        allowed = min(most, behavior.limit(up, have, state.changes, now, upwards=True))
        limited = "ScaleUpLimit" if allowed < most else ""
        return replace(outcome, replicas=allowed, cause=found.cause, limited=limited)
    if needed < have:
        steady = whole(highest)
        if at.held or steady >= have or watched < down.window_seconds:
            return replace(outcome, able="ScaleDownStabilized", held=at.held)
        if behavior.tolerated(down, highest, have):
            return outcome
        allowed = max(steady, behavior.limit(down, have, state.changes, now, upwards=False))
        limited = "ScaleDownLimit" if allowed > steady else ""
        cause = "LowDemand" if allowed < have else "Steady"
        return replace(outcome, replicas=allowed, cause=cause, limited=limited)
    return outcome


def _bounded(at: ScalingInput, state: State, outcome: Outcome) -> Outcome:
    """``outcome`` limited to the bounds, and to the replicas that the cluster accepts."""
    bounds = at.policy.bounds
    if outcome.replicas < bounds.least:
        outcome = replace(outcome, replicas=bounds.least, cause="Bounds", limited="TooFewReplicas")
    limits = [(bounds.most, "TooManyReplicas", "Bounds")]
    if state.refused is not None:
        limits.append((int(state.refused.value), "QuotaExceeded", "Quota"))
    most, limited, cause = min(limits, key=lambda limit: limit[0])
    if outcome.replicas > most:
        cause = cause if most < at.replicas else outcome.cause
        return replace(outcome, replicas=most, limited=limited, cause=cause)
    if outcome.needed > bounds.most and outcome.limited != "TooFewReplicas":
        return replace(outcome, limited="TooManyReplicas")
    return outcome


def _blind(at: ScalingInput, state: State, reading: Reading, now: float) -> Step:
    """The step while the load is unknown: replicas stay, within the bounds."""
    why = f"none of {len(at.pods)} serving pods reports load metrics"
    if reading.tracks:
        why = "neither the capacity nor the concurrency of a replica is known"
    figures = Figures(cold_start_seconds=state.cold_start_seconds, silent=len(at.pods))
    blind = Outcome(replicas=at.replicas, needed=at.replicas, cause="Unknown", blind=why)
    outcome = _bounded(at, state, blind)
    return _done(at, state, outcome, figures, unknown(at, outcome), now)


def _done(
    at: ScalingInput, state: State, outcome: Outcome, figures: Figures, reason: str, now: float
) -> Step:
    changes = state.changes
    if outcome.replicas != at.replicas:
        change = Change(
            time_seconds=now, before=at.replicas, after=outcome.replicas, reason=reason, cause=outcome.cause
        )
        young = sum(now - item.time_seconds < tuning.MEMORY_SECONDS for item in changes)
        changes = (change, *changes[: max(young, CHANGES_KEPT - 1)])
    return Step(decided(at, outcome, figures, reason), replace(state, changes=changes))
