"""How far a pod that is not ready yet has come, in the words of the Ready condition."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from tacho_contract.fetch import FetchProgress
from tacho_contract.report import Report
from tacho_contract.units import part_of
from tacho_operator.api.conditions import Reason
from tacho_operator.core import names
from tacho_operator.core.pods.view import PodView
from tacho_operator.core.status.snapshot import Progress

_ORDER = (
    Reason.STARTING,
    Reason.SCHEDULING,
    Reason.PULLING_IMAGES,
    Reason.DOWNLOADING,
    Reason.LOADING,
    Reason.MEASURING,
)


def progress(pods: Iterable[PodView], reports: Mapping[str, Report]) -> Progress:
    """Of the pod that is nearest to serving."""
    found = [_of(pod, reports.get(pod.uid)) for pod in pods if not pod.terminating]
    if not found:
        return Progress()
    return max(found, key=lambda step: _ORDER.index(step.reason))


def _of(pod: PodView, report: Report | None) -> Progress:
    if not pod.node:
        return Progress(reason=Reason.SCHEDULING, message=f"Pod {pod.name} waits for a node.")
    engine = pod.container(names.ENGINE_CONTAINER)
    running = engine is not None and engine.running_since is not None
    if report is not None and running:
        return _reported(pod, report)
    if not running and engine is not None and (engine.waiting or {}).get("reason") == "CrashLoopBackOff":
        return Progress(reason=Reason.STARTING, message=f"Pod {pod.name} is started again after a pause.")
    if running:
        return Progress(reason=Reason.LOADING, message=f"Pod {pod.name} runs; the engine is being started.")
    return Progress(
        reason=Reason.PULLING_IMAGES, message=f"Node {pod.node} pulls the images of pod {pod.name}."
    )


def _reported(pod: PodView, report: Report) -> Progress:
    if report.phase == "WaitingForModel":
        return Progress(reason=Reason.DOWNLOADING, message=f"Pod {pod.name}: {downloading(report.fetch)}.")
    if report.phase in ("Preflight", "Starting"):
        return Progress(reason=Reason.LOADING, message=f"Pod {pod.name}: the engine loads the model.")
    if report.phase == "Probing":
        return Progress(
            reason=Reason.MEASURING, message=f"Pod {pod.name} is measured before traffic reaches it."
        )
    if report.phase == "Serving":
        return Progress(
            reason=Reason.STARTING,
            message=f"Pod {pod.name}: the engine serves, but the pod's readiness check does not pass.",
        )
    return Progress(reason=Reason.STARTING, message=f"Pod {pod.name} is in phase {report.phase}.")


def downloading(fetch: FetchProgress | None) -> str:
    """``downloading 1.2 of 4.4 GB (27 %)``."""
    if fetch is None or not fetch.bytes_total:
        return "downloading the model"
    if fetch.state == "Verifying":
        return f"verifying {part_of(fetch.verified_bytes, fetch.bytes_total)} of the model in the cache"
    share = 100 * fetch.bytes_done // fetch.bytes_total
    resumed = f", {part_of(fetch.resumed_bytes, fetch.bytes_total)} resumed" if fetch.resumed_bytes else ""
    return f"downloading {part_of(fetch.bytes_done, fetch.bytes_total)} ({share} %{resumed})"
