"""One look at the loads: how many replicas, and why. The same arguments give the same decision.

    loads ─► demand (work, requests, KV cache) ─► need, with headroom and trend
          ─► held over a window ─► paced ─► between the bounds ─► replicas

``replicas`` counts those that still start: the need is absolute, so nothing is asked for twice. Unknown is
never zero: without loads, replicas stay as they are.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

from tacho_operator.core.autoscaling.algorithm import again, behavior
from tacho_operator.core.autoscaling.algorithm.coldstart import cold_start_seconds, with_starts
from tacho_operator.core.autoscaling.algorithm.demand import Reading, read
from tacho_operator.core.autoscaling.algorithm.figures import figures_of
from tacho_operator.core.autoscaling.algorithm.heard import SLOW_SECONDS, Over, heard
from tacho_operator.core.autoscaling.algorithm.leap import leap_of, prompt_work, proven_work, sure_work
from tacho_operator.core.autoscaling.algorithm.learning import Seen, learn
from tacho_operator.core.autoscaling.algorithm.need import (
    DOWN,
    KV_DOWN,
    KV_UP,
    UP,
    Need,
    ServiceLoad,
    backlog_of,
    load_of,
    need_of,
    whole,
)
from tacho_operator.core.autoscaling.algorithm.trend import looked_back_seconds, rise
from tacho_operator.core.autoscaling.algorithm.types import (
    Change,
    Decision,
    Figures,
    Learned,
    Outcome,
    Point,
    ReplicaCapacity,
    Standing,
    State,
    Track,
)
from tacho_operator.core.autoscaling.algorithm.words import arithmetic, judged

CHANGES_KEPT = 5
"""For people; and all within the longest period that a pace can have:"""
LONGEST_PERIOD_SECONDS = behavior.REGRET_SECONDS
SETTLED_SECONDS = 1.0
"""Work that waits for each replica where nothing is left of an overload."""
WORKED_OFF = "pending requests are served first"
ASK_AGAIN_SECONDS = 600.0
"""After a refusal by quota or admission."""


@dataclass(frozen=True, slots=True)
class Step:
    """A decision, and what to remember until the next."""

    decision: Decision
    state: State


def step(at: Standing, state: State, now: float) -> Step:
    """The next decision at ``now`` (seconds of the clock that times the samples, too)."""
    state = _not_ahead(state, now)
    state = dataclasses.replace(
        _in_units_of(state, at.capacity),
        starts=with_starts(state.starts, at.pods),
        refused=_refused(at, state, now),
    )
    cold = cold_start_seconds(state.starts, state.cold_start_seconds)
    window = behavior.down_window(at.policy.down, cold, again.regretted(state, at.capacity, now), now)
    elapsed = 0.0 if state.read_seconds is None else max(0.0, now - state.read_seconds)
    reading = read(state.tracks, at.pods, at.capacity, now, elapsed)
    state = dataclasses.replace(state, tracks=reading.tracks)
    if not reading.tracks:
        return _blind(at, _unwatched(state), cold, now)
    over = Over(slow=min(SLOW_SECONDS, 0.6 * window), trend=looked_back_seconds(cold))
    state = heard(state, reading, at.capacity, over, now)
    sure = sure_work(state.lately, at.capacity)
    leapt = None if state.fast is None else _most(state.fast, sure)
    state = again.with_leap(state, leapt, sure, now)
    work = None if at.capacity.unverified else _work(state)
    load = load_of(
        reading,
        at.capacity,
        work=None if work is None else _most(work, sure),
        rise=rise(state.recent),
        cold_start_seconds=cold,
        ttft_seconds=at.policy.ttft_seconds,
    )
    figures = figures_of(at, reading, load, state.learned.factor, cold)
    # What is to be waited for, a person said: nothing is smoothed besides. What it brings stays a window.
    prompt = None
    if at.policy.up.window_seconds is not None:
        prompt = prompt_work(state.prompt, state.lately, at.capacity)
    upwards = dataclasses.replace(load, silent=0, work=_with(load.work, prompt))
    before = need_of(upwards, at.capacity, at.capacity.trust * state.learned.factor, full=UP, kv_full=KV_UP)
    seen = _seen(reading, load, figures, before, elapsed)
    learned = learn(state.learned, at.capacity, at.policy, seen, now)
    trusted = at.capacity.trust * learned.factor
    up = need_of(upwards, at.capacity, trusted, full=UP, kv_full=KV_UP)
    # The window remembers the highest: what is smoothed over long would be remembered twice.
    recent = None if load.work is None else _most(state.fast, sure)
    lately = dataclasses.replace(load, work=_with(recent, prompt))
    down = need_of(lately, at.capacity, trusted, full=DOWN, kv_full=KV_DOWN)
    # What waited is no need any more once it has been worked off.
    settled = dataclasses.replace(lately, backlog=0.0)
    lasting = need_of(settled, at.capacity, trusted, full=DOWN, kv_full=KV_DOWN)
    figures = dataclasses.replace(
        figures, need=whole(up.amount) if up.known else None, learned=learned.factor
    )
    state = dataclasses.replace(
        state,
        learned=learned,
        ups=behavior.with_low(state.ups, Point(now, up.amount), behavior.up_window(at.policy.up)),
        downs=behavior.with_high(state.downs, Point(now, lasting.amount), window),
    )
    if not up.known:
        return _blind(at, _unwatched(state), cold, now)
    # What waits longer than it may, or is thrown out for lack of room, is not waited upon.
    carried = max(1, len(reading.tracks)) * trusted
    urgent = reading.preempting or load.backlog / carried > load.urgent_seconds
    # A rate takes two readings: until then requests at once are all there is, and full pods say little.
    warming = load.work is None and reading.counting and not at.capacity.unverified
    leap = proven = 0.0
    if elapsed and at.policy.up.window_seconds is None:  # a window that a person set is kept to
        leap = leap_of(reading, at.capacity, work=sure, counted=work is not None, trusted=trusted)
        if work is not None:
            twice = proven_work(state.lately, at.capacity)
            proven = leap_of(reading, at.capacity, work=twice, counted=True, trusted=trusted)
    # Who came for what waits is kept until it has been worked off.
    waits = backlog_of(reading, at.capacity, stuck=False)
    needs = _Needs(
        up=up,
        leap=leap,
        proven=proven,
        down=max(down.amount, state.downs[0].value),
        kept=0 if waits <= SETTLED_SECONDS * len(reading.tracks) else at.replicas,
        again=again.need_again(state, at.policy.down, at.capacity, trusted),
    )
    if reading.late:
        # What a pod told earlier goes with the pod, and would be taken for load that is gone.
        at = dataclasses.replace(at, held=at.held or _late(reading))
    outcome = _wanted(at, state, needs, window, urgent=urgent, warming=warming, now=now)
    said = dataclasses.replace(upwards, silent=load.silent)
    sentence = arithmetic(at, outcome, load=said, up=up, trusted=trusted, cold_start_seconds=cold)
    return _done(at, state, outcome, figures, sentence, now)


def _late(reading: Reading) -> str:
    return f"{reading.late} of {len(reading.tracks)} pods have no new load metrics"


def _seen(reading: Reading, load: ServiceLoad, figures: Figures, up: Need, elapsed: float) -> Seen:
    serving = len(reading.tracks)
    return Seen(
        utilization=figures.utilization,
        ttft_seconds=reading.ttft_seconds,
        tpot_seconds=reading.tpot_seconds,
        running=reading.running,
        elapsed_seconds=elapsed,
        settled=whole(up.amount) <= serving and load.backlog <= SETTLED_SECONDS * serving,
    )


def _not_ahead(state: State, now: float) -> State:
    """Without what a clock that was set back since has dated in the future: it would count until then."""
    changes = tuple(
        dataclasses.replace(item, time_seconds=min(item.time_seconds, now)) for item in state.changes
    )
    state = dataclasses.replace(state, changes=changes)
    if state.read_seconds is None or state.read_seconds <= now:
        return state
    return dataclasses.replace(
        _unwatched(state),
        tracks={},
        read_seconds=None,
        backlog=None,
        prompt=None,
        recent=(),
        lately=(),
        leaps=(),
        refused=None,
        learned=dataclasses.replace(state.learned, evidence_since=None),
    )


def unread(state: State) -> State:
    """Without what readings told, for they stopped: what is counted until the next one would otherwise be
    taken for the load of then."""
    return dataclasses.replace(
        _unwatched(state),
        tracks={},
        read_seconds=None,
        fast=None,
        slow=None,
        prompt=None,
        recent=(),
        lately=(),
        backlog=None,
        learned=dataclasses.replace(state.learned, evidence_since=None, tpot_seconds=None),
    )


def _in_units_of(state: State, capacity: ReplicaCapacity) -> State:
    """Without what was counted in replicas of another kind."""
    if capacity.unverified:
        # For a while nothing is counted in replicas; what was learned of the last measurement may come back.
        return dataclasses.replace(
            state, fast=None, slow=None, prompt=None, recent=(), lately=(), leaps=(), backlog=None
        )
    if state.learned.fingerprint == capacity.fingerprint:
        return state
    return dataclasses.replace(
        _unwatched(state),
        tracks={uid: Track(track.sample) for uid, track in state.tracks.items()},
        fast=None,
        slow=None,
        prompt=None,
        recent=(),
        lately=(),
        leaps=(),
        backlog=None,
        learned=Learned(fingerprint=capacity.fingerprint),
    )


def _unwatched(state: State) -> State:
    """What was needed is not known any more: a whole window must be seen again."""
    return dataclasses.replace(state, watched_since=None, ups=(), downs=())


def _refused(at: Standing, state: State, now: float) -> Point | None:
    """How many the cluster lets start: as many as it did, until it is asked again after a while."""
    if at.refused_above is not None:
        return Point(now, at.refused_above)
    former = state.refused
    return former if former and now - former.time_seconds < ASK_AGAIN_SECONDS else None


def _work(state: State) -> float | None:
    return None if state.fast is None or state.slow is None else max(state.fast, state.slow)


def _with(work: float | None, prompt: float | None) -> float | None:
    """``prompt``, where it is more; work that is not known stays so."""
    return None if work is None else _most(work, prompt)


def _most(work: float | None, sure: float | None) -> float:
    return max(work or 0.0, sure or 0.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Needs:
    """Replicas, not rounded."""

    up: Need
    leap: float
    """That one look proves by itself."""
    proven: float
    """That two in a row prove: at no pace."""
    down: float
    """Now and in the window, with the headroom for shrinking."""
    kept: int
    """Until what waits has been worked off."""
    again: float
    """For what may come again."""


def _wanted(
    at: Standing,
    state: State,
    needs: _Needs,
    window: float,
    *,
    urgent: bool,
    warming: bool,
    now: float,
) -> Outcome:
    """Replicas by the need over time, then by pace and bounds."""
    rules, have, up = at.policy, at.replicas, needs.up
    seen = 0.0 if state.watched_since is None else now - state.watched_since
    asked = whole(up.amount)
    outcome = Outcome(replicas=have, asked=asked, cause="Steady")
    if asked > have and not behavior.tolerated(rules.up, up.amount, have):
        lasting = state.ups[0].value if seen >= behavior.up_window(rules.up) else 0.0
        held = asked if urgent else min(asked, whole(max(lasting, needs.leap)))
        if warming or held <= have:
            outcome = dataclasses.replace(outcome, able="ScaleUpStabilized")
        else:
            limit = behavior.most(rules.up, have, state.changes, now)
            if not rules.up.paces and rules.up.select != "Disabled":
                limit = max(limit, whole(needs.proven))
            paced = min(held, limit)
            outcome = Outcome(
                replicas=paced, asked=asked, cause=up.cause, limited="ScaleUpLimit" if held > limit else ""
            )
    needed = max(needs.down, needs.again, needs.kept)
    kept = whole(needed)
    if asked <= have and kept < have and not behavior.tolerated(rules.down, needed, have):
        if seen < window or at.held:
            outcome = dataclasses.replace(outcome, able="ScaleDownStabilized", held=at.held, window=window)
        else:
            # The rest must carry the load with the headroom for growing, or it would grow again at once.
            limit = max(behavior.least(rules.down, have, state.changes, now, window), asked)
            paced = max(kept, limit)
            outcome = Outcome(
                replicas=paced,
                asked=asked,
                cause="LowDemand" if paced < have else "Steady",
                limited="ScaleDownLimit" if kept < paced else "",
                window=window,
            )
    elif asked <= have and asked < have:
        said = WORKED_OFF if needs.kept >= have else again.SAID
        why = said if whole(needs.down) < have <= kept else ""
        outcome = dataclasses.replace(outcome, able="ScaleDownStabilized", held=why, window=window)
    return _bounded(at, state, outcome)


def _bounded(at: Standing, state: State, outcome: Outcome) -> Outcome:
    """Between the bounds, and no more than the cluster lets start."""
    bounds = at.policy.bounds
    if outcome.replicas < bounds.least:
        return dataclasses.replace(outcome, replicas=bounds.least, cause="Bounds", limited="TooFewReplicas")
    if outcome.replicas > bounds.most:
        bounded = dataclasses.replace(outcome, replicas=bounds.most, limited="TooManyReplicas")
        return dataclasses.replace(bounded, cause="Bounds") if bounds.most < at.replicas else bounded
    if state.refused is not None:
        quota = max(int(state.refused.value), bounds.least)
        if outcome.replicas > quota:
            cause = outcome.cause if quota >= at.replicas else "Quota"
            return dataclasses.replace(outcome, replicas=quota, cause=cause, limited="QuotaExceeded")
    if outcome.asked > bounds.most:
        return dataclasses.replace(outcome, limited="TooManyReplicas")
    return outcome


def _blind(at: Standing, state: State, cold: float, now: float) -> Step:
    """Nothing is known of the load: replicas stay, but for the bounds."""
    figures = Figures(cold_start_seconds=cold, learned=state.learned.factor, silent=len(at.pods))
    blind = Outcome(replicas=at.replicas, asked=at.replicas, cause="Unknown", blind=True)
    outcome = _bounded(at, state, blind)
    said = "no pod serves yet" if not at.pods else f"none of {len(at.pods)} serving pods reports load metrics"
    sentence = f"Held at {outcome.replicas}: {said}."
    return _done(at, state, outcome, figures, sentence, now)


def _done(at: Standing, state: State, outcome: Outcome, figures: Figures, sentence: str, now: float) -> Step:
    changes = state.changes
    if outcome.replicas != at.replicas:
        change = Change(
            time_seconds=now,
            before=at.replicas,
            after=outcome.replicas,
            sentence=sentence,
            cause=outcome.cause,
        )
        young = sum(now - item.time_seconds < LONGEST_PERIOD_SECONDS for item in changes)
        changes = (change, *changes[: max(young, CHANGES_KEPT - 1)])
    active, able, limited = judged(at, outcome, figures)
    decision = Decision(
        replicas=outcome.replicas,
        cause=outcome.cause,
        sentence=sentence,
        figures=figures,
        active=active,
        able=able,
        limited=limited,
    )
    return Step(decision, dataclasses.replace(state, changes=changes))
