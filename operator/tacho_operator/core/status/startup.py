"""Where the time of a pod's start went: what its own times and the runtime's report say."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime

from tacho_contract.report import Report, StartupSeconds
from tacho_contract.times import parse_time
from tacho_operator.api.base import exact, seconds
from tacho_operator.api.types import Startup
from tacho_operator.core import names
from tacho_operator.core.pods.view import PodView


@dataclass(frozen=True, slots=True, kw_only=True)
class PodTimes:
    """When a pod came how far. None: not yet, or unknown."""

    created: datetime | None = None
    scheduled: datetime | None = None
    injected: datetime | None = None
    """The runtime was copied: from here on only images are waited for."""
    started: datetime | None = None
    """The engine container runs."""
    restarted: bool = False
    """A container's restart is a new start, and nothing was scheduled or pulled for it."""


def latest_startup(
    pods: Iterable[PodView], reports: Mapping[str, Report], former: Startup | None
) -> Startup | None:
    """Of the youngest pod that reports; ``former`` where none does: unknown is not zero."""
    reporting = [pod for pod in pods if not pod.terminating and pod.uid in reports]
    if not reporting:
        return former
    pod = max(reporting, key=lambda item: (str(item.raw["metadata"].get("creationTimestamp")), item.name))
    return startup_of(reports[pod.uid], pod_times(pod))


def pod_times(pod: PodView) -> PodTimes:
    engine, inject = pod.container(names.ENGINE_CONTAINER), pod.container(names.INJECT_CONTAINER)
    return PodTimes(
        created=pod.created,
        scheduled=pod.condition_time("PodScheduled"),
        injected=parse_time(((inject.terminated if inject else None) or {}).get("finishedAt")),
        started=engine.running_since if engine else None,
        restarted=engine is None or engine.restarts > 0,
    )


def startup_of(report: Report, times: PodTimes) -> Startup:
    spent, fetch = report.startup, report.fetch
    first = not times.restarted
    ahead = _between(times.created, times.started) if first else 0.0
    total = None if spent.total is None or ahead is None else spent.total + ahead
    return Startup(
        schedule_seconds=seconds(_between(times.created, times.scheduled)) if first else None,
        image_seconds=seconds(_between(times.injected, times.started)) if first else None,
        # After a restart the model was there, or what was left of it was waited for.
        download_seconds=seconds(spent.download if first or spent.model_wait is None else spent.model_wait),
        overlap_seconds=seconds(_overlap(spent)) if first else None,
        preflight_seconds=seconds(spent.preflight),
        verify_seconds=seconds(spent.verify),
        load_seconds=seconds(spent.load),
        compile_seconds=seconds(spent.compile),
        graph_seconds=seconds(spent.graphs),
        probe_seconds=seconds(spent.probe),
        total_seconds=seconds(total),
        downloaded_bytes=exact(fetch.bytes_done) if fetch and fetch.bytes_total else None,
        download_total_bytes=exact(fetch.bytes_total) if fetch and fetch.bytes_total else None,
    )


def _overlap(spent: StartupSeconds) -> float | None:
    """What of the download nobody had to wait for, because something else was going on."""
    if spent.download is None or spent.model_wait is None:
        return None
    return max(0.0, spent.download - spent.model_wait)


def _between(start: datetime | None, end: datetime | None) -> float | None:
    return None if start is None or end is None else (end - start).total_seconds()
