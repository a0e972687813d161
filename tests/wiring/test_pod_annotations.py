"""The annotations by which inspect and probe pods are known, where a policy or a user removes them."""

from __future__ import annotations

from typing import Any, cast

import pytest

from tacho_operator.core import names
from tacho_operator.core.types import Observed, ReconcileDecision
from tacho_operator.shell.child_backoff import Backoff
from tacho_operator.shell.execute import execute
from tacho_operator.shell.kube import Kube
from tests.unit.core.inspecting import hub_world
from tests.unit.core.measured_world import NEW_WORKLOAD, measured_world
from tests.wiring.test_execute import RAW, Server, child
from tools.harness.resources import NOW, resource
from tools.harness.world import World

ATTEMPT = {names.ATTEMPT_ANNOTATION: "1"}


@pytest.mark.parametrize("present", [{}, {names.ATTEMPT_ANNOTATION: "2"}])
async def test_a_pod_gets_them_again(present: dict[str, str]) -> None:
    server = Server()
    held = child("Pod", "now", uid="live", annotations=present)
    observed = Observed(raw=RAW, resource=resource(), pods=(held,))
    desired = child("Pod", "now", annotations={**ATTEMPT, "sidecar.istio.io/inject": "false"})
    decision = ReconcileDecision(status=None, reason="", now=NOW, apply=(desired,))
    done = await execute(cast(Kube, server), observed, decision, Backoff())
    assert (done.refusals, server.requests) == ((), [f"label child {[names.ATTEMPT_ANNOTATION]}"])


def with_probe() -> World:
    world = measured_world()
    world.change(workload=NEW_WORKLOAD)
    world.reconcile(1)
    return world


def inspected() -> World:
    world = hub_world()
    world.reconcile()
    return world


@pytest.mark.parametrize(
    ("role", "annotation"),
    [("inspect", names.ATTEMPT_ANNOTATION), ("probe", names.MEASURE_KEY_ANNOTATION)],
)
def test_a_pod_that_lost_one_is_not_deleted_and_created_for_ever(role: str, annotation: str) -> None:
    """A policy removed it from each one: a pod was created and deleted each second, and no status said it."""
    world: Any = inspected() if role == "inspect" else with_probe()
    (pod,) = world.pods(role)
    del pod["metadata"]["annotations"][annotation]
    decision = world.decision()
    name = pod["metadata"]["name"]
    assert name in [item["metadata"]["name"] for item in decision.apply if item["kind"] == "Pod"]
    assert name not in [item.name for item in decision.delete if item.kind == "Pod"]
