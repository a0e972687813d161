"""Where the time of the latest start went: what the pod's own times and the runtime's report say."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime

from tacho_contract.report import Report
from tacho_contract.times import parse_time
from tacho_operator.api.base import seconds
from tacho_operator.core.manifests import containers
from tacho_operator.core.pods.view import PodView
from tacho_operator.core.status.plan import present
from tacho_operator.core.types import Manifest


def startup_view(pods: Iterable[PodView], reports: Mapping[str, Report], before: Manifest | None) -> Manifest:
    """Of the youngest pod that reports; ``before`` where none does: unknown is not zero."""
    reporting = [pod for pod in pods if not pod.terminating and pod.uid in reports]
    if not reporting:
        return before or {}
    pod = max(reporting, key=lambda item: (str(item.raw["metadata"].get("creationTimestamp")), item.name))
    return _of(pod, reports[pod.uid])


def _of(pod: PodView, report: Report) -> Manifest:
    engine = pod.container(containers.ENGINE)
    first = engine is not None and engine.restarts == 0
    started = engine.running_since if engine else None
    spent = report.startup
    # A container's restart is a new start, and nothing was scheduled or pulled for it.
    ahead = _between(pod.created, started) if first else 0.0
    total = None if spent.total is None or ahead is None else spent.total + ahead
    fetch = report.fetch
    return present(
        {
            "scheduleSeconds": seconds(_between(pod.created, pod.condition_time("PodScheduled")))
            if first
            else None,
            "imageSeconds": seconds(_between(_injected(pod), started)) if first else None,
            "downloadSeconds": seconds(spent.download),
            "loadSeconds": seconds(spent.load),
            "probeSeconds": seconds(spent.probe),
            "totalSeconds": seconds(total),
            "downloadedBytes": _size(fetch.bytes_done) if fetch and fetch.bytes_total else None,
            "downloadTotalBytes": _size(fetch.bytes_total) if fetch and fetch.bytes_total else None,
        }
    )


def _injected(pod: PodView) -> datetime | None:
    inject = pod.container(containers.INJECT)
    return parse_time(((inject.terminated if inject else None) or {}).get("finishedAt"))


def _between(start: datetime | None, end: datetime | None) -> float | None:
    return None if start is None or end is None else (end - start).total_seconds()


def _size(reported: int) -> int | None:
    """A size JSON keeps exact; a pod may report anything."""
    return reported if 0 <= reported < 2**53 else None
