"""Reconciles one resource: observe, decide, execute, write the status."""

from __future__ import annotations

import dataclasses
import logging
import time
from collections.abc import Awaitable, Callable, Iterable
from datetime import datetime
from functools import partial

from tacho_operator.api.status.status import LLMDeploymentStatus
from tacho_operator.core.autoscaling.target import desired_replicas
from tacho_operator.core.measurement.cost import holdings_of
from tacho_operator.core.names import live_config_name
from tacho_operator.core.pauses import doubling_seconds
from tacho_operator.core.planner.history import stored_status
from tacho_operator.core.problems import Problem, refusal_problem
from tacho_operator.core.reconcile import decide
from tacho_operator.core.status.events import transition_events
from tacho_operator.core.status.undecided import undecided_status
from tacho_operator.core.types import (
    ChildRefusal,
    Config,
    Manifest,
    Observed,
    ReconcileDecision,
    RuntimeImage,
)
from tacho_operator.shell.api_errors import ApiError, Forbidden, Invalid
from tacho_operator.shell.child_backoff import Backoff
from tacho_operator.shell.dry_run import Trials
from tacho_operator.shell.events import EventPosts, warning
from tacho_operator.shell.execute import ExecuteResult, child_name, children, delete_pods, execute, existing
from tacho_operator.shell.kube import Kube
from tacho_operator.shell.log_context import begin_reconcile, found_uid
from tacho_operator.shell.metrics import Metrics
from tacho_operator.shell.observe import Observer, UndecidedResource, deciding
from tacho_operator.shell.plans import Plans
from tacho_operator.shell.probe_turns import ProbeTurns
from tacho_operator.shell.ready_pods import ReadyMonitor, without_status_events
from tacho_operator.shell.scaler import Scaler
from tacho_operator.shell.status_writes import early_events, rests_on_service, with_early_status, write_status
from tacho_operator.shell.store.expectations import OwnWrites, RecordingClient
from tacho_operator.shell.store.resource_state import is_reported
from tacho_operator.shell.store.store import Store
from tacho_operator.shell.taken_names import NotCollected
from tacho_operator.shell.workqueue import Key

logger = logging.getLogger(__name__)

REFUSED_RETRY_SECONDS = 30.0
UNANSWERED_TRIES = 3
"""Number of reconciles in a row with a temporary API server error after which status reports it."""
SLOW_DECISION_SECONDS = 1.0
"""Seconds from which a decision is logged: usual are milliseconds, and the event loop is blocked."""
COLLECTION_RETRY_SECONDS = 8.0
"""Longest seconds until the operator looks again for children of a deleted resource of the same name."""
STALE_RETRY_SECONDS = 1.0
"""Seconds until what was not written is decided again: deletions because a watch was interrupted, or the rest
of a long pass.
"""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class DecisionSources:
    """The parts of the operator that a decision's input comes from, and that follow it."""

    observer: Observer
    scaler: Scaler
    plans: Plans
    probe_turns: ProbeTurns
    own_image: Callable[[], Awaitable[RuntimeImage]]
    """Reads the image that this operator runs; called until it has answered."""


class Reconciler:
    """Reconciles one resource at a time.

    It remembers its last log line, and its own writes that the watch has not delivered yet. A restart loses
    nothing, as the store then begins with a complete list.
    """

    def __init__(
        self,
        *,
        kube: Kube,
        store: Store,
        sources: DecisionSources,
        config: Config,
        metrics: Metrics,
        clock: Callable[[], datetime],
    ) -> None:
        self._kube = kube
        self._store = store
        self._sources = sources
        self._config = config
        self._metrics = metrics
        self._clock = clock
        self._logged_reasons: dict[Key, str] = {}
        self._own_writes = OwnWrites(store, metrics.unseen_writes.inc)
        self._children: dict[Key, tuple[str, ...]] = {}
        """Kind and name of each desired child that existed after the last reconcile."""
        self._trials = Trials(kube)
        self.events = EventPosts(kube)
        self._backoff = Backoff()
        self._unanswered: dict[Key, int] = {}
        """Number of reconciles in a row that ended with a temporary error of the API server."""

    async def __call__(self, key: Key) -> float | None:
        """Reconciles the resource. Returns seconds until the next reconcile; None: only after a change."""
        begin_reconcile(key)
        with self._metrics.reconcile():
            if self._config.runtime is None:
                self._config = dataclasses.replace(self._config, runtime=await self._sources.own_image())
            try:
                return await self._reconcile(key)
            except UndecidedResource as undecided:
                self._sources.probe_turns.leave(key)
                await self._report_undecided(key, undecided)
                raise  # the queue tries again, after a pause that doubles

    async def _reconcile(self, key: Key) -> float | None:
        observed = await self._observe(key)
        if observed is None:
            self._forget(key)
            return None
        decision = self._first_decision(key, observed)
        if await self._is_deleted(key, observed, decision):
            return None
        deletes = bool(decision.delete or decision.delete_measured)
        if withheld := deletes and bool(self._store.stale(key.namespace)):
            decision = dataclasses.replace(decision, delete=(), delete_measured=())
        kube, redecide = RecordingClient(self._kube), partial(self._redecide, key)
        try:
            raw = await with_early_status(kube, observed, decision, partial(redecide, now=decision.now))
            observe, report = partial(self._sources.observer.observe, key), partial(self._report_lost, key)
            monitor = ReadyMonitor(kube, self._store, observe, redecide, report)
            async with monitor.running(observed, raw):
                outcome = await self._execute(key, kube, observed, decision, monitor)
            if monitor.is_lost:
                rest = without_status_events(observed, decision)
                await self._post_events(key, kube, observed, rest, outcome)
                if outcome.error is not None:
                    raise outcome.error
                return 0.0
            final = self._with_refusals(key, observed, decision, outcome, kube.applied)
            self._update_metrics(key, observed, final)
            changed = await self._write_last(key, kube, observed, raw, final)
            await self._post_events(key, kube, observed, final, outcome)
            if decision.delete_measured:
                async with monitor.running(observed, raw, final.status):
                    await delete_pods(kube, observed, decision.delete_measured)
        finally:
            self._own_writes.remember(key, kube)
            self._children[key] = existing(observed, decision.apply, kube.applied)
        self._metrics.writes_avoided.inc(max(0, len(final.apply) + 1 - outcome.writes - changed))
        if (changed or outcome.writes) and self._logged_reasons.get(key) != final.reason:
            self._logged_reasons[key] = final.reason
            logger.info("%s/%s: %s", *key, final.reason)
        return self._requeue_seconds(key, final, outcome, withheld=withheld)

    async def _observe(self, key: Key) -> Observed | None:
        """All that the decision is made from; None: the resource does not exist."""
        scaler, turns = self._sources.scaler, self._sources.probe_turns
        try:
            await self._own_writes.until_seen(key)
            observed = await self._sources.observer.observe(key)
        except Exception:
            scaler.unread(key)
            raise
        if observed is None:
            return None
        found_uid(observed.raw["metadata"]["uid"])
        with deciding(observed):
            return turns.observed(key, scaler.observed(key, observed))

    def _first_decision(self, key: Key, observed: Observed) -> ReconcileDecision:
        """The decision before anything is written; scaler and probe turns follow it."""
        with deciding(observed):
            decision = self._decide(key, observed, self._clock())
            self._sources.scaler.follow(key, observed, decision.status)
            self._sources.probe_turns.follow(key, observed, decision)
        if is_reported(observed.raw) or decision.status is None:
            return decision
        # Of thousands each has its first status soon. Its event wakes it for the rest, less urgently.
        return dataclasses.replace(decision, apply=(), delete=())

    async def _post_events(
        self,
        key: Key,
        kube: RecordingClient,
        observed: Observed,
        decision: ReconcileDecision,
        outcome: ExecuteResult,
    ) -> None:
        """Posts the decision's events; those that a note keeps from being repeated once it is written."""
        is_noted = live_config_name(key.name) in {item["metadata"]["name"] for item in kube.applied}
        noted = (*(decision.noted_events if is_noted else ()), *map(warning, outcome.unreported))
        await self.events.post(observed.raw, (*decision.events, *noted), decision.now)

    def _requeue_seconds(
        self, key: Key, decision: ReconcileDecision, outcome: ExecuteResult, *, withheld: bool
    ) -> float | None:
        """Seconds until the next reconcile; None: only after a change. Raises the error of a write.

        ``withheld``: whether deletions were withheld because a watch was interrupted.
        """
        if isinstance(error := outcome.error, NotCollected):
            return doubling_seconds(1.0, COLLECTION_RETRY_SECONDS * error.patience, self._unanswered[key])
        if outcome.error is not None:
            raise outcome.error  # the queue tries again, after the pause that the API server requests
        delay = decision.requeue_after_seconds
        if outcome.refusals:
            # The remaining back-off: restarting it at each reconcile would postpone the retry.
            left = (self._backoff.left_seconds((*key, item.kind, item.name)) for item in outcome.refusals)
            pause = min(REFUSED_RETRY_SECONDS, self._trials.left_seconds(key), *left)
            delay = min(delay or pause, pause)
        if outcome.rest_seconds:
            delay = min(delay or outcome.rest_seconds, outcome.rest_seconds)
        if withheld or outcome.is_unfinished:
            delay = min(delay or STALE_RETRY_SECONDS, STALE_RETRY_SECONDS)
        return delay

    def _update_metrics(self, key: Key, observed: Observed, decision: ReconcileDecision) -> None:
        """Updates the metrics before the status is written, as each write of it may be refused."""
        status = decision.status or observed.resource.status
        size, faulty = desired_replicas(observed), decision.gpu_fault_nodes
        self._metrics.observe(key, status, desired_replicas=size, gpu_fault_nodes=faulty)
        self._metrics.gpu_time.observe(key, holdings_of(observed, self._config))

    def _forget(self, key: Key) -> None:
        """Drops everything that is kept of a deleted resource."""
        sources = self._sources
        own = (self._metrics, self._own_writes, self._trials, self._backoff)
        for part in (*own, sources.scaler, sources.plans, sources.probe_turns):
            part.forget(key)
        for known in (self._logged_reasons, self._children, self._unanswered):
            known.pop(key, None)

    async def _is_deleted(self, key: Key, observed: Observed, decision: ReconcileDecision) -> bool:
        """Whether children vanished because their owner was deleted, which no watch has delivered yet.

        Called before children are created again. Costs one request where a child vanished, else none.
        """
        live = {child_name(child) for child in children(observed)}
        desired = set(map(child_name, decision.apply))
        vanished = [name for name in self._children.get(key, ()) if name in desired and name not in live]
        if not vanished:
            return False
        uid = observed.raw["metadata"]["uid"]
        found = await self._kube.get("LLMDeployment", key.namespace, key.name)
        if found is not None and found["metadata"]["uid"] == uid:
            return False
        logger.info("%s/%s was deleted: %s are not created again", *key, ", ".join(vanished))
        self._store.remove("LLMDeployment", key.namespace, key.name, uid=uid)
        return True

    async def _execute(
        self,
        key: Key,
        kube: RecordingClient,
        observed: Observed,
        decision: ReconcileDecision,
        monitor: ReadyMonitor,
    ) -> ExecuteResult:
        """Executes the decision, without the children that a refused trial withholds."""
        trial, refusal, error = decision.trial, None, None
        run = partial(execute, kube, observed, backoff=self._backoff, newest=lambda: monitor.newest)
        if trial is not None and decision.apply:
            try:
                refusal = await self._trials(key, trial)
            except ApiError as failed:
                error = failed
        if trial is None or (refusal is None and error is None):
            return await run(decision)
        apply = [
            item for item in decision.apply if (item["kind"], item["metadata"]["name"]) not in trial.withheld
        ]
        delete = [item for item in decision.delete if not (trial.replaces and item.kind == "Deployment")]
        without = dataclasses.replace(decision, apply=tuple(apply), delete=tuple(delete))
        outcome = await run(without)
        if refusal is not None:
            return dataclasses.replace(outcome, refusals=(refusal, *outcome.refusals))
        if outcome.error is not None or error is None:
            return outcome
        tried = trial.manifests[0]
        unanswered = ChildRefusal(kind=tried["kind"], name=tried["metadata"]["name"], message=error.message)
        return dataclasses.replace(outcome, error=error, unanswered=unanswered)

    def _with_refusals(
        self,
        key: Key,
        observed: Observed,
        decision: ReconcileDecision,
        outcome: ExecuteResult,
        applied: Iterable[Manifest],
    ) -> ReconcileDecision:
        """The decision made again with the refused children as input; only its status and events are used.

        Its time is that of the first: when Ready was lost may be written already.
        """
        tries = self._unanswered.pop(key, 0) + 1
        if outcome.error is not None:
            self._unanswered[key] = tries
        is_unled = rests_on_service(observed, decision, applied)
        is_reported = outcome.is_unfinished or is_unled or tries >= UNANSWERED_TRIES
        unanswered = outcome.unanswered if is_reported else None
        if not outcome.refusals and unanswered is None:
            return decision
        knowing = dataclasses.replace(observed, refusals=outcome.refusals, unanswered=unanswered)
        again = self._redecide(key, knowing, decision.now)
        self._sources.probe_turns.follow(key, observed, again)  # a refused probe pod gives its turn back
        return again

    async def _report_lost(
        self, key: Key, former: Observed, observed: Observed, decision: ReconcileDecision, raw: Manifest
    ) -> None:
        """Reports that Ready was lost since ``former``, which the status of ``raw`` says."""
        self._update_metrics(key, observed, decision)
        await self.events.post(former.raw, early_events(former, raw), decision.now)

    def _redecide(self, key: Key, observed: Observed, now: datetime | None = None) -> ReconcileDecision:
        """The decision for another observed state; at the time ``now``, or the present."""
        with deciding(observed):
            return self._decide(key, observed, now or self._clock())

    def _decide(self, key: Key, observed: Observed, now: datetime) -> ReconcileDecision:
        """The decision, made a second time if it requested a plan that is available."""
        began = time.perf_counter()
        try:
            decision = decide(observed, self._config, now)
            planned = (
                self._sources.plans.answer(key, decision.pending_plan) if decision.pending_plan else None
            )
            return decision if planned is None else decide(observed, self._config, now, planned)
        finally:
            seconds = time.perf_counter() - began
            self._metrics.decision_duration.observe(seconds)
            if seconds > SLOW_DECISION_SECONDS:
                logger.warning("%s/%s: the decision took %.1f s; nothing else ran meanwhile", *key, seconds)

    async def _report_undecided(self, key: Key, undecided: UndecidedResource) -> None:
        """Writes status and event of a resource without a decision; its children stay unchanged."""
        found, now = undecided.found, self._clock()
        self._metrics.undecided.labels(undecided.problem.reason).inc()
        status = undecided_status(found, undecided.problem, now)
        self._metrics.observe(key, status, desired_replicas=found.desired_replicas)
        kube = RecordingClient(self._kube)
        try:
            if await self._write_status(key, kube, found.raw, status):
                logger.error("%s/%s: %s", *key, undecided, exc_info=undecided.__cause__)
                await self.events.post(found.raw, transition_events(stored_status(found.raw), status), now)
        finally:
            self._own_writes.remember(key, kube)

    async def _write_last(
        self, key: Key, kube: Kube, observed: Observed, raw: Manifest, decision: ReconcileDecision
    ) -> bool:
        """Writes the status after the children. Returns whether this pass changed it."""
        try:
            return await self._write_status(key, kube, raw, decision.status) or raw is not observed.raw
        except ApiError:
            await self.events.post(observed.raw, early_events(observed, raw), decision.now)
            raise

    async def _write_status(
        self, key: Key, kube: Kube, raw: Manifest, status: LLMDeploymentStatus | None
    ) -> bool:
        """Writes the status; returns whether it changed. An event tells of a refusal: status cannot."""
        try:
            return await write_status(kube, raw, status)
        except (Forbidden, Invalid) as error:
            problem = refusal_problem(f"status: {error.message}", invalid=isinstance(error, Invalid))
            await self._report_by_event(key, raw, problem)
            raise

    async def _report_by_event(self, key: Key, raw: Manifest, problem: Problem) -> None:
        """Posts an event about a problem that status cannot show, once for each version of the resource."""
        line = f"{raw['metadata']['resourceVersion']}: {problem.message}"
        if self._logged_reasons.get(key) == line:
            return
        self._logged_reasons[key] = line
        logger.error("%s/%s: %s", *key, problem.message)
        await self.events.post(raw, [warning(problem)], self._clock())
