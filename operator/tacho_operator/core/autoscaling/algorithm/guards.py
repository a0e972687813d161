"""Guards against missing and wrong data: which samples count, and what of the state is still comparable.

Unknown is never zero. A pod that does not answer, a counter that restarts, a clock that is set back, and
another measurement change no load.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import replace
from statistics import fmean, median

from tacho_operator.core.autoscaling.algorithm import tuning
from tacho_operator.core.autoscaling.algorithm.request_cost import RequestCost, measured_mix
from tacho_operator.core.autoscaling.algorithm.types import (
    Correction,
    Outcome,
    PodLoad,
    Sample,
    ScalingInput,
    State,
    Track,
)


def timed(at: ScalingInput, previous: Mapping[str, Track], now: float) -> tuple[ScalingInput, float]:
    """``at`` without samples after ``now``, in case a clock was set back, and the mean time of the new
    samples.

    One pod may answer seconds after the others. The mean time is that of the sum of their loads, and the age
    of a sample from an earlier sampling is counted from there. It is ``now`` where no sample is new.
    """
    pods = tuple(
        pod if pod.sample is None or pod.sample.time_seconds <= now else replace(pod, sample=None)
        for pod in at.pods
    )
    new = (pod.sample for pod in pods if pod.sample and is_new(pod.sample, previous.get(pod.uid)))
    # The track of a pod ends when its last sample is too old, and then that sample is not new again.
    ages = [age for sample in new if (age := now - sample.time_seconds) <= tuning.MAX_AGE_SECONDS]
    return replace(at, pods=pods), now - fmean(ages) if ages else now


def is_new(sample: Sample, before: Track | None) -> bool:
    """Whether the ``sample`` is of a later sampling than the one ``before``."""
    return before is None or sample.time_seconds > before.sample.time_seconds


def answered(pods: Collection[PodLoad], now: float) -> Iterator[tuple[str, Sample]]:
    """(uid, sample) of each pod whose load is known."""
    for pod in pods:
        sample = pod.sample
        if sample and sample.known and now - sample.time_seconds <= tuning.MAX_AGE_SECONDS:
            yield pod.uid, sample


def silent(pods: Collection[PodLoad], tracks: Mapping[str, Track], now: float) -> int:
    """Numbers of serving ``pods`` without metrics, and of those that hang (requests run, no token counts)."""
    since = [track.stalled_since for track in tracks.values() if track.stalled_since is not None]
    return len(pods) - len(tracks) + sum(now - time > tuning.MAX_AGE_SECONDS for time in since)


def late(previous: Mapping[str, Track], tracks: Mapping[str, Track], now: float) -> int:
    """Number of pods whose last sample is from an earlier sampling. One that answers slowly is not late."""
    old = (track.sample for uid, track in tracks.items() if not is_new(track.sample, previous.get(uid)))
    return sum(now - sample.time_seconds > tuning.LATE_SECONDS for sample in old)


def slow(
    tracks: Mapping[str, Track],
    tokens: float,
    share: float = tuning.SLOW,
    *,
    pods: Collection[PodLoad] = (),
) -> tuple[str, ...]:
    """Uids of the pods below ``share`` of the median speed of their revision, as another has another speed.

    Only pods with at least ``tokens`` expected output tokens are compared. ``pods``: their revisions.
    """
    revisions = {pod.uid: pod.revision for pod in pods}
    speeds = {uid: item.output / item.expected for uid, item in tracks.items() if item.expected >= tokens > 0}
    alike: dict[str, list[float]] = {}
    for uid, speed in speeds.items():
        alike.setdefault(revisions.get(uid, ""), []).append(speed)
    usual = {revision: median(found) for revision, found in alike.items() if len(found) >= tuning.MIN_PODS}
    least = {uid: share * usual.get(revisions.get(uid, ""), 0.0) for uid in speeds}
    return tuple(sorted(uid for uid, speed in speeds.items() if speed < least[uid]))


def rates(before: Sample, after: Sample, cost: RequestCost | None) -> tuple[float, ...]:
    """Requests, prompt tokens and answer tokens per second, between two samples of one pod. Empty: unknown,
    also where they claim more than MAX_POD_RATE replicas' work, as a counter has jumped.
    """
    seconds = after.time_seconds - before.time_seconds
    if seconds <= 0 or before.generated_tokens is None or after.generated_tokens is None:
        return ()
    names = ("first_tokens", "computed_prompt_tokens", "generated_tokens")
    found = tuple(grown(getattr(before, name), getattr(after, name)) / seconds for name in names)
    return () if cost and cost.of(found[1], found[2]) > tuning.MAX_POD_RATE else found


def stalled_since(before: Track, sample: Sample, tokens_per_second: float | None) -> float | None:
    """Since when the pod has had running requests without producing a token; None: it has not.

    ``tokens_per_second``: since the sample ``before``; None: unknown.
    """
    stalls = tokens_per_second == 0 and before.sample.running and sample.running
    return (before.stalled_since or before.sample.time_seconds) if stalls else None


def grown(before: float | None, after: float | None) -> float:
    """Increase of a counter between two samples; a counter that fell has restarted from 0. 0 where one is
    unknown."""
    if before is None or after is None:
        return 0.0
    return after - before if after >= before else after


def continued(before: Sample, after: Sample) -> Sample:
    """``after``, with no fewer computed prompt tokens than ``before`` while the engine has not restarted.

    vLLM counts what its cache provides when a prompt begins, and the prompt when its first token is there.
    Meanwhile the difference falls, and all tokens since the engine's start would count anew.
    """
    counters = (
        (getattr(one, name) for one in (before, after)) for name in ("generated_tokens", "first_tokens")
    )
    restarted = any(was is not None and now is not None and now < was for was, now in counters)
    was, now = before.computed_prompt_tokens, after.computed_prompt_tokens
    falls = was is not None and now is not None and now < was
    return replace(after, computed_prompt_tokens=was) if falls and not restarted else after


def held_while_late(at: ScalingInput, late_pods: int, pods: int) -> ScalingInput:
    """``at``, in which no replica is removed while some of the ``pods`` have no new load metrics.

    A pod's last load leaves with the pod, and would be taken for load that ended.
    """
    if not late_pods or at.held:
        return at
    return replace(at, held=f"{late_pods} of {pods} pods have no new load metrics")


def blind(at: ScalingInput, *, reported: bool) -> Outcome:
    """The outcome while the load is unknown: replicas stay. ``reported``: whether any pod reports it."""
    why = f"none of {len(at.pods)} serving pods reports load metrics"
    if reported:
        why = "neither the capacity nor the concurrency of a replica is known"
    return Outcome(replicas=at.replicas, needed=at.replicas, cause="Unknown", blind=why)


def unread(state: State) -> State:
    """``state`` without samples, after sampling has stopped: old counters must not be compared with later
    ones."""
    return replace(unwatched(state), tracks={}, read_seconds=None, in_progress=None, offered=())


def unwatched(state: State) -> State:
    """``state`` in which the scale-down window begins anew, as the load was not known throughout."""
    return replace(state, watched_since=None, ups=(), downs=())


def comparable(state: State, at: ScalingInput, now: float) -> State:
    """``state`` in the units of the present measurement, and without times after ``now``."""
    return _in_present_units(_not_ahead(state, now), at)


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
    present = replace(unwatched(present), fingerprint=at.capacity.fingerprint, tracks=tracks, speed=1.0)
    return replace(present, in_progress=None, offered=(), correction=Correction(), bursts=(), low=None)
