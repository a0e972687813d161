"""One turn for one resource: observe, decide, execute, write the status."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Callable
from datetime import datetime

from tacho_operator.core.reconcile import decide
from tacho_operator.core.types import Config, Decision, Observed
from tacho_operator.shell.execute import Outcome, execute, post_events, write_status
from tacho_operator.shell.kube import Kube
from tacho_operator.shell.metrics import Metrics
from tacho_operator.shell.observe import Observer, UnreadableResource
from tacho_operator.shell.workqueue import Key

logger = logging.getLogger(__name__)

CONFLICT_RETRY_SECONDS = 30.0


class Reconciler:
    """Holds nothing between turns but what it last logged, so a restart loses nothing."""

    def __init__(
        self,
        *,
        kube: Kube,
        observer: Observer,
        config: Config,
        metrics: Metrics,
        clock: Callable[[], datetime],
    ) -> None:
        self._kube = kube
        self._observer = observer
        self._config = config
        self._metrics = metrics
        self._clock = clock
        self._said: dict[Key, str] = {}

    async def __call__(self, key: Key) -> float | None:
        """Returns after how many seconds to look again, None for "when something changes"."""
        with self._metrics.reconcile():
            return await self._turn(key)

    async def _turn(self, key: Key) -> float | None:
        try:
            observed = await self._observer.observe(key)
        except UnreadableResource as error:
            logger.error("%s/%s cannot be read: %s; re-apply it with a valid spec", *key, error)
            return None
        if observed is None:
            self._metrics.forget(key)
            self._said.pop(key, None)
            return None
        decision = decide(observed, self._config, self._clock())
        outcome = await execute(self._kube, observed, decision)
        if outcome.refusals:
            decision = self._again(observed, outcome)
        changed = await write_status(self._kube, observed, decision.status)
        await post_events(self._kube, observed, decision)
        status = decision.status or observed.resource.status
        self._metrics.observe(key, status, wanted_replicas=observed.resource.spec.replicas)
        if (changed or outcome.writes) and self._said.get(key) != decision.reason:
            self._said[key] = decision.reason
            logger.info("%s/%s: %s", *key, decision.reason)
        delay = decision.requeue_after_seconds
        if outcome.refusals:
            delay = min(delay or CONFLICT_RETRY_SECONDS, CONFLICT_RETRY_SECONDS)
        return delay

    def _again(self, observed: Observed, outcome: Outcome) -> Decision:
        """The same decision, knowing what could not be done: only its status and events are used."""
        knowing = dataclasses.replace(observed, refusals=outcome.refusals)
        return decide(knowing, self._config, self._clock())
