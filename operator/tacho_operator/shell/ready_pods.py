"""Writes that Ready is lost while a pass writes children: each of these writes may take half a minute."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from tacho_operator.api.status.status import LLMDeploymentStatus
from tacho_operator.core.planner.history import stored_status
from tacho_operator.core.pods.nodes import on_nodes
from tacho_operator.core.pods.view import PodView
from tacho_operator.core.status.early import is_ready
from tacho_operator.core.status.events import transition_events
from tacho_operator.core.types import Manifest, Observed, ReconcileDecision
from tacho_operator.shell.api_errors import ApiError
from tacho_operator.shell.observe import UndecidedResource
from tacho_operator.shell.status_writes import status_until_service, write_early
from tacho_operator.shell.store.expectations import RecordingClient, seen
from tacho_operator.shell.store.store import Store

CHECK_SECONDS = 1.0
"""Seconds between two checks: a resource may have thousands of pods, and its usual writes take less."""
OF_PASSES = ("scaling", "probe_turn")
"""What no watch brings. It changes from pass to pass alone."""


class ReadyMonitor:
    """Once a second while children are written, compares the pods that were ready, their nodes and the
    Services with the store.

    Where one has changed, the resource is decided anew; of that, only a lost Ready is written. No two write
    status at a time: the pass awaits a check that has begun, and each write names the version before it.
    """

    def __init__(
        self,
        kube: RecordingClient,
        store: Store,
        observe: Callable[[], Awaitable[Observed | None]],
        decide: Callable[[Observed], ReconcileDecision],
        on_lost: Callable[[Observed, Observed, ReconcileDecision, Manifest], Awaitable[None]],
    ) -> None:
        """``on_lost``: awaited once it is written, with what was
        observed before and since, and with the resource as it is then."""
        self._kube, self._store = kube, store
        self._observe, self._decide, self._on_lost = observe, decide, on_lost
        self.is_lost = False
        """Whether that was written: the status that the pass has decided is outdated."""
        self.newest: ReconcileDecision | None = None
        """The last decision of the checks: what the pass must not undo."""

    @asynccontextmanager
    async def running(
        self, observed: Observed, raw: Manifest, status: LLMDeploymentStatus | None = None
    ) -> AsyncIterator[None]:
        """Checks until its body ends. ``status``: the one that is stored; None: that of ``raw``."""
        ended = asyncio.Event()
        if status:
            raw = {**raw, "status": status.to_wire()}
            resource = observed.resource.model_copy(update={"status": status})
            observed = dataclasses.replace(observed, resource=resource)
        checks = asyncio.create_task(self._check_until(ended, observed, raw))
        try:
            yield
        except BaseException:
            checks.cancel()
            raise
        finally:
            ended.set()
            try:
                await asyncio.wait((checks,))
            except asyncio.CancelledError:  # else it would write after the Lease is released
                checks.cancel()
                await asyncio.wait((checks,))
                raise
        checks.result()

    async def _check_until(self, ended: asyncio.Event, observed: Observed, raw: Manifest) -> None:
        namespace = str(raw["metadata"]["namespace"])
        while True:
            try:
                async with asyncio.timeout(CHECK_SECONDS):
                    await ended.wait()
                    return
            except TimeoutError:
                if not is_ready(stored_status(raw)):  # read here: most bodies end sooner
                    return
                if not self._serves(observed, namespace):
                    observed, raw = await self._checked(observed, raw)

    def _serves(self, observed: Observed, namespace: str) -> bool:
        """Whether the pods that were ready, their nodes and the Services are as they were."""
        ready = [pod for pod in observed.pods if PodView(pod).ready]
        return (
            on_nodes(ready, self._store.nodes()) == tuple(ready)
            and all(self._is_known("Pod", namespace, pod["metadata"]) for pod in ready)
            and all(self._is_known("Service", namespace, item["metadata"]) for item in observed.services)
        )

    def _is_known(self, kind: str, namespace: str, item: Manifest) -> bool:
        found = self._store.find(kind, namespace, item["name"])
        return found == (item.get("uid"), item.get("resourceVersion"))

    async def _checked(self, observed: Observed, raw: Manifest) -> tuple[Observed, Manifest]:
        """Writes that Ready is lost, if it is. Returns what the next check begins with."""
        namespace, written = raw["metadata"]["namespace"], tuple(self._kube.written.values())
        if self._store.is_stale(namespace) or not await seen(self._store, written, CHECK_SECONDS):
            return observed, raw
        try:
            found = await self._observe()
            if found is None:
                return observed, raw
            kept = {name: getattr(observed, name) for name in OF_PASSES}
            found = dataclasses.replace(found, **kept)
            decision = self.newest = self._decide(found)
            status = status_until_service(found, decision, self._decide)
        except (ApiError, UndecidedResource):  # the next pass says why
            return observed, raw
        present = await write_early(self._kube, raw, status)
        if present is not raw:
            self.is_lost = True
            await self._on_lost(observed, found, dataclasses.replace(decision, status=status), present)
        is_refused = present is raw and status is not None and not is_ready(status)
        return (observed if is_refused else found), present


def without_status_events(observed: Observed, decision: ReconcileDecision) -> ReconcileDecision:
    """``decision`` without the events of its status, which is not written. Those of what it makes stay, as of
    a revision: no later decision has them."""
    former = observed.resource.status
    of_status = transition_events(former, decision.status or former)
    events = tuple(item for item in decision.events if item not in of_status)
    return dataclasses.replace(decision, events=events)
