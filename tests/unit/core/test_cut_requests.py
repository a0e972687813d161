"""Requests that a drain has cut: reported once, with number and pod, and never where none were."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tacho_contract import codec
from tacho_contract.failure import Failure
from tacho_contract.report import CutRequests
from tacho_operator.core import names
from tacho_operator.core.pods.cut_requests import (
    MAX_DRAIN_SECONDS,
    MAX_EVENTS,
    MAX_REPORTED,
    report_cut_requests,
)
from tacho_operator.core.pods.view import views
from tools.harness.resources import at
from tools.harness.world import World


def served() -> World:
    world = World()
    world.come_up()
    return world


def end(pod: dict[str, Any], message: str, *, exit_code: int = 0) -> None:
    """The pod terminates, and its engine has ended with this message."""
    pod["metadata"]["deletionTimestamp"] = at(0)
    ended = {"exitCode": exit_code, "message": message, "finishedAt": at(0)}
    pod["status"]["containerStatuses"][0]["state"] = {"terminated": ended}


def cut(count: int | None = 3, drain_seconds: int = 100, **fields: Any) -> str:
    return codec.dumps(CutRequests(drain_seconds=drain_seconds, cut_requests=count, **fields))


def reasons(world: World) -> list[tuple[str, str]]:
    return [event for event in world.events if event[1] == "RequestsCut"]


def test_what_a_drain_has_cut_is_one_event_with_number_pod_and_remedy() -> None:
    world = served()
    (pod,) = world.pods("server")
    end(pod, cut())
    decision = world.reconcile(1)
    (event,) = [item for item in decision.noted_events if item.reason == "RequestsCut"]
    assert event.type == "Warning"
    assert f"Pod {pod['metadata']['name']} ended with 3 requests unfinished, 100 s after" in event.message
    assert "terminationGracePeriodSeconds above 120." in event.message
    assert decision.cut_requests == 3
    for _ in range(3):
        assert world.reconcile(5).cut_requests == 0
    assert len(reasons(world)) == 1, "another process, too, knows it from the note"
    world.remove_pod(pod)
    world.reconcile(1)
    (live,) = [item for (_, name), item in world.objects.items() if name.endswith("-live")]
    assert names.CUT_ANNOTATION not in live["metadata"].get("annotations", {})


@pytest.mark.parametrize(
    "message",
    [
        "",
        "the last line of a log",
        cut(0),
        cut(-1),
        cut(2**62),
        cut(drain_seconds=-1),
        cut(drain_seconds=MAX_DRAIN_SECONDS + 1),
        codec.dumps(Failure(failure_class="EngineCrashed", message="m", next_step="n")),
        json.dumps({"drainSeconds": "x"}),
        "[" * 4000,
    ],
)
def test_nothing_is_reported_where_nothing_was_cut(message: str) -> None:
    world = served()
    end(world.pods("server")[0], message)
    assert world.reconcile(1).cut_requests == 0
    assert not reasons(world)


def test_a_failed_engine_has_a_failure_and_no_cut_requests() -> None:
    world = served()
    end(world.pods("server")[0], cut(), exit_code=1)
    world.reconcile(1)
    assert not reasons(world)


def test_what_is_not_counted_is_said_and_not_summed() -> None:
    world = served()
    (pod,) = world.pods("server")
    end(pod, cut(None))
    unknown = report_cut_requests(views([pod], "server"), "", 120)
    assert "an unknown number of requests" in unknown.events[0].message
    end(pod, cut(2, are_connections=True))
    connections = report_cut_requests(views([pod], "server"), "", 120)
    assert "2 connections" in connections.events[0].message
    assert unknown.requests == connections.requests == 0


def test_the_note_stays_small_however_many_pods_end() -> None:
    world = served()
    (pod,) = world.pods("server")
    end(pod, cut())
    pods = [
        {**pod, "metadata": {**pod["metadata"], "uid": f"uid-{index}"}} for index in range(2 * MAX_REPORTED)
    ]
    found = report_cut_requests(views(pods, "server"), "", 120)
    assert len(found.note) < 16 * 1024
    assert len(found.events) == MAX_EVENTS + 1
    assert (
        found.events[-1].message == f"{MAX_REPORTED - MAX_EVENTS} more pods ended with unfinished requests."
    )
    assert found.requests == 3 * MAX_REPORTED, "all are counted"
    assert not report_cut_requests(views(pods, "server"), found.note, 120).events
