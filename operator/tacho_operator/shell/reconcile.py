"""One turn for one resource: observe, decide, execute, write the status."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Callable
from datetime import datetime

from tacho_operator.core.reconcile import decide
from tacho_operator.core.scaling.asked import asked_replicas
from tacho_operator.core.types import Config, Decision, Observed
from tacho_operator.shell.execute import Outcome, execute, post_events, write_status
from tacho_operator.shell.kube import Kube
from tacho_operator.shell.metrics import Metrics
from tacho_operator.shell.observe import Observer, UnreadableResource
from tacho_operator.shell.scaler import Scaler
from tacho_operator.shell.store.store import Store, told
from tacho_operator.shell.store.written import Awaited, Noting, seen
from tacho_operator.shell.workqueue import Key

logger = logging.getLogger(__name__)

CONFLICT_RETRY_SECONDS = 30.0
SEEN_SECONDS = 10.0
"""So long the store has to show a turn's writes; then the next one reads live instead."""
STALE_RETRY_SECONDS = 1.0
"""What was not deleted because the store was interrupted is decided anew so soon."""


class Reconciler:
    """Holds between turns what it last logged, and what it wrote and has not seen: a restart loses nothing,
    as the store then begins with a list."""

    def __init__(
        self,
        *,
        kube: Kube,
        observer: Observer,
        store: Store,
        config: Config,
        metrics: Metrics,
        clock: Callable[[], datetime],
        scaler: Scaler,
    ) -> None:
        self._kube = kube
        self._observer = observer
        self._store = store
        self._config = config
        self._metrics = metrics
        self._clock = clock
        self._scaler = scaler
        self._said: dict[Key, str] = {}
        self._written: dict[Key, tuple[Awaited, ...]] = {}

    async def __call__(self, key: Key) -> float | None:
        """Returns after how many seconds to look again, None for "when something changes"."""
        with self._metrics.reconcile():
            return await self._turn(key)

    async def _turn(self, key: Key) -> float | None:
        unseen = self._written.get(key, ())
        live = not await seen(self._store, unseen, SEEN_SECONDS)
        if live:
            logger.warning("%s/%s: its own writes are not seen yet: it is read live", *key)
            self._metrics.live_reads.inc()
        try:
            observed = await self._observer.observe(key, live=live)
        except UnreadableResource as error:
            logger.error("%s/%s cannot be read: %s; re-apply it with a valid spec", *key, error)
            return None
        if observed is None:
            self._metrics.forget(key)
            self._scaler.forget(key)
            self._said.pop(key, None)
            self._written.pop(key, None)
            return None
        observed = self._scaler.observed(key, observed)
        decision = decide(observed, self._config, self._clock())
        self._scaler.follow(key, observed, decision.status)
        if not told(observed.raw) and decision.status is not None:
            # Of thousands applied at once each says soon what becomes of it. Its status wakes it for the
            # rest, in the line of those that were looked at.
            decision = dataclasses.replace(decision, apply=(), delete=())
        withheld = bool(decision.delete) and bool(self._store.stale(key.namespace))
        if withheld:
            decision = dataclasses.replace(decision, delete=())
        kube = Noting(self._kube)
        try:
            outcome = await execute(kube, observed, decision)
            if outcome.refusals:
                decision = self._again(observed, outcome)
            changed = await write_status(kube, observed, decision.status)
            await post_events(kube, observed, decision)
        finally:
            # What is still not seen stays awaited: a live turn that writes nothing makes the store no newer.
            late = {item.place: item for item in unseen if not item.seen(self._store)}
            self._written[key] = tuple({**late, **kube.written}.values())
        self._metrics.writes_avoided.inc(max(0, len(decision.apply) + 1 - outcome.writes - changed))
        status = decision.status or observed.resource.status
        self._metrics.observe(key, status, wanted_replicas=asked_replicas(observed))
        if (changed or outcome.writes) and self._said.get(key) != decision.reason:
            self._said[key] = decision.reason
            logger.info("%s/%s: %s", *key, decision.reason)
        delay = decision.requeue_after_seconds
        if outcome.refusals:
            delay = min(delay or CONFLICT_RETRY_SECONDS, CONFLICT_RETRY_SECONDS)
        if withheld:
            delay = min(delay or STALE_RETRY_SECONDS, STALE_RETRY_SECONDS)
        return delay

    def _again(self, observed: Observed, outcome: Outcome) -> Decision:
        """The same decision, knowing what could not be done: only its status and events are used."""
        knowing = dataclasses.replace(observed, refusals=outcome.refusals)
        return decide(knowing, self._config, self._clock())
