"""The scaler's input for one resource: pods, capacity, latency targets, bounds, and the pods to delete
first."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from tacho_contract.launch import ServiceLevel
from tacho_contract.units import parse_time
from tacho_operator.api.defaults import scaling_mode, service_level, workload
from tacho_operator.api.spec.service import AutoscalingSpec, ScalingMode, ScalingRules
from tacho_operator.api.status.status import AutoscalingStatus, LLMDeploymentStatus
from tacho_operator.core import names
from tacho_operator.core.autoscaling.algorithm.capacity import capacity_of
from tacho_operator.core.autoscaling.algorithm.schedules import Schedule, bounds_at
from tacho_operator.core.autoscaling.algorithm.tuning import (
    MAX_TOKENS,
    MIN_CORRECTION,
    MIX_REQUESTS,
    UNKNOWN_START_SECONDS,
)
from tacho_operator.core.autoscaling.algorithm.types import (
    SCALE_DOWN,
    SCALE_UP,
    Bounds,
    Burst,
    Change,
    Correction,
    Mix,
    Pace,
    PodLoad,
    Point,
    Policy,
    ReplicaCapacity,
    Rules,
    Sample,
    State,
    Track,
)
from tacho_operator.core.autoscaling.status_view import RECOMMEND, newest_change
from tacho_operator.core.pods.claims import ClaimBound, claim_bound_of
from tacho_operator.core.pods.deadlines import start_limits
from tacho_operator.core.pods.diagnosis import creation_refused
from tacho_operator.core.pods.view import FINISHED, PodView, deployment_sizes, views
from tacho_operator.core.problems import may_pass
from tacho_operator.core.rollout.reading import read_serving
from tacho_operator.core.types import Observed

UNBOUNDED = Bounds(least=0, most=10**6)
"""Replica bounds for a resource without autoscaling, for which only the load is computed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TargetPod:
    """A serving pod, as the scaler reads its metrics."""

    uid: str
    name: str
    address: str
    revision: str = ""
    start_seconds: float | None = None
    """Seconds from a pod's creation to first readiness. None: unknown, or its container restarted since."""

    def load(self, sample: Sample | None) -> PodLoad:
        """The pod with its last sample; None: it has not reported its load."""
        return PodLoad(
            uid=self.uid,
            name=self.name,
            revision=self.revision,
            sample=sample,
            start_seconds=self.start_seconds,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """The scaler's input for one resource: serving pods, capacity, latency targets and replica bounds."""

    autoscaling: AutoscalingSpec | None
    """The settings in spec.autoscaling. None: other clients set the replicas, e.g. through /scale."""
    mode: ScalingMode | None = None
    """Whether a decision is applied or only recommended; None without autoscaling."""
    pods: tuple[TargetPod, ...]
    capacity: ReplicaCapacity
    slo: ServiceLevel = ServiceLevel()
    replicas: int
    """Number of desired replicas before the decision."""
    held: str = ""
    claim: ClaimBound | None = None
    """The volume claim that limits the number of replicas; None: none does."""
    refused_above: int | None = None
    previous: AutoscalingStatus | None = None


def target_of(observed: Observed, status: LLMDeploymentStatus | None = None) -> Target:
    """The scaler's input from the observed resource.

    ``status``: the status that the present reconcile computes, which has the newest measurement; None: the
    stored one.
    """
    resource, serving = observed.resource, read_serving(observed)
    status = status or resource.status
    servers = views(observed.pods, names.ROLE_SERVER)
    reached = [pod for pod in servers if pod.ready and serving.selected in ("", pod.revision)]
    # While a candidate starts or waits, however long, the active revision alone has the requests.
    moving = len(deployment_sizes(observed.deployments)) > 1 and serving.selected != serving.active
    refused = creation_refused(observed.deployments, observed.replica_sets, serving.active)
    is_limit = bool(serving.active) and refused is not None and not may_pass(refused)
    slo = service_level(resource.spec)
    longest = start_limits(observed.deployments).get(serving.active, math.inf)
    return Target(
        autoscaling=resource.spec.autoscaling,
        mode=scaling_mode(resource.spec),
        pods=tuple(_pod(pod, longest) for pod in reached if pod.address),
        capacity=capacity_of(status.measurements, status.plan, workload(resource.spec), slo),
        slo=slo,
        replicas=desired_replicas(observed),
        held="requests are moving to another revision" if moving else "",
        claim=claim_bound_of(observed, serving.active),
        # Quota still counts a terminating pod: its successor is refused for a moment only.
        refused_above=max(1, sum(pod.phase not in FINISHED for pod in servers)) if is_limit else None,
        previous=_applied(observed),
    )


def _applied(observed: Observed) -> AutoscalingStatus | None:
    """status.autoscaling, without a latest decision of an earlier process that the Deployment does not have.

    It is written before the size. Whoever is killed in between has changed nothing, and the load of now
    decides.
    """
    previous, sizes = observed.resource.status.autoscaling, deployment_sizes(observed.deployments)
    last = newest_change(previous)
    is_whole = set(sizes) == {read_serving(observed).active}
    if previous is None or last is None or not is_whole or scaling_mode(observed.resource.spec) != "Enforce":
        return previous
    # Any other desired size is newer than that decision, as after mode Recommend.
    is_newest = (previous.mode, previous.desired_replicas) == (None, last.to_replicas)
    if not is_newest or last.from_replicas not in sizes.values():
        return previous
    kept = [item for item in previous.decisions if item is not last]
    return previous.model_copy(update={"decisions": kept})


def _pod(pod: PodView, longest_start_seconds: float) -> TargetPod:
    ready = pod.condition_time("Ready")
    first = all(item.restarts == 0 for item in pod.containers())
    begun = max((since for item in pod.containers() if (since := item.running_since)), default=None)
    if ready and begun and (ready - begun).total_seconds() > longest_start_seconds:
        first = False  # it has been ready before: no start may take so long
    took = pod.start_seconds(ready) if first else None
    return TargetPod(
        uid=pod.uid, name=pod.name, address=pod.address, revision=pod.revision, start_seconds=took
    )


def restored(previous: AutoscalingStatus | None) -> State:
    """The scaler's state, read from status after a restart of the operator; it has no samples.

    Users may edit status: values that the scaler never writes are limited or left out. Old bursts expire by
    their time; request lengths and speed adapt to new requests.
    """
    if previous is None:
        return State()
    refused, when = previous.refused_above, parse_time(previous.refused_time)
    percent, speed = previous.capacity_correction_percent, previous.speed_percent
    return State(
        fingerprint=previous.capacity_correction_fingerprint or "",
        correction=Correction(factor=min(1.0, max(MIN_CORRECTION, percent / 100)) if percent else 1.0),
        mix=_mix(previous),
        speed=min(1 / MIN_CORRECTION, max(MIN_CORRECTION, speed / 100)) if speed else 1.0,
        bursts=_bursts(previous),
        low=previous.low_replicas,
        changes=_decided(previous, None),
        refused=Point(when.timestamp(), refused) if refused and when else None,
        cold_start_seconds=previous.cold_start_seconds or UNKNOWN_START_SECONDS,
    )


def _mix(previous: AutoscalingStatus) -> Mix | None:
    prompt, output = previous.input_tokens, previous.output_tokens
    if prompt is None or not output:
        return None
    return Mix(MIX_REQUESTS, *(MIX_REQUESTS * min(MAX_TOKENS, length) for length in (prompt, output)))


def _bursts(previous: AutoscalingStatus) -> tuple[Burst, ...]:
    found = []
    for item in previous.bursts:
        begin, end = parse_time(item.begin_time), parse_time(item.end_time)
        if end and 0 < item.replicas <= UNBOUNDED.most:
            found.append(Burst(min(begin or end, end).timestamp(), end.timestamp(), item.replicas))
    return tuple(sorted(found, key=lambda item: -item.end_seconds))


def restored_recommendations(previous: AutoscalingStatus | None) -> tuple[Change, ...]:
    """The recommendations in status, newest first, read after a restart of the operator."""
    return _decided(previous, RECOMMEND) if previous else ()


def _decided(previous: AutoscalingStatus, mode: str | None) -> tuple[Change, ...]:
    return tuple(
        Change(
            time_seconds=at.timestamp(),
            before=item.from_replicas or 0,
            after=item.to_replicas or 0,
            reason=item.reason or "",
            cause=item.cause or "",
        )
        for item in previous.decisions
        if item.mode == mode and (at := parse_time(item.time)) is not None
    )


def policy_of(target: Target, now: datetime) -> tuple[Policy, tuple[str, ...]]:
    """The bounds, rules and latency targets of spec at ``now``, and a sentence for each invalid schedule."""
    spec = target.autoscaling
    if spec is None:
        return _with_targets(Policy(bounds=UNBOUNDED), target), ()
    usual = Bounds(least=spec.min_replicas or 1, most=spec.max_replicas)
    schedules = [
        Schedule(
            cron=item.schedule,
            time_zone=item.time_zone or "Etc/UTC",
            least=item.min_replicas,
            most=item.max_replicas,
            duration_seconds=item.duration_seconds,
        )
        for item in spec.schedules or ()
    ]
    scheduled = bounds_at(usual, schedules, now)
    bounds, behavior = scheduled.bounds, spec.behavior
    claim = target.claim
    if claim and claim.max_replicas < bounds.most:
        bounds = Bounds(
            least=min(bounds.least, claim.max_replicas),
            most=claim.max_replicas,
            source=f"{claim.claim}, which",
        )
    policy = Policy(
        bounds=bounds,
        up=_rules(behavior.scale_up if behavior else None, SCALE_UP),
        down=_rules(behavior.scale_down if behavior else None, SCALE_DOWN),
    )
    if (memory := spec.burst_memory_seconds) is not None:
        policy = dataclasses.replace(policy, burst_memory_seconds=memory)
    return _with_targets(policy, target), scheduled.problems


def _with_targets(policy: Policy, target: Target) -> Policy:
    return dataclasses.replace(
        policy,
        ttft_seconds=_seconds(target.slo.ttft_milliseconds),
        tpot_seconds=_seconds(target.slo.tpot_milliseconds),
        percentile=target.slo.percentile / 100,
    )


def _seconds(milliseconds: float | None) -> float | None:
    return milliseconds / 1000 if milliseconds else None


def _rules(spec: ScalingRules | None, default: Rules) -> Rules:
    """``default``, with the fields replaced that ``spec`` sets."""
    if spec is None:
        return default
    paces = tuple(
        Pace(kind=item.type, value=item.value, period_seconds=item.period_seconds)
        for item in spec.policies or ()
    )
    window = spec.stabilization_window_seconds
    return Rules(
        window_seconds=default.window_seconds if window is None else window,
        select=spec.select_policy or default.select,
        paces=paces or default.paces,
        tolerance=default.tolerance if spec.tolerance is None else float(spec.tolerance),
    )


def desired_replicas(observed: Observed) -> int:
    """The desired replicas: ``spec.replicas``, or the scaler's decision where autoscaling is enforced.

    Before the scaler's first decision, also after a restart of the operator, the existing replicas within
    maxReplicas: the Deployment may be newer than status, or somebody's.
    """
    spec = observed.resource.spec
    if spec.autoscaling is None or scaling_mode(spec) == "Recommend":
        return spec.replicas
    if observed.scaling is not None:
        return observed.scaling.replicas
    found = deployment_sizes(observed.deployments)
    active = read_serving(observed).active
    limits = (item.max_replicas or 0 for item in spec.autoscaling.schedules or ())
    most = max([spec.autoscaling.max_replicas, *limits])
    if active and set(found) == {active}:
        return min(most, max(1, found[active]))
    previous = observed.resource.status.autoscaling
    requested = previous.desired_replicas if previous and previous.mode is None else None
    return min(most, max(requested or spec.autoscaling.min_replicas or 1, *found.values(), 1))


def victims(pods: Sequence[TargetPod], tracks: Mapping[str, Track], fewer: int) -> tuple[str, ...]:
    """Names of the ``fewer`` pods to delete first at a scale-down: the least busy ones.

    A pod without load metrics may be busy: it is deleted last.
    """

    def load_of(pod: TargetPod) -> tuple[bool, int, str]:
        track = tracks.get(pod.uid)
        sample = track.sample if track else None
        requests = (sample.running or 0) + (sample.waiting or 0) if sample else 0
        return (sample is None or sample.running is None, requests, pod.name)

    return tuple(pod.name for pod in sorted(pods, key=load_of)[: max(0, fewer)])
