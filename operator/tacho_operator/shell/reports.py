"""Reads the reports of model pods over HTTP.

A pod is untrusted: small answers, no redirects, short timeouts. Threads read and parse them: 64 KiB in chunks
of one byte take seconds in an event loop's HTTP client.
"""

from __future__ import annotations

import asyncio
import dataclasses
import functools
import itertools
import logging
import random
import sys
import threading
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple
from weakref import WeakValueDictionary

from tacho_contract import codec
from tacho_contract.codec import DocumentError
from tacho_contract.launch import LiveConfig
from tacho_contract.pod import RUNTIME_PORT
from tacho_contract.report import REPORT_LIMIT_BYTES, Report
from tacho_operator.core.pods.view import PodView
from tacho_operator.core.types import Manifest
from tacho_operator.shell.loads import MAX_SILENT, ReadLimits, read_many
from tacho_operator.shell.report_cache import ReportCache, cached
from tacho_operator.shell.workqueue import Key

logger = logging.getLogger(__name__)

TIMEOUT_SECONDS = 5.0
"""Seconds to wait for a report. An engine that uses all CPU of its container makes a healthy runtime slow."""

PATIENCE_SECONDS = 1.0
"""Seconds that a reconcile waits for reports, so that a slow pod delays no other resource."""
AT_ONCE = 32
SILENT_AT_ONCE = 8
"""Most concurrent requests to pods that did not answer the last time, so that they do not delay others."""
NAMESPACE_SHARE = 4
"""Share of the threads that one namespace may use (1/4), as all its pods may be slow or silent."""
MOST_ITEMS = 2000
"""Most commas of a report; true ones have some hundreds."""
MOST_BYTES = 64 << 10
"""Largest report in bytes of memory.

64 KiB of JSON may take 340 KB: texts with one wide character, or points of a curve. True reports take 30 KB.
"""
MAX_HELD_BYTES = 64 << 20
"""Most bytes of memory of a resource's reports, shared evenly by its pods: 5,000 forged ones took
340 MiB. A resource of 1,000 replicas and as many of a candidate has room for true ones.
"""
STEP_SECONDS = 0.01
"""Seconds of unpacking after which other tasks may run."""
FINAL_SECONDS = 1800.0
"""Age in seconds, times a random factor of 1 to 2, after which a reconcile reads a final report again."""


def uncounted(_result: str) -> None:
    """Counter callback that does nothing."""


class ReportPod(NamedTuple):
    """What is needed of a pod until it has answered: thousands may wait for hours, of 50 KB each."""

    name: str
    uid: str
    address: str
    revision: str
    stamp: str


def _read_report(pod: ReportPod, most_bytes: int, is_needed: Callable[[], bool]) -> tuple[Report, int]:
    """Reads and parses one pod's report: (the report, its bytes of memory). Raises DocumentError, also where
    another pod has the address by now.
    """
    limits = ReadLimits(
        at_once=1,
        each_seconds=TIMEOUT_SECONDS,
        all_seconds=TIMEOUT_SECONDS,
        limit_bytes=REPORT_LIMIT_BYTES,
    )
    answers = read_many([pod.address], RUNTIME_PORT, "/report", limits=limits, is_needed=is_needed)
    found = answers.get(pod.address)
    if found is None:
        raise DocumentError(f"no answer of at most {REPORT_LIMIT_BYTES} bytes")
    if found.body.count(b",") > MOST_ITEMS:
        raise DocumentError(f"a report of more than {MOST_ITEMS} items")
    report = codec.loads(Report, found.body)
    if report.revision != pod.revision:
        raise DocumentError(f"a report of revision {report.revision}, not of {pod.revision}")
    if report.pod_uid not in ("", pod.uid):  # another namespace may have the same name and spec
        raise DocumentError(f"a report of pod {report.pod_uid}, not of {pod.uid}")
    if (size := memory_bytes(report)) > most_bytes:
        raise DocumentError(f"a report that takes {size} bytes of memory, more than {most_bytes}")
    return report, size


def memory_bytes(document: Any) -> int:
    """About how many bytes of memory a contract object takes, with all its parts."""
    parts: Iterable[Any] = ()
    if dataclasses.is_dataclass(document):
        parts = (getattr(document, part.name) for part in dataclasses.fields(document))
    elif isinstance(document, dict):
        parts = itertools.chain(document, document.values())
    elif isinstance(document, tuple):
        parts = document
    return sys.getsizeof(document) + sum(memory_bytes(part) for part in parts if part is not None)


class Reports:
    """Reads the reports of pods that start or are measured; keeps the last report of pods that serve.

    A reconcile waits for reports only a moment: a report that arrives later causes another reconcile.
    """

    def __init__(self, *, late: Callable[[Key], None], counted: Callable[[str], None] = uncounted) -> None:
        self._late = late
        self._threads = ThreadPoolExecutor(AT_ONCE, "report")
        self._silent_threads = ThreadPoolExecutor(SILENT_AT_ONCE, "report of a silent pod")
        self._silent: dict[str, None] = {}
        """Uids of pods that did not answer the last request."""
        self._shares: WeakValueDictionary[tuple[str, bool], asyncio.Semaphore] = WeakValueDictionary()
        """Semaphore for each (namespace, whether its silent pods), while one of its pods is being asked."""
        self._counted = counted
        self._cache = ReportCache()
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
        most_bytes = min(MOST_BYTES, MAX_HELD_BYTES // max(1, len(views)))
        for uid in self._cache.of(key).keys() - views.keys():
            self._cache.drop(key, uid)
        tasks = []
        now = asyncio.get_running_loop().time()
        for uid, view in views.items():
            if not view.address or view.phase != "Running":
                self._cache.drop(key, uid)
                continue
            last = self._cache.of(key).get(uid)
            if (
                last
                and last.pod == _stamp(view)
                and last.until > now
                and last.size <= most_bytes
                and last.is_final(view, live_config)
            ):
                self._counted("held")
                continue
            if uid not in self._requests:
                pod = ReportPod(view.name, uid, view.address, view.revision, _stamp(view))
                task = asyncio.create_task(self._request(key, pod, most_bytes))
                self._requests[uid] = task
                task.add_done_callback(functools.partial(self._answered, uid))
            tasks.append(self._requests[uid])
        if tasks:
            await asyncio.wait(tasks, timeout=PATIENCE_SECONDS)
            for uid in self._requests.keys() & views.keys():
                self._slow.setdefault(uid, set()).add(key)
        return await self._unpacked(key)

    async def _unpacked(self, key: Key) -> dict[str, Report]:
        found: dict[str, Report] = {}
        rested = time.monotonic()
        for uid, item in tuple(self._cache.of(key).items()):
            found[uid] = item.report
            if time.monotonic() - rested >= STEP_SECONDS:
                await asyncio.sleep(0)
                rested = time.monotonic()
        return found

    def _answered(self, uid: str, done: asyncio.Task[bool]) -> None:
        self._requests.pop(uid, None)
        slow = self._slow.pop(uid, set())
        if not done.cancelled() and done.result():
            for key in slow:
                self._late(key)

    def forget(self, key: Key) -> None:
        """Drops the reports of a deleted resource."""
        self._cache.forget(key)

    async def _request(self, key: Key, pod: ReportPod, most_bytes: int) -> bool:
        """Reads the report of one pod; returns whether it answered."""
        leaving = threading.Event()
        is_silent = pod.uid in self._silent
        threads, at_once = (self._silent_threads, SILENT_AT_ONCE) if is_silent else (self._threads, AT_ONCE)
        share = asyncio.Semaphore(max(1, at_once // NAMESPACE_SHARE))
        share = self._shares.setdefault((key.namespace, is_silent), share)
        reading = functools.partial(_read_report, pod, most_bytes, lambda: not leaving.is_set())
        self._silent.pop(pod.uid, None)
        try:
            async with share:
                report, size = await asyncio.get_running_loop().run_in_executor(threads, reading)
            spread = 1.0 + random.random()  # noqa: S311 - spreads requests, guards nothing
            until = asyncio.get_running_loop().time() + FINAL_SECONDS * spread
            if not self._cache.put(key, pod.uid, cached(report, pod.stamp, size, until)):
                raise DocumentError("the reports of its namespace leave no place")
        except DocumentError as error:
            self._counted("silent")
            logger.debug("pod %s: no report: %s", pod.name, error)
            self._cache.drop(key, pod.uid)
            self._silent[pod.uid] = None
            if len(self._silent) > MAX_SILENT:
                del self._silent[next(iter(self._silent))]
            return False
        finally:
            leaving.set()  # a thread cannot be cancelled
        self._counted("answered")
        return True


def _stamp(pod: PodView) -> str:
    restarts = [f"{item.name}:{item.restarts}" for item in pod.containers()]
    return " ".join([str(pod.ready), pod.address, *restarts])
