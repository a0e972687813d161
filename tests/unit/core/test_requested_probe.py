"""A request that one serving pod is to answer, for which it leaves the Service."""

from __future__ import annotations

import json
from datetime import datetime, timezone
from typing import Any

import pytest

from tacho_contract.launch import Again
from tacho_operator.core import names
from tacho_operator.core.measurement.requested_probe import (
    BEGIN_SECONDS,
    END_SECONDS,
    EVENT,
    ReprobePlan,
    former_request,
    hostname,
    plan_reprobe,
)
from tacho_operator.core.pods.view import PodView
from tacho_operator.core.types import ReconcileDecision
from tests.unit.core.measured_world import measured_world
from tools.harness.resources import changed
from tools.harness.world import MOCK_SPEC, World


def told(world: World) -> dict[str, str]:
    """What the pods are told of a request."""
    again: dict[str, str] = json.loads(world.objects["ConfigMap", "smol-live"]["data"]["live.json"])["again"]
    return again


def test_who_asks_to_disrupt_has_one_serving_pod_measured_and_no_other() -> None:
    world = measured_world(changed(MOCK_SPEC, replicas=2))
    assert told(world)["request"] == ""
    (before,) = world.status["measurements"]
    world.raw["metadata"]["annotations"] = {names.MEASURE_AGAIN_ANNOTATION: "disrupt-1"}
    world.reconcile(60)
    first, _ = world.pods("server")
    assert told(world) == {"request": "disrupt-1", "hostname": first["metadata"]["name"]}
    assert not world.pods("probe")
    world.runs(first, "Probing")
    for _ in range(3):
        world.reconcile(10)
        assert told(world)["hostname"] == first["metadata"]["name"], "not another one while it is away"
    world.serves(first, request="disrupt-1")
    world.settle()
    assert told(world) == {"request": "", "hostname": ""}
    (after,) = world.status["measurements"]
    assert after["observedTime"] > before["observedTime"]
    assert not world.pods("probe")
    world.remove_pod(first)
    world.settle(world.serve_all)
    assert told(world)["request"] == "", "it is answered, whoever has answered it"


def test_a_pod_that_is_gone_before_it_has_answered_leaves_the_request_to_another() -> None:
    world = measured_world(changed(MOCK_SPEC, replicas=2))
    world.raw["metadata"]["annotations"] = {names.MEASURE_AGAIN_ANNOTATION: "disrupt-1"}
    world.reconcile(1)
    first, second = world.pods("server")
    world.remove_pod(first)
    world.reconcile(1)
    assert told(world) == {"request": "disrupt-1", "hostname": second["metadata"]["name"]}


def asked_to_disrupt() -> tuple[World, dict[str, Any]]:
    """A pod was told to measure itself, and serves on."""
    world = measured_world()
    world.raw["metadata"]["annotations"] = {names.MEASURE_AGAIN_ANNOTATION: "disrupt-1"}
    world.reconcile(60)
    (pod,) = world.pods("server")
    assert told(world)["request"] == "disrupt-1"
    return world, pod


def given_up(decision: ReconcileDecision) -> str:
    """Why the request has ended without an answer."""
    return next((event.message for event in decision.noted_events if event.reason == EVENT), "")


def test_a_pod_whose_runtime_does_not_know_the_request_is_not_waited_for_for_ever() -> None:
    world, pod = asked_to_disrupt()
    decision = world.reconcile(100)
    assert decision.requeue_after_seconds is not None
    assert 0 < decision.requeue_after_seconds <= BEGIN_SECONDS - 100
    assert given_up(decision) == ""
    why = given_up(world.reconcile(BEGIN_SECONDS - 100))
    assert "its phase is Serving" in why
    assert pod["metadata"]["name"] in why
    assert told(world)["request"] == "", "it is not to measure itself later, when nobody expects it"
    for _ in range(3):
        assert given_up(world.reconcile(1000)) == "", "it is told once"
    world.raw["metadata"]["annotations"] = {names.MEASURE_AGAIN_ANNOTATION: "disrupt-2"}
    world.reconcile(1)
    assert told(world)["request"] == "disrupt-2"


def test_a_pod_that_has_begun_has_its_time_and_no_more() -> None:
    world, pod = asked_to_disrupt()
    world.runs(pod, "Probing")
    assert given_up(world.reconcile(BEGIN_SECONDS + 1)) == ""
    assert "its phase is Probing" in given_up(world.reconcile(END_SECONDS))


def test_a_pod_that_cannot_be_asked_has_as_much_time() -> None:
    world, pod = asked_to_disrupt()
    world.reports.pop(pod["metadata"]["uid"])
    assert given_up(world.reconcile(BEGIN_SECONDS + 1)) == ""
    assert "port 9400" in given_up(world.reconcile(END_SECONDS))


def test_where_nothing_is_measured_nobody_is_told_and_nobody_given_up() -> None:
    world = measured_world()
    world.change(probe={"policy": "Disabled"})
    world.raw["metadata"]["annotations"] = {names.MEASURE_AGAIN_ANNOTATION: "disrupt-1"}
    for _ in range(3):
        assert given_up(world.reconcile(END_SECONDS)) == ""
        assert told(world)["request"] == ""


@pytest.mark.parametrize("note", ["", "{", "[]", '{"request": 1}'])
def test_what_is_remembered_of_a_request_and_cannot_be_read_is_nothing(note) -> None:
    told = plan_reprobe(
        "disrupt-1", "", servers=(), reports={}, former=Again(), note=note, now=datetime.now(timezone.utc)
    )
    assert told == ReprobePlan()


def test_a_hostname_is_what_a_kubelet_makes_of_a_pods_name() -> None:
    long = PodView({"metadata": {"name": f"{'a' * 62}-b"}})
    assert hostname(long) == "a" * 62
    assert hostname(PodView({"metadata": {"name": "short-1"}})) == "short-1"
    assert former_request("{") == former_request("") == Again()
