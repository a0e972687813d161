"""Progress of the starting pod that is nearest to serving, and how long the last start took."""

from __future__ import annotations

import enum
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime

from tacho_contract.fetch import FetchProgress
from tacho_contract.report import Report, StartupSeconds
from tacho_contract.units import clipped, part_of
from tacho_operator.api.base import exact, seconds
from tacho_operator.api.conditions import Reason
from tacho_operator.api.status.status import Startup
from tacho_operator.core import names
from tacho_operator.core.pods.view import UNKNOWN_PHASE, PodView
from tacho_operator.core.problems import with_full_stop


class _Step(enum.IntEnum):
    """The steps of a pod's start in order, to find the pod that is nearest to serving."""

    UNKNOWN = enum.auto()
    UNSCHEDULED = enum.auto()
    UNPREPARED = enum.auto()
    PAUSED = enum.auto()
    PULLING = enum.auto()
    CHECKING = enum.auto()
    DOWNLOADING = enum.auto()
    LOADING = enum.auto()
    MEASURING = enum.auto()
    SERVING = enum.auto()


_PHASES = {
    "Preflight": (_Step.CHECKING, Reason.STARTING, ": the runtime checks the container and the machine."),
    "Starting": (_Step.LOADING, Reason.LOADING, ": the engine loads the model."),
    "Probing": (_Step.MEASURING, Reason.MEASURING, " is measured before it receives requests."),
    "Serving": (_Step.SERVING, Reason.STARTING, ": the engine serves, but the readiness check fails."),
}
"""By the phase that a pod's runtime reports: step, reason of condition Ready, and end of its message."""


WHY_LIMIT_CHARS = 200
"""Length to which a pod's own words are cut."""


@dataclass(frozen=True, slots=True)
class PodProgress:
    """Reason and message of the condition Ready while a pod starts."""

    reason: Reason = Reason.STARTING
    message: str = "Pods are being created."
    unscheduled: str = ""
    """Why the scheduler finds no node for it, in its words."""


def progress(pods: Iterable[PodView], reports: Mapping[str, Report]) -> PodProgress:
    """The progress of the starting pod that is nearest to serving."""
    found = [(_container_step(pod, reports.get(pod.uid)), pod) for pod in pods if not pod.terminating]
    if not found:
        return PodProgress()
    (step, reason, message), pod = max(found, key=lambda item: item[0][0])
    unscheduled = pod.condition("PodScheduled").message if step == _Step.UNSCHEDULED else ""
    return PodProgress(reason, message, unscheduled)


def _container_step(pod: PodView, report: Report | None) -> tuple[_Step, Reason, str]:
    if pod.phase == UNKNOWN_PHASE:  # its node may be unknown, too
        return _Step.UNKNOWN, Reason.STARTING, f"The state of pod {pod.name} is unknown."
    if not pod.node:
        return _Step.UNSCHEDULED, Reason.SCHEDULING, f"Pod {pod.name} waits for a node."
    engine = pod.container(names.ENGINE_CONTAINER)
    running = engine is not None and engine.running_since is not None
    if pod.unprepared_since is not None:
        text = f"Node {pod.node} mounts the volumes of pod {pod.name} and sets up its network."
        return _Step.UNPREPARED, Reason.STARTING, text
    if report is not None and running:
        return _reported(pod, report)
    if not running and engine is not None and engine.waiting_reason == "CrashLoopBackOff":
        return _Step.PAUSED, Reason.STARTING, f"Pod {pod.name} restarts after a pause."
    if running:
        return _Step.LOADING, Reason.LOADING, f"Pod {pod.name} runs; the engine starts."
    return _Step.PULLING, Reason.PULLING_IMAGES, f"Node {pod.node} pulls the images of pod {pod.name}."


def _reported(pod: PodView, report: Report) -> tuple[_Step, Reason, str]:
    if report.phase == "WaitingForModel":
        return _Step.DOWNLOADING, Reason.DOWNLOADING, f"Pod {pod.name}: {downloading(report.fetch)}."
    other = (_Step.CHECKING, Reason.STARTING, f" is in phase {report.phase}.")
    step, reason, text = _PHASES.get(report.phase, other)
    if step == _Step.SERVING and report.ready:
        text = ": the engine is ready, which the kubelet's readiness check has yet to confirm."
        if why := clipped(pod.unready_because, WHY_LIMIT_CHARS):
            text = f": the engine is ready, the pod is not: {with_full_stop(why)}"
    elif step == _Step.SERVING and report.message:
        text += f" It reports: {clipped(report.message, WHY_LIMIT_CHARS)}."
    return step, reason, f"Pod {pod.name}{text}"


def downloading(fetch: FetchProgress | None) -> str:
    """The progress of a download as text, for example ``downloading 1.2 of 4.4 GB (27 %)``."""
    if fetch is None or not fetch.bytes_total:
        return "downloading the model"
    if fetch.state == "Verifying":
        return f"verifying {part_of(fetch.verified_bytes, fetch.bytes_total)} of the model in the cache"
    share = 100 * fetch.bytes_done // fetch.bytes_total
    resumed = f", {part_of(fetch.resumed_bytes, fetch.bytes_total)} resumed" if fetch.resumed_bytes else ""
    return f"downloading {part_of(fetch.bytes_done, fetch.bytes_total)} ({share} %{resumed})"


@dataclass(frozen=True, slots=True, kw_only=True)
class PodTimes:
    """The times at which a pod reached each step of its start. None: not reached, or unknown."""

    created: datetime | None = None
    scheduled: datetime | None = None
    injected: datetime | None = None
    """When the runtime had been copied into the pod; from then on the pod only waits for images."""
    started: datetime | None = None
    """When the engine container started."""
    ahead_seconds: float | None = None
    """Seconds from the creation to the start of the engine container."""
    restarted: bool = False
    """Whether the container was restarted: then nothing was scheduled or pulled for its start."""


def latest_startup(
    pods: Iterable[PodView], reports: Mapping[str, Report], former: Startup | None
) -> Startup | None:
    """status.startup: seconds of each step of the youngest reporting pod's start.

    ``former`` where no pod reports, as unknown is not zero.
    """
    reporting = [pod for pod in pods if not pod.terminating and pod.uid in reports]
    if not reporting:
        return former
    pod = max(reporting, key=lambda item: item.age_order)
    return startup_of(reports[pod.uid], pod_times(pod))


def pod_times(pod: PodView) -> PodTimes:
    engine, inject = pod.container(names.ENGINE_CONTAINER), pod.container(names.INJECT_CONTAINER)
    inject_end = inject.terminated if inject else None
    started = engine.running_since if engine else None
    return PodTimes(
        created=pod.created,
        scheduled=pod.condition_time("PodScheduled"),
        injected=inject_end.finished if inject_end else None,
        started=started,
        ahead_seconds=pod.start_seconds(started),
        restarted=engine is None or engine.restarts > 0,
    )


def startup_of(report: Report, times: PodTimes) -> Startup:
    spent, fetch = report.startup, report.fetch
    first = not times.restarted
    ahead = times.ahead_seconds if first else 0.0
    total = None if spent.total is None or ahead is None else spent.total + ahead
    return Startup(
        schedule_seconds=seconds(_seconds_between(times.created, times.scheduled)) if first else None,
        image_seconds=seconds(_seconds_between(times.injected, times.started)) if first else None,
        # After a restart the model is there, or the rest of it is downloaded.
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
    """Seconds of the download that passed in parallel with other steps of the start; None: unknown."""
    if spent.download is None or spent.model_wait is None:
        return None
    return max(0.0, spent.download - spent.model_wait)


def _seconds_between(start: datetime | None, end: datetime | None) -> float | None:
    # Of two clocks the end may come first.
    return None if start is None or end is None or end < start else (end - start).total_seconds()
