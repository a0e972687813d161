"""Tries new objects by server-side dry run before a model is inspected or downloaded for them.

Pods are tried, too, as LimitRange, Pod Security and most policies act on pods alone. A trial needs no right
beyond those to create Deployments and pods.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

from tacho_contract.failure import FailureClass
from tacho_operator.core.names import ROLE_SERVER
from tacho_operator.core.problems import refused_child
from tacho_operator.core.types import ChildRefusal, Trial
from tacho_operator.shell.api_errors import Conflict, Forbidden, Invalid
from tacho_operator.shell.child_backoff import REFUSED_SECONDS, Backoff
from tacho_operator.shell.kube import Kube
from tacho_operator.shell.workqueue import Key

logger = logging.getLogger(__name__)

LEFT_TO_THE_PLAN = ("minimum ", " ratio ", "admission webhook", "ValidatingAdmissionPolicy")
"""Texts of refusals that do not count before a plan exists: minimum amounts of a LimitRange, and policies
that may require what only a plan sets, e.g. GPUs.
"""
NO_DRY_RUN = "does not support dry run"
"""Text of the API server's refusal because a webhook with side effects would be called: nothing was tried."""


class Trials:
    """Tries the objects of each new revision once.

    A refused trial is remembered and repeated after a pause: quota, policies and ServiceAccounts may change
    without an event.
    """

    def __init__(self, kube: Kube, clock: Callable[[], float] = time.monotonic) -> None:
        self._kube, self._clock, self._refused = kube, clock, Backoff(clock)
        self._accepted: dict[Key, tuple[str, float]] = {}
        """Key of each resource's last accepted trial, and when it was accepted."""

    async def __call__(self, key: Key, trial: Trial) -> ChildRefusal | None:
        """The API server's refusal of ``trial``; None: it accepts the objects. Raises ApiError for an error
        that may be temporary.
        """
        accepted, at = self._accepted.get(key, ("", 0.0))
        if accepted == trial.key and not (trial.recurs and self._clock() >= at + REFUSED_SECONDS):
            return None
        if (former := self._refused.present(key, trial.key)) is not None:
            return former
        refusal = await self._refusal(trial)
        if refusal is None:
            self.forget(key)
            self._accepted[key] = (trial.key, self._clock())
            return None
        self._refused.note(key, trial.key, refusal)
        logger.info("%s/%s: %s is refused: %s", *key, trial.name, refusal.message)
        return refusal

    def left_seconds(self, key: Key) -> float:
        """Seconds until a refused trial is repeated; REFUSED_SECONDS where none is."""
        return self._refused.left_seconds(key)

    def forget(self, key: Key) -> None:
        """Drops the remembered trial of a deleted resource."""
        self._refused.forget(key)
        self._accepted.pop(key, None)

    async def _refusal(self, trial: Trial) -> ChildRefusal | None:
        for manifest in trial.manifests:
            try:
                await self._kube.try_create(manifest)
            except Conflict:
                continue  # the write itself reports its owner
            except (Forbidden, Invalid) as error:
                refusal = ChildRefusal(
                    kind=manifest["kind"],
                    name=trial.name,
                    role=ROLE_SERVER,
                    message=error.message,
                    invalid=isinstance(error, Invalid),
                )
                if _counts(refusal, trial):
                    return refusal
        return None


def _counts(refusal: ChildRefusal, trial: Trial) -> bool:
    if NO_DRY_RUN in refusal.message:
        return False
    if not trial.replaces and any(words in refusal.message for words in LEFT_TO_THE_PLAN):
        return False
    # Quota may suffice when a pod is needed: its ReplicaSet reports a refusal.
    return trial.needs_quota or refused_child(refusal).reason != FailureClass.QUOTA_EXCEEDED
