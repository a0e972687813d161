"""Trial of a revision by server-side dry run, before it is made: a refused one downloads nothing.

The Deployment and a pod are tried, as LimitRange, Pod Security and most policies act on pods alone. The trial
needs no right beyond those to create Deployments and probe pods.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from tacho_contract.failure import FailureClass
from tacho_operator.core.names import ROLE_SERVER
from tacho_operator.core.problems import refused_child
from tacho_operator.core.types import ChildRefusal, Manifest
from tacho_operator.shell.api_errors import Conflict, Forbidden, Invalid
from tacho_operator.shell.kube import Kube
from tacho_operator.shell.workqueue import Key

logger = logging.getLogger(__name__)

FIRST_PAUSE_SECONDS = 30.0
NO_DRY_RUN = "does not support dry run"
"""Words of the API server where a webhook with side effects has to be asked: nothing was tried."""
LONGEST_PAUSE_SECONDS = 300.0
"""A policy, a LimitRange or a missing ServiceAccount may change without an event that tells of it."""


@dataclass(frozen=True, slots=True)
class RefusedTrial:
    """The last trial of a resource, which was refused."""

    refusal: ChildRefusal
    count: int
    due: float
    """When the same revision is tried again."""


class RevisionTrials:
    """Tries revisions that are about to be made. A refused one is remembered, and tried again after a pause
    that doubles."""

    def __init__(self, kube: Kube, clock: Callable[[], float] = time.monotonic) -> None:
        self._kube, self._clock = kube, clock
        self._refused: dict[Key, RefusedTrial] = {}

    async def __call__(self, key: Key, revision: str, trial: Iterable[Manifest]) -> ChildRefusal | None:
        """Why the API server refuses ``revision``; None: it does not. Raises ApiError for what may pass."""
        former = self._refused.get(key)
        if former is not None and former.refusal.name != revision:
            former = None
        if former is not None and self._clock() < former.due:
            return former.refusal
        refusal = await self._refusal(revision, trial)
        if refusal is None:
            self.forget(key)
            return None
        count = former.count + 1 if former else 1
        pause = min(LONGEST_PAUSE_SECONDS, FIRST_PAUSE_SECONDS * 2.0 ** min(count - 1, 10))
        self._refused[key] = RefusedTrial(refusal, count, self._clock() + pause)
        logger.info("%s/%s: revision %s is refused: %s", *key, revision, refusal.message)
        return refusal

    def forget(self, key: Key) -> None:
        """The resource was deleted, or its revision is taken."""
        self._refused.pop(key, None)

    async def _refusal(self, revision: str, trial: Iterable[Manifest]) -> ChildRefusal | None:
        for manifest in trial:
            try:
                await self._kube.try_create(manifest)
            except Conflict:
                continue  # the write itself will tell whose it is
            except (Forbidden, Invalid) as error:
                if NO_DRY_RUN in error.message:
                    continue
                refusal = ChildRefusal(
                    kind=manifest["kind"],
                    name=revision,
                    role=ROLE_SERVER,
                    message=error.message,
                    invalid=isinstance(error, Invalid),
                )
                # Quota may have room when a pod is needed: its ReplicaSet tells of it.
                if refused_child(refusal).reason != FailureClass.QUOTA_EXCEEDED:
                    return refusal
        return None
