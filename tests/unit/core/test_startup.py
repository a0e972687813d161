"""Where the time of a start went, and of which pod it is told."""

from __future__ import annotations

from typing import Any

import pytest

from tacho_contract.fetch import FetchProgress
from tacho_contract.report import Report, StartupSeconds
from tacho_operator.api.status.status import Startup
from tacho_operator.core.pods.view import PodView
from tacho_operator.core.status.progress import latest_startup
from tools.harness.documents import plain_report
from tools.harness.resources import at

SPENT = StartupSeconds(
    preflight=1.2,
    download=20.0,
    model_wait=17.6,
    verify=3.3,
    load=4.2,
    compile=5.0,
    graphs=2.0,
    probe=30.1,
    total=60.0,
)
PARTS = {
    "preflight_seconds": 1,
    "verify_seconds": 3,
    "load_seconds": 4,
    "compile_seconds": 5,
    "graph_seconds": 2,
    "probe_seconds": 30,
}
FIRST = {**PARTS, "download_seconds": 20, "overlap_seconds": 2}
AGAIN = {**PARTS, "download_seconds": 18}
"""A restart waits for what is left of the model, and nothing else goes on meanwhile."""
SCHEDULED = {"type": "PodScheduled", "status": "True", "lastTransitionTime": at(2)}
INJECTED = {"name": "inject", "state": {"terminated": {"exitCode": 0, "finishedAt": at(5)}}}
STARTED = {"name": "engine", "restartCount": 0, "state": {"running": {"startedAt": at(9)}}}


def pod(name: str = "p", created: float = 0, gone: bool = False, **status: Any) -> PodView:
    """Created at 0, on a node at 2, runtime copied at 5, engine started at 9."""
    metadata = {"name": name, "uid": name, "creationTimestamp": at(created)}
    if gone:
        metadata["deletionTimestamp"] = at(0)
    found = {
        "conditions": [SCHEDULED],
        "initContainerStatuses": [INJECTED],
        "containerStatuses": [STARTED],
        **status,
    }
    return PodView({"metadata": metadata, "status": found})


def report(spent: StartupSeconds = SPENT, fetch: FetchProgress | None = None) -> Report:
    return plain_report(observed_time=at(0), startup=spent, fetch=fetch)


@pytest.mark.parametrize(
    ("found", "spent", "startup"),
    [
        (pod(), SPENT, {**FIRST, "schedule_seconds": 2, "image_seconds": 4, "total_seconds": 69}),
        (pod(), StartupSeconds(), {"schedule_seconds": 2, "image_seconds": 4}),
        (pod(conditions=[]), SPENT, {**FIRST, "image_seconds": 4, "total_seconds": 69}),
        (pod(initContainerStatuses=[]), SPENT, {**FIRST, "schedule_seconds": 2, "total_seconds": 69}),
        (
            pod(containerStatuses=[{"name": "engine", "state": {"waiting": {}}}]),
            SPENT,
            {**AGAIN, "schedule_seconds": 2} | {"download_seconds": 20, "overlap_seconds": 2},
        ),
        # By a node's clock that is an hour behind, the engine started before the pod was made.
        (
            pod(
                startTime=at(3 - 3600),
                initContainerStatuses=[],
                containerStatuses=[STARTED | {"state": {"running": {"startedAt": at(9 - 3600)}}}],
            ),
            SPENT,
            {**FIRST, "schedule_seconds": 2, "total_seconds": 68},
        ),
        (
            pod(
                initContainerStatuses=[],
                containerStatuses=[STARTED | {"state": {"running": {"startedAt": at(9 - 3600)}}}],
            ),
            SPENT,
            {**FIRST, "schedule_seconds": 2},
        ),
        (
            pod(conditions=[{**SCHEDULED, "lastTransitionTime": at(-2)}], startTime=at(3)),
            SPENT,
            {**FIRST, "image_seconds": 4, "total_seconds": 64},
        ),
        # A restart is a new start: nothing was scheduled or pulled for it.
        (pod(containerStatuses=[STARTED | {"restartCount": 1}]), SPENT, {**AGAIN, "total_seconds": 60}),
        (pod(containerStatuses=[]), SPENT, {**AGAIN, "total_seconds": 60}),
    ],
)
def test_where_the_time_went(found: PodView, spent: StartupSeconds, startup: dict[str, int]) -> None:
    assert latest_startup([found], {"p": report(spent)}, None) == Startup(**startup)


@pytest.mark.parametrize(
    ("fetch", "done", "total"),
    [
        (None, None, None),
        (FetchProgress(state="Listing"), None, None),
        (FetchProgress(state="Downloading", bytes_done=0, bytes_total=10), 0, 10),
        (FetchProgress(state="Complete", bytes_done=10, bytes_total=10), 10, 10),
        (FetchProgress(state="Downloading", bytes_done=-1, bytes_total=2**53), None, None),
    ],
)
def test_what_was_downloaded(fetch: FetchProgress | None, done: int | None, total: int | None) -> None:
    found = latest_startup([pod()], {"p": report(fetch=fetch)}, None)
    assert found is not None
    assert (found.downloaded_bytes, found.download_total_bytes) == (done, total)


def test_the_youngest_pod_that_reports_is_told_of() -> None:
    def total(*pods: PodView, reporting: str) -> float | None:
        reports = {name: report(StartupSeconds(load=float(ord(name)))) for name in reporting}
        found = latest_startup(pods, reports, Startup(load_seconds=1))
        return found and found.load_seconds

    old, young, gone = pod("b", 0), pod("a", 5), pod("c", 9, gone=True)
    assert total(old, young, gone, reporting="abc") == ord("a")
    assert total(young, old, gone, reporting="bc") == ord("b")
    assert total(old, young, gone, reporting="c") == 1, "as it was: unknown is not zero"
