"""The scaler's loop: samples the load of all pods at a steady interval, decides, and requests a reconcile.

It writes nothing: the reconcile applies the last decision, so that Deployments and status have one writer. It
takes the pods from reconciles, and sends no request to the API server.
"""

from __future__ import annotations

import asyncio
import dataclasses
import logging
import time
from collections.abc import Callable, Mapping
from datetime import datetime, timezone
from functools import cache

from tacho_operator.api.defaults import scaling_mode
from tacho_operator.api.status.status import LLMDeploymentStatus
from tacho_operator.core.autoscaling.algorithm.guards import continued, unread
from tacho_operator.core.autoscaling.algorithm.step import step
from tacho_operator.core.autoscaling.algorithm.types import (
    Change,
    Decision,
    PodLoad,
    Sample,
    ScalingInput,
    State,
)
from tacho_operator.core.autoscaling.status_view import failed, recommended, scaled
from tacho_operator.core.autoscaling.target import (
    Target,
    TargetPod,
    policy_of,
    restored,
    restored_recommendations,
    target_of,
    victims,
)
from tacho_operator.core.types import Observed, Scaled
from tacho_operator.shell.loads import Loads, TimedLoad, sample_of
from tacho_operator.shell.log_context import about
from tacho_operator.shell.resource_metrics import ScalingMetrics
from tacho_operator.shell.workqueue import Key

logger = logging.getLogger(__name__)

UNSCALED_SECONDS = 30.0
"""Seconds between samples of resources without autoscaling, about the scrape interval of Prometheus and KEDA.

Sampling is the largest cost of an unchanged resource, and most resources of a large cluster may have no
autoscaling.
"""
LISTENING_SECONDS = 660.0
"""Seconds for which resources without autoscaling are sampled after their metrics were read.

A client that reads every five minutes may be late, or miss one read, and still finds values.
"""
CURRENT_SECONDS = 60.0
"""Seconds after which a figure is unknown if no decision was made since, or if the pods may be others by now.
The namespace's watches are interrupted then, or its objects cannot be read.
"""
SLICE_SECONDS = 0.02
"""Seconds of decisions after which other tasks may run."""


@dataclasses.dataclass(slots=True)
class ScaledResource:
    """The state of one resource in the scaler, from its last reconcile."""

    uid: str
    target: Target
    state: State
    replicas: int
    samples: dict[str, tuple[str, Sample]] = dataclasses.field(default_factory=dict)
    """(time of the sample on the pod's clock, sample) by pod uid."""
    recommendations: tuple[Change, ...] = ()
    """The recommendations (mode Recommend) that status lists, the newest first."""
    shown: Scaled | None = None
    decision: Decision | None = None
    decided: float = 0.0
    """When the last decision was made, by the scaler's clock."""
    observed: float = 0.0
    """When the pods of ``target`` were last known to be the present ones, by the scaler's clock."""
    is_unread: bool = False
    """Whether the last reconcile could not read the pods."""
    phase: int = 0
    """In which of the samples the resource is included, if it is sampled less often than others."""
    last_read: float = 0.0
    """When a client last read /scaling for the resource, by the scaler's clock."""


class Scaler:
    """Samples the load of all serving pods every ``period_seconds``. After a restart its state is read from
    status."""

    def __init__(
        self,
        loads: Loads,
        *,
        period_seconds: float,
        call: Callable[[Key], None],
        sink: ScalingMetrics,
        is_stale: Callable[[str], bool] = lambda _namespace: False,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """``is_stale``: whether watches of a namespace are interrupted."""
        self._loads, self._call, self._sink, self._is_stale = loads, call, sink, is_stale
        self._period_seconds = period_seconds
        self._limit_seconds = max(CURRENT_SECONDS, 3 * period_seconds)
        self._clock = clock
        self._watched: dict[Key, ScaledResource] = {}
        self._samples = self._made = 0
        self._scraped = 0.0

    def observed(self, key: Key, observed: Observed) -> Observed:
        """``observed`` with the last scaling decision. The scaler keeps ``observed`` for its next
        decision. Nothing scales a resource that is being deleted.
        """
        if observed.resource.metadata.deletion_timestamp:
            self.forget(key)
            return observed
        known, uid = self._watched.get(key), observed.raw["metadata"]["uid"]
        if known is not None and known.uid != uid:
            known = None  # deleted and made anew with the same name
        mode = scaling_mode(observed.resource.spec)
        same_mode = known is not None and known.target.mode == mode
        shown = known.shown if known is not None and same_mode and mode is not None else None
        observed = dataclasses.replace(observed, scaling=shown)
        target = target_of(observed)
        if known is None or (known.target.mode is None) != (mode is None):
            known = ScaledResource(
                uid=uid, target=target, state=State(), replicas=target.replicas, phase=self._made
            )
            self._made += 1
            self._watched[key] = known
            self._sink.unknown(key)  # what a previous resource of the name had
        if not known.decided:  # until then what an earlier process has written last may still arrive
            known.state, known.replicas = restored(target.previous), target.replicas
            known.recommendations = restored_recommendations(target.previous)
        known.target, known.observed, known.is_unread = target, self._clock(), False
        if mode != "Enforce" or not same_mode:
            known.replicas = target.replicas
        if not same_mode:
            known.shown = None  # a decision of the other mode: it is neither applied nor shown again
        return observed

    def follow(self, key: Key, observed: Observed, status: LLMDeploymentStatus | None) -> None:
        """Takes the newest measurement from the status that a reconcile made of ``observed``."""
        if status is not None and (known := self._watched.get(key)) is not None:
            known.target = target_of(observed, status)

    def unread(self, key: Key) -> None:
        """Notes that a reconcile could not read the resource's pods, which may be others by now."""
        if (known := self._watched.get(key)) is not None:
            known.is_unread = True

    def forget(self, key: Key) -> None:
        """Stops sampling and scaling a deleted resource."""
        self._watched.pop(key, None)
        self._sink.forget(key)

    def latest(self, key: Key) -> tuple[Decision, int] | None:
        """The last scaling decision and the number of serving pods, for /scaling; None before the first
        sample."""
        if (known := self._watched.get(key)) is None:
            return None
        known.last_read = self._clock()
        if known.decision is None or not self._is_current(known):
            return None
        return known.decision, len(known.target.pods)

    def idle(self, key: Key) -> dict[str, bool]:
        """Whether each sampled pod has no request, by uid; one whose present load is not known is absent."""
        known, now = self._watched.get(key), self._clock()
        samples = {uid: sample for uid, (_, sample) in known.samples.items()} if known else {}
        return {
            uid: sample.running + (sample.waiting or 0) == 0
            for uid, sample in samples.items()
            if sample.running is not None and abs(now - sample.time_seconds) <= self._limit_seconds
        }

    def scraped(self) -> None:
        """Records that Prometheus has scraped, so that the loads of all resources are sampled."""
        self._scraped = self._clock()

    async def run(self) -> None:
        """Samples until cancelled, at an even interval however long one sampling takes."""
        loop = asyncio.get_running_loop()
        due = loop.time()
        while True:
            due = max(due + self._period_seconds, loop.time())
            await asyncio.sleep(due - loop.time())
            try:
                await self.sample()
            except Exception:  # a lack of threads or sockets: the next sample may succeed
                logger.exception("the load was not sampled")

    async def sample(self) -> None:
        """Samples the load of every resource that is due, and makes its scaling decision."""
        started = time.perf_counter()
        self._expire()
        watched = {key: known for key, known in self._watched.items() if self._is_due(key, known)}
        self._samples += 1
        addresses = {pod.address for known in watched.values() for pod in known.target.pods}
        answers = await self._loads.read(addresses)
        reconciles = await self._decide_all(watched, answers)
        self._sink.sampled(
            requests=len(addresses),
            answered=len(answers),
            reconciles=reconciles,
            seconds=time.perf_counter() - started,
        )

    async def _decide_all(self, watched: Mapping[Key, ScaledResource], answers: dict[str, TimedLoad]) -> int:
        """Makes the decisions; returns the number of requested reconciles."""
        reconciles, rested, now = 0, time.perf_counter(), self._clock()
        for key, known in watched.items():
            if self._watched.get(key) is not known:
                continue  # it was deleted while its pods were sampled, and its series with it
            try:
                changed = self._decide(key, known, answers, now)
            except Exception as error:  # noqa: BLE001 - one resource's error must not stop the others' scaling
                changed = self._failed(key, known, error)
            if changed:
                reconciles += 1
                self._call(key)
            if time.perf_counter() - rested > SLICE_SECONDS:
                await asyncio.sleep(0)  # thousands of decisions in one go would delay every other task
                rested = time.perf_counter()
        return reconciles

    def _expire(self) -> None:
        """Makes figures that are no longer current unknown."""
        now, is_stale = self._clock(), cache(self._is_stale)
        for key, known in self._watched.items():
            if not (known.is_unread or is_stale(key.namespace)):
                known.observed = now
            if known.decision is not None and not self._is_current(known):
                self._drop_figures(key, known)

    def _is_observed(self, known: ScaledResource) -> bool:
        """Whether the pods of ``target`` are the present ones, as far as is known."""
        return abs(self._clock() - known.observed) <= CURRENT_SECONDS

    def _is_current(self, known: ScaledResource) -> bool:
        """Whether the last decision is recent, and rests on the present pods."""
        return self._is_observed(known) and abs(self._clock() - known.decided) <= self._limit_seconds

    def _drop_figures(self, key: Key, known: ScaledResource) -> None:
        known.decision = None
        known.state, known.samples = unread(known.state), {}
        self._sink.unknown(key)

    def _failed(self, key: Key, known: ScaledResource, error: Exception) -> bool:
        """Makes the figures of a resource unknown whose decision failed. Returns whether status has to report
        it."""
        logger.exception("%s/%s: the scaler failed", *key, extra=about(key))
        self._drop_figures(key, known)
        known.state = restored(known.target.previous)  # what made it fail may be in the state
        previous = known.shown
        if known.target.mode is not None:
            known.shown = failed(error, known.replicas, previous, known.target.previous)
        return known.shown is not previous

    def _is_due(self, key: Key, known: ScaledResource) -> bool:
        """Whether the present sampling includes the resource."""
        if not self._is_observed(known):
            return False
        if known.target.autoscaling:
            return True
        if self._clock() - max(self._scraped, known.last_read) > LISTENING_SECONDS:
            if known.decision is not None:
                self._drop_figures(key, known)
            return False
        every = max(1, int(UNSCALED_SECONDS / self._period_seconds))
        return known.decision is None or (self._samples + known.phase) % every == 0

    def _decide(self, key: Key, known: ScaledResource, answers: dict[str, TimedLoad], now: float) -> bool:
        """Decides on the scale of a resource. Returns whether a reconcile has anything to do."""
        target = known.target
        policy, problems = policy_of(target, datetime.fromtimestamp(now, timezone.utc))
        at = ScalingInput(
            replicas=known.replicas,
            pods=tuple(self._pod_loads(key, known, answers)),
            capacity=target.capacity,
            policy=policy,
            refused_above=target.refused_above,
            held=target.held,
        )
        done = step(at, known.state, now)
        known.decision, before, recommendation = done.decision, known.replicas, None
        known.decided = now
        if target.mode == "Enforce":
            known.state, known.replicas = done.state, done.decision.replicas
        else:
            known.state, recommendation = recommended(done, known.state, known.recommendations, before, now)
        scaled_here = target.mode is not None
        objective = policy.percentile if policy.ttft_seconds or policy.tpot_seconds else None
        self._sink.decided(
            key, done.decision, before=before, after=known.replicas, scaled=scaled_here, objective=objective
        )
        if target.mode is None:
            return False
        if recommendation is not None:
            known.recommendations = recommendation.made
        if known.replicas != before:
            logger.info("%s/%s: %s", *key, done.decision.reason, extra=about(key))
        previous = known.shown
        known.shown = scaled(
            done.decision,
            known.state,
            bounds=policy.bounds,
            problems=problems,
            victims=victims(target.pods, known.state.tracks, before - known.replicas),
            previous=previous,
            recommendation=recommendation,
        )
        return known.shown is not previous

    def _pod_loads(self, key: Key, known: ScaledResource, answers: dict[str, TimedLoad]) -> list[PodLoad]:
        """The resource's pods with their last samples. One that was delivered before keeps its first time."""
        samples: dict[str, tuple[str, Sample]] = {}
        found = []
        for pod in known.target.pods:
            answer, last = _own_load(pod, answers), known.samples.get(pod.uid)
            if answer is not None and (last is None or last[0] != answer.load.observed_time):
                newest = sample_of(answer)
                if last is not None:
                    newest = continued(last[1], newest)
                    self._sink.served(key, last[1], newest)
                last = (answer.load.observed_time, newest)
            if last is not None:
                samples[pod.uid] = last
            found.append(pod.load(last[1] if last else None))
        known.samples = samples
        return found


def _own_load(pod: TargetPod, answers: Mapping[str, TimedLoad]) -> TimedLoad | None:
    """What ``pod`` answered; None where it did not, also where another pod has its address by now."""
    found = answers.get(pod.address)
    return found if found is not None and found.load.pod_uid in ("", pod.uid) else None
