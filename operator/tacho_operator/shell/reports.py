"""Reads the reports of model pods. A pod is untrusted: small answers, no redirects, short patience."""

from __future__ import annotations

import asyncio
import functools
import logging
import random
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import httpx

from tacho_contract.codec import DocumentError, loads
from tacho_contract.launch import LiveConfig
from tacho_contract.pod import RUNTIME_PORT
from tacho_contract.report import REPORT_LIMIT_BYTES, Report
from tacho_operator.core.pods.view import PodView
from tacho_operator.core.types import Manifest
from tacho_operator.shell.workqueue import Key

logger = logging.getLogger(__name__)

TIMEOUT_SECONDS = 5.0
"""An engine that starves its own container of CPU makes a healthy runtime answer late."""

PATIENCE_SECONDS = 1.0
"""A reconcile waits so long for answers: a slow pod holds up no other resource."""
AT_ONCE = 32
FINAL_SECONDS = 1800.0
"""Age at which a final report is read again when its resource is reconciled: once to twice this time."""


def uncounted(_result: str) -> None:
    """Counter callback that does nothing."""


def report_url(pod: PodView) -> str | None:
    """URL of the pod's report; None while the pod has no address or does not run."""
    if not pod.address or pod.phase != "Running":
        return None
    host = f"[{pod.address}]" if ":" in pod.address else pod.address
    return f"http://{host}:{RUNTIME_PORT}/report"


async def _read(client: httpx.AsyncClient, url: str) -> Report:
    async with client.stream("GET", url) as response:
        if response.status_code != 200:
            raise DocumentError(f"HTTP {response.status_code}")
        body = b""
        async for chunk in response.aiter_raw():  # never inflated: a little gzip holds a lot of memory
            body += chunk
            if len(body) > REPORT_LIMIT_BYTES:
                raise DocumentError(f"more than {REPORT_LIMIT_BYTES} bytes")
    return loads(Report, body)


def is_final(report: Report, pod: PodView, live: LiveConfig) -> bool:
    """Whether another request would bring nothing new.

    The report of a pod that serves and was measured as requested stays the same until the pod changes, which
    the pod's watch shows.
    """
    measured = report.measurement
    if report.phase != "Serving" or not report.ready or not pod.ready:
        return False
    if measured is None:
        return live.probe.policy == "Disabled"
    return measured.measure_key == live.measure_key and live.again.request in ("", measured.request)


@dataclass(slots=True)
class KnownReport:
    """The last report of a pod."""

    pod: str
    """Readiness, address and restart counts of the pod: the report is valid while they are unchanged."""
    report: Report
    until: float
    """Time on the event loop's clock at which the report is read again even if it was final."""


class Reports:
    """Reads the reports of pods that start or measure; a pod that serves and was measured keeps its last
    report.

    At most ``at_once`` requests run at the same time. A reconcile waits for reports only a moment: a late
    report wakes its resource.
    """

    def __init__(
        self,
        client: httpx.AsyncClient,
        *,
        late: Callable[[Key], None],
        at_once: int = AT_ONCE,
        counted: Callable[[str], None] = uncounted,
    ) -> None:
        self._client = client
        self._late = late
        self._gate = asyncio.Semaphore(at_once)
        self._counted = counted
        self._known: dict[Key, dict[str, KnownReport]] = {}
        self._asking: dict[str, asyncio.Task[bool]] = {}

    async def collect(self, key: Key, pods: Iterable[Manifest], live: str) -> dict[str, Report]:
        """Reports by pod uid; ``live``: the text of their live configuration.

        A pod that does not answer is absent: unknown, not failed.
        """
        live_config = _live(live)
        known = self._known.setdefault(key, {})
        views = {view.uid: view for view in map(PodView, pods)}
        for uid in known.keys() - views.keys():
            del known[uid]
        tasks = []
        now = asyncio.get_running_loop().time()
        for uid, view in views.items():
            url = report_url(view)
            if url is None:
                known.pop(uid, None)
                continue
            last = known.get(uid)
            if (
                last
                and last.pod == _stamp(view)
                and last.until > now
                and is_final(last.report, view, live_config)
            ):
                self._counted("held")
                continue
            if uid not in self._asking:
                task = asyncio.create_task(self._ask(key, view, url))
                self._asking[uid] = task
                task.add_done_callback(functools.partial(self._answered, uid))
            tasks.append(self._asking[uid])
        if tasks:
            _, slow = await asyncio.wait(tasks, timeout=PATIENCE_SECONDS)
            for task in slow:
                task.add_done_callback(lambda done: self._came_late(key, done))
        if not known:
            self._known.pop(key, None)
        return {uid: item.report for uid, item in known.items()}

    def _answered(self, uid: str, _: object) -> None:
        self._asking.pop(uid, None)

    def _came_late(self, key: Key, done: asyncio.Task[bool]) -> None:
        if not done.cancelled() and done.result():
            self._late(key)

    def forget(self, key: Key) -> None:
        """The resource was deleted."""
        self._known.pop(key, None)

    async def _ask(self, key: Key, pod: PodView, url: str) -> bool:
        """Whether it answered."""
        try:
            async with self._gate, asyncio.timeout(TIMEOUT_SECONDS):
                report = await _read(self._client, url)
        except (httpx.HTTPError, TimeoutError, DocumentError) as error:
            self._counted("silent")
            logger.debug("pod %s: no report: %s", pod.name, error)
            self._known.get(key, {}).pop(pod.uid, None)
            return False
        self._counted("answered")
        spread = 1.0 + random.random()  # noqa: S311 - spreads requests, guards nothing
        until = asyncio.get_running_loop().time() + FINAL_SECONDS * spread
        self._known.setdefault(key, {})[pod.uid] = KnownReport(_stamp(pod), report, until)
        return True


def _stamp(pod: PodView) -> str:
    restarts = [f"{item.name}:{item.restarts}" for item in pod.containers()]
    return " ".join([str(pod.ready), pod.address, *restarts])


def _live(text: str) -> LiveConfig:
    try:
        return loads(LiveConfig, text) if text else LiveConfig(measure_key="")
    except DocumentError:
        return LiveConfig(measure_key="")  # it requests nothing that was measured


def report_client() -> httpx.AsyncClient:
    """No proxy of the operator's own environment comes between it and a pod."""
    return httpx.AsyncClient(
        timeout=TIMEOUT_SECONDS,
        follow_redirects=False,
        trust_env=False,
        headers={"Accept-Encoding": "identity"},
    )
