"""How much work arrives, from what pods counted: served work and what piles up, smoothed."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from tacho_operator.core.autoscaling.algorithm.types import PodLoad, ReplicaCapacity, Sample, Track

STALE_SECONDS = 35.0
"""A reading that is older says nothing of now: three looks, and a little."""

LATE_SECONDS = 1.0
"""A reading that is older is not of this look: the pod did not answer."""

MOST_RATE = 3.0
"""Of one pod. What claims more is a counter that jumped, and would be told for an hour; a pod that does do
more than three times what was measured asks for more replicas in any case."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """The loads of one moment, all pods together."""

    tracks: Mapping[str, Track]
    """Of the pods that tell their load."""
    silent: int
    """Pods that serve and do not, or hang: they run requests and have counted no token for long."""
    late: int
    """Pods that are known by what they told at an earlier look."""
    served: float | None
    """Work that is done in a second; None: nothing counts tokens, or nothing has been read twice."""
    running: int | None
    waiting: int
    counting: bool
    """Some pod counts tokens."""
    crowded: float
    """Running requests beyond those at the same time that were measured."""
    stuck: float
    """Waiting and crowded requests of hung pods, which make no progress."""
    begun: float
    """Work of the whole answers of requests that run and did not at the last look, in seconds of one replica,
    crowded ones left out. Less than 0: fewer run."""
    kv_tokens: float | None
    """Tokens in the KV caches."""
    preempting: bool
    """Requests are thrown out of the KV cache."""
    ttft_seconds: float | None
    """Mean time to the first token since the last sample; None: no first token since, or no pod counts it."""
    tpot_seconds: float | None
    """Mean time of a token after the first since then: what the pods' requests took beyond their first
    tokens, over the tokens they got. It is told by how many there were at both looks, so that of few it may
    be 0 or less, as often as it is too large."""


def read(
    former: Mapping[str, Track],
    pods: Iterable[PodLoad],
    capacity: ReplicaCapacity,
    now: float,
    elapsed_seconds: float = 0.0,
) -> Reading:
    """The demand that the pods' samples show, compared with the former samples.

    ``elapsed_seconds``: time since the former samples. The work of a pod that is sampled for the first time
    counts from its start, but at most as the mean of the other pods: the time of its start is unknown.
    """
    pods = sorted(pods, key=lambda item: item.uid)
    tracks: dict[str, Track] = {}
    silent = 0
    preempting = False
    begun = stuck = 0.0
    new: list[Sample] = []
    ttft_sum = ttft_count = tokens = busy_seconds = 0.0
    for pod in pods:
        sample = pod.sample
        if sample is None or not sample.known or not 0 <= now - sample.time_seconds <= STALE_SECONDS:
            silent += 1
            continue
        before = former.get(pod.uid)
        track = tracks[pod.uid] = _track(before, sample, capacity)
        if track.stalled_since is not None and now - track.stalled_since > STALE_SECONDS:
            silent += 1
            stuck += (sample.waiting or 0) + _crowded(sample, capacity)
        if before is None:
            new.append(sample)
        else:
            if before.sample.running is not None and sample.running is not None:
                begun += _placed(sample, capacity) - _placed(before.sample, capacity)
            preempting |= _grown(before.sample.preemptions, sample.preemptions) > 0
            waited = _grown(before.sample.first_token_seconds, sample.first_token_seconds)
            firsts = _grown(before.sample.first_tokens, sample.first_tokens)
            ttft_sum += waited
            ttft_count += firsts
            elapsed = sample.time_seconds - before.sample.time_seconds
            if before.sample.running is not None and sample.running is not None and elapsed > 0:
                # A request is there while it waits for its first token, too, which is none of those after it.
                tokens += _grown(before.sample.generated_tokens, sample.generated_tokens) - firsts
                busy_seconds += elapsed * (_held(before.sample) + _held(sample)) / 2 - waited
    # What would have come to a pod that has gone begins at the others, and is no more work than before.
    gone = former.keys() - {pod.uid for pod in pods}
    begun -= min(max(0.0, begun), math.fsum(_placed(former[uid].sample, capacity) for uid in sorted(gone)))
    samples = [track.sample for track in tracks.values()]
    rates = [track.rate for track in tracks.values() if track.rate is not None]
    if rates and elapsed_seconds:
        usual = math.fsum(rates) / len(rates)
        rates += [min(usual, _since_nothing(sample, capacity) / elapsed_seconds) for sample in new]
        # What ends elsewhere and begins at a new pod is no less work than before.
        begun += min(max(0.0, -begun), math.fsum(_placed(sample, capacity) for sample in new))
    counted = [item.running for item in samples if item.running is not None]
    used = [item.kv_cache_usage for item in samples if item.kv_cache_usage is not None]
    size = capacity.kv_cache_tokens
    answer = work_of(capacity, prompt_tokens=0.0, output_tokens=capacity.output_tokens) or 0.0
    return Reading(
        tracks=tracks,
        silent=silent,
        late=sum(now - item.time_seconds > LATE_SECONDS for item in samples),
        served=math.fsum(rates) if rates else None,
        running=sum(counted) if counted else None,
        counting=any(item.generated_tokens is not None for item in samples),
        crowded=math.fsum(_crowded(item, capacity) for item in samples),
        waiting=sum(item.waiting or 0 for item in samples),
        stuck=stuck,
        begun=begun * answer,
        kv_tokens=math.fsum(used) * size if used and size else None,
        preempting=preempting,
        ttft_seconds=ttft_sum / ttft_count if ttft_count > 0 else None,
        tpot_seconds=busy_seconds / tokens if tokens > 0 else None,
    )


def _held(sample: Sample) -> int:
    """Requests."""
    return (sample.running or 0) + (sample.waiting or 0)


def _placed(sample: Sample, capacity: ReplicaCapacity) -> float:
    """Running requests, no more than were measured at the same time."""
    return (sample.running or 0) - _crowded(sample, capacity)


def _crowded(sample: Sample, capacity: ReplicaCapacity) -> float:
    slots = capacity.concurrency
    return max(0.0, (sample.running or 0) - slots) if slots else 0.0


def _track(before: Track | None, sample: Sample, capacity: ReplicaCapacity) -> Track:
    if before is None:
        return Track(sample)
    elapsed = sample.time_seconds - before.sample.time_seconds
    if elapsed <= 0:
        return before
    if before.sample.generated_tokens is None or sample.generated_tokens is None:
        return Track(sample)
    work = work_of(
        capacity,
        prompt_tokens=_grown(before.sample.computed_prompt_tokens, sample.computed_prompt_tokens),
        output_tokens=_grown(before.sample.generated_tokens, sample.generated_tokens),
    )
    stalled = before.stalled_since or before.sample.time_seconds
    still = (
        sample.generated_tokens == before.sample.generated_tokens and sample.running and before.sample.running
    )
    return Track(sample, None if work is None else min(MOST_RATE, work / elapsed), stalled if still else None)


def _since_nothing(sample: Sample, capacity: ReplicaCapacity) -> float:
    """Work of all that a pod ever did, in seconds of one replica."""
    work = work_of(
        capacity,
        prompt_tokens=sample.computed_prompt_tokens or 0.0,
        output_tokens=sample.generated_tokens or 0.0,
    )
    return work or 0.0


def _grown(before: float | None, after: float | None) -> float:
    """What a counter counted in between; one that is lower has started again from nothing."""
    if before is None or after is None:
        return 0.0
    return after - before if after >= before else after


def work_of(capacity: ReplicaCapacity, *, prompt_tokens: float, output_tokens: float) -> float | None:
    """Seconds of one replica's whole capacity; None where that is not known.

    Scaled so that the measured rate of the measured requests is exactly 1: other lengths of prompts and
    answers weigh as they cost."""
    rate, output = capacity.requests_per_second, capacity.output_tokens_per_second
    if not rate or not output or capacity.unverified:
        return None
    prefill = capacity.prefill_tokens_per_second
    seconds = output_tokens / output + (prompt_tokens / prefill if prefill else 0.0)
    measured = capacity.output_tokens / output + (capacity.input_tokens / prefill if prefill else 0.0)
    return seconds / (rate * measured)


def smoothed(former: float | None, value: float, *, elapsed_seconds: float, over_seconds: float) -> float:
    """An exponentially weighted mean, whatever the pace of looks."""
    if former is None or over_seconds <= 0:
        return value
    return former + (value - former) * -math.expm1(-elapsed_seconds / over_seconds)
