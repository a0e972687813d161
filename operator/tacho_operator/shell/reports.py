"""Reads the reports of model pods."""

from __future__ import annotations

import asyncio
import functools
import logging
import random
from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from tacho_contract import codec
from tacho_contract.codec import DocumentError
from tacho_contract.launch import LiveConfig
from tacho_contract.report import REPORT_LIMIT_BYTES, Report
from tacho_operator.core.pods.view import PodView
from tacho_operator.core.types import Manifest
from tacho_operator.shell.pod_http import PodClient
from tacho_operator.shell.workqueue import Key

logger = logging.getLogger(__name__)

PATIENCE_SECONDS = 1.0
"""Seconds that a reconcile waits for reports, so that a slow pod delays no other resource."""
FINAL_SECONDS = 1800.0
"""Age in seconds, times a random factor of 1 to 2, after which a reconcile reads a final report again."""


def uncounted(_result: str) -> None:
    """Counter callback that does nothing."""


@dataclass(frozen=True, slots=True)
class CachedReport:
    """The last report of a pod, and which state of the pod it belongs to."""

    pod: str
    """Readiness, address and restart counts of the pod. The report is valid while these are unchanged."""
    text: bytes
    """The report as JSON: as objects, those of thousands of pods take three times as much memory."""
    until: float
    """Time on the event loop's clock at which the report is read again even if it was final."""
    serves: bool
    measure_key: str | None
    """Key of the pod's measurement; None: it has none."""
    request: str
    """Request that its measurement answers."""

    def is_final(self, pod: PodView, live: LiveConfig) -> bool:
        """Whether the pod's report will not change, so that it need not be read again.

        That is so for a pod that serves and was measured as requested, until the pod changes, which the watch
        shows.
        """
        if not self.serves or not pod.ready:
            return False
        if self.measure_key is None:
            return live.probe.policy == "Disabled"
        return self.measure_key == live.measure_key and live.again.request in ("", self.request)


class Reports:
    """Reads the reports of pods that start or are measured; keeps the last report of pods that serve.

    A reconcile waits for reports only a moment: a report that arrives later causes another reconcile.
    """

    def __init__(
        self,
        client: PodClient,
        *,
        late: Callable[[Key], None],
        counted: Callable[[str], None] = uncounted,
    ) -> None:
        self._client, self._late, self._counted = client, late, counted
        self._cache: defaultdict[Key, dict[str, CachedReport]] = defaultdict(dict)
        """By pod uid."""
        self._requests: dict[str, asyncio.Task[bool]] = {}
        self._slow: dict[str, set[Key]] = {}
        """For each pod whose request lasts, the resources to be reconciled once it has answered."""

    async def collect(self, key: Key, pods: Iterable[Manifest], live: str) -> dict[str, Report]:
        """The reports by pod uid; a pod that does not answer is absent: unknown, not failed.

        ``live``: the text of the pods' mounted settings.
        """
        # An unreadable text requests nothing that was measured.
        live_config = codec.read(LiveConfig, live) or LiveConfig(measure_key="")
        views = {view.uid: view for view in map(PodView, pods)}
        known, now, tasks = self._cache[key], asyncio.get_running_loop().time(), []
        for uid in known.keys() - views.keys():
            del known[uid]
        for uid, view in views.items():
            if not view.address or view.phase != "Running":
                known.pop(uid, None)
                continue
            last = known.get(uid)
            if last and last.pod == _stamp(view) and last.until > now and last.is_final(view, live_config):
                self._counted("held")
                continue
            if uid not in self._requests:
                task = asyncio.create_task(self._request(key, view))
                self._requests[uid] = task
                task.add_done_callback(functools.partial(self._answered, uid))
            tasks.append(self._requests[uid])
        if tasks:
            await asyncio.wait(tasks, timeout=PATIENCE_SECONDS)
            for uid in self._requests.keys() & views.keys():
                self._slow.setdefault(uid, set()).add(key)
        return {uid: codec.loads(Report, item.text) for uid, item in self._cache[key].items()}

    def _answered(self, uid: str, done: asyncio.Task[bool]) -> None:
        self._requests.pop(uid, None)
        slow = self._slow.pop(uid, set())
        if not done.cancelled() and done.result():
            for key in slow:
                self._late(key)

    def forget(self, key: Key) -> None:
        """Drops the reports of a deleted resource."""
        self._cache.pop(key, None)

    async def _request(self, key: Key, pod: PodView) -> bool:
        """Reads the report of one pod; returns whether it answered."""
        found = await self._client.get(pod.address, "/report", REPORT_LIMIT_BYTES)
        try:
            if found is None:
                raise DocumentError(f"no answer of at most {REPORT_LIMIT_BYTES} bytes")
            report = codec.loads(Report, found.body)
            if report.revision != pod.revision:
                raise DocumentError(f"a report of revision {report.revision}, not of {pod.revision}")
            if report.pod_uid not in ("", pod.uid):  # another namespace may have the same name and spec
                raise DocumentError(f"a report of pod {report.pod_uid}, not of {pod.uid}")
        except DocumentError as error:
            self._counted("silent")
            logger.debug("pod %s: no report: %s", pod.name, error)
            self._cache[key].pop(pod.uid, None)
            return False
        spread = 1.0 + random.random()  # noqa: S311 - spreads requests, guards nothing
        measured = report.measurement
        self._cache[key][pod.uid] = CachedReport(
            pod=_stamp(pod),
            text=found.body,
            until=asyncio.get_running_loop().time() + FINAL_SECONDS * spread,
            serves=report.phase == "Serving" and report.ready,
            measure_key=measured.measure_key if measured else None,
            request=measured.request if measured else "",
        )
        self._counted("answered")
        return True


def _stamp(pod: PodView) -> str:
    restarts = [f"{item.name}:{item.restarts}" for item in pod.containers()]
    return " ".join([str(pod.ready), pod.address, *restarts])
