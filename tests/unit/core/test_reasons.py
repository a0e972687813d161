"""Every reason and class that docs/reference/conditions.md names can be met, in a world each.

What nothing gives yet is marked as planned, stays out of the page, and no code names it.
"""

from __future__ import annotations

import ast
import dataclasses
import functools
from collections.abc import Callable
from pathlib import Path

import pytest

from tacho_contract.failure import FAILURE_KINDS
from tacho_operator.api.conditions import ConditionType, Reason
from tacho_operator.api.crd.schema import WAITING
from tacho_operator.core.rollout.record import MIN_READY_SECONDS
from tacho_operator.core.types import ChildRefusal
from tests.unit.core.gated import RECORD, Gated, rejected
from tests.unit.core.scaling import SCALED, refused, scaled, written_by_another
from tools.harness.figures import CAPACITY, point
from tools.harness.resources import at, facts
from tools.harness.world import MOCK_SPEC, World, changed
from tools.troubleshooting import ANY_FAILURE, condition_rows

ROOT = Path(__file__).parents[3]
DISTURBED = ("Contended",)
SMALLER = {"maxModelLen": 1024, "concurrency": 2}
NEW_WORKLOAD = {"inputTokens": 900, "outputTokens": 10}


def fresh(**fields: object) -> World:
    world = World(changed(MOCK_SPEC, **fields))
    world.reconcile()
    return world


def unstarted(**fields: object) -> World:
    world = fresh(**fields)
    world.inspected(facts())
    world.reconcile(1)
    return world


def starting(phase: str = "", node: str = "", **fields: object) -> World:
    world = unstarted(**fields)
    world.deployment_controller()
    (pod,) = world.pods("server")
    if node:
        pod["spec"]["nodeName"] = node
    if phase:
        world.runs(pod, phase)
    world.reconcile(1)
    return world


def serving(**fields: object) -> World:
    world = World(changed(MOCK_SPEC, **fields))
    world.come_up()
    return world


def after(world: World, **fields: object) -> World:
    world.change(**fields)
    world.reconcile(1)
    return world


def settled(world: World) -> World:
    world.settle(world.serve_all)
    return world


def measured_with(state: str, **fields: object) -> World:
    world = unstarted()
    world.deployment_controller()
    figures = {"capacity": None, "curve": ()} if state == "Failed" else {}
    world.serves(world.pods("server")[0], state=state, **figures, **fields)
    world.settle()
    return world


FLAT = dataclasses.replace(CAPACITY, boundary="Plateau")


def without_room_for_a_probe() -> World:
    world = after(serving(), workload=NEW_WORKLOAD)
    (probe,) = world.pods("probe")
    world.remove_pod(probe)
    world.refusals = (ChildRefusal(kind="Pod", name="x", role="probe", message="exceeded quota"),)
    world.reconcile(1)
    return world


def behind_a_policy() -> World:
    world = starting("Serving")
    (pod,) = world.pods("server")
    world.runs(pod, "Serving", ready=True)
    world.reports.clear()
    world.reconcile(100)
    return world


def with_a_slow_pod() -> World:
    world = after(serving(), replicas=2)
    world.deployment_controller()
    (pod,) = [pod for pod in world.pods("server") if "status" not in pod]
    world.serves(pod, kind="Check", capacity=None, curve=(point(4, 100.0),))
    world.reconcile(1)
    return world


def without_its_claim() -> World:
    world = World()
    world.claims = {"models": None}
    world.reconcile()
    return world


def without_an_answer() -> World:
    world = serving()
    world.unanswered = ChildRefusal(kind="Service", name="smol", message="failed calling webhook")
    world.reconcile(1)
    return world


def fallen_candidate() -> World:
    world = after(serving(), context=SMALLER)
    world.deployment_controller()
    (pod,) = [pod for pod in world.pods("server") if "status" not in pod]
    world.serves(pod)
    world.reconcile(MIN_READY_SECONDS)
    world.crash(pod)
    world.reconcile(1)
    return world


def recorded_regression() -> World:
    world, _ = rejected(rollout=RECORD)
    world.goes_on()
    return world


def changed_with_its_model() -> World:
    world = Gated()
    world.measures(world.candidate(engine={**MOCK_SPEC["engine"], "image": "other:1"}), flags=("SharedGPU",))
    world.goes_on()
    return world


def deleted(world: World | None = None) -> World:
    world = world or serving()
    world.raw["metadata"] |= {"deletionTimestamp": at(0), "finalizers": ["example.com/keep"]}
    for name in world.names("Pod"):
        del world.objects["Pod", name]
    world.reconcile(1)
    return world


_C, _R = ConditionType, Reason
WORLDS: dict[tuple[ConditionType, str, Reason], Callable[[], World]] = {
    (_C.READY, "True", _R.SERVING): serving,
    (_C.READY, "True", _R.PARTLY_SERVING): lambda: after(serving(), replicas=2),
    (_C.READY, "False", _R.SCALED_TO_ZERO): lambda: settled(unstarted(replicas=0)),
    (_C.READY, "False", _R.DELETING): deleted,
    (_C.READY, "False", _R.INSPECTING): fresh,
    (_C.READY, "False", _R.STARTING): unstarted,
    (_C.READY, "False", _R.SCHEDULING): starting,
    (_C.READY, "False", _R.PULLING_IMAGES): lambda: starting(node="node-1"),
    (_C.READY, "False", _R.DOWNLOADING): lambda: starting("WaitingForModel"),
    (_C.READY, "False", _R.LOADING): lambda: starting("Starting"),
    (_C.READY, "False", _R.MEASURING): lambda: starting("Probing"),
    (_C.RECONCILING, "True", _R.INSPECTING): fresh,
    (_C.RECONCILING, "True", _R.STARTING): starting,
    (_C.RECONCILING, "True", _R.ROLLING_OUT): lambda: after(serving(), context=SMALLER),
    (_C.RECONCILING, "True", _R.SCALING): lambda: after(serving(), replicas=2),
    (_C.RECONCILING, "True", _R.MEASURING): lambda: after(serving(), workload=NEW_WORKLOAD),
    (_C.RECONCILING, "True", _R.RETRYING): without_an_answer,
    (_C.RECONCILING, "False", _R.SETTLED): serving,
    (_C.RECONCILING, "False", _R.DELETING): lambda: deleted(after(serving(), replicas=2)),
    (_C.RECONCILING, "False", _R.FAILED): without_its_claim,
    (_C.STALLED, "False", _R.PROGRESSING): serving,
    (_C.PLANNED, "True", _R.PLAN_READY): serving,
    (_C.PLANNED, "Unknown", _R.INSPECTING): fresh,
    (_C.MEASURED, "Unknown", _R.NOT_MEASURED_YET): starting,
    (_C.MEASURED, "Unknown", _R.MEASURING): lambda: starting("Probing"),
    (_C.MEASURED, "True", _R.MEASUREMENT_COMPLETE): serving,
    (_C.MEASURED, "True", _R.MEASUREMENT_PARTIAL): lambda: measured_with("Partial", capacity=FLAT),
    (_C.MEASURED, "True", _R.CAPACITY_FLOOR): lambda: measured_with("Partial"),
    (_C.MEASURED, "Unknown", _R.MEASUREMENT_PROVISIONAL): lambda: measured_with("Complete", flags=DISTURBED),
    (_C.MEASURED, "False", _R.MEASUREMENT_STALE): lambda: after(serving(), workload=NEW_WORKLOAD),
    (_C.MEASURED, "False", _R.MEASUREMENT_FAILED): lambda: measured_with("Failed"),
    (_C.MEASURED, "False", _R.DEVIATES_FROM_BASELINE): with_a_slow_pod,
    (_C.MEASURED, "Unknown", _R.REPORT_UNREACHABLE): behind_a_policy,
    (_C.MEASURED, "False", _R.PROBE_DISABLED): lambda: starting(probe={"policy": "Disabled"}),
    (_C.MEASURED, "False", _R.CANNOT_JUDGE): without_room_for_a_probe,
    (_C.ROLLOUT_ACCEPTED, "True", _R.FIRST_REVISION): serving,
    (_C.ROLLOUT_ACCEPTED, "True", _R.ACCEPTED): lambda: settled(after(serving(), context=SMALLER)),
    (_C.ROLLOUT_ACCEPTED, "Unknown", _R.INSPECTING): lambda: after(
        serving(), model={**MOCK_SPEC["model"], "uri": "hf://example/other"}
    ),
    (_C.ROLLOUT_ACCEPTED, "Unknown", _R.JUDGING): lambda: after(serving(), context=SMALLER),
    (_C.ROLLOUT_ACCEPTED, "False", _R.ROLLED_BACK): fallen_candidate,
    (_C.ROLLOUT_ACCEPTED, "False", _R.REGRESSION): lambda: rejected()[0],
    (_C.STALLED, "True", _R.REGRESSION): lambda: rejected()[0],
    (_C.ROLLOUT_ACCEPTED, "True", _R.REGRESSION): recorded_regression,
    (_C.ROLLOUT_ACCEPTED, "True", _R.NOT_JUDGED): changed_with_its_model,
}
WORLDS |= {
    (kind, status, reason): functools.partial(scaled, look)
    for look, told in SCALED.items()
    for kind, status, reason in told
}
WORLDS[_C.SCALING_ACTIVE, "False", _R.FAILED_UPDATE_SCALE] = refused
WORLDS[_C.SCALING_ACTIVE, "True", _R.REPLICAS_IGNORED] = written_by_another
BEFORE_THE_FIRST_LOOK = (_C.READY, "Unknown", _R.WAITING_FOR_OPERATOR)


@pytest.mark.parametrize("row", WORLDS, ids=" ".join)
def test_a_documented_reason_can_be_met(row: tuple[ConditionType, str, Reason]) -> None:
    kind, status, reason = row
    assert WORLDS[row]().brief(kind) == (status, reason)


def test_every_documented_reason_has_its_world() -> None:
    rows = {(row.kind, row.status, row.reason) for row in condition_rows() if row.reason != ANY_FAILURE}
    assert rows == {*(row for row in WORLDS if isinstance(row[2], Reason)), BEFORE_THE_FIRST_LOOK}
    assert (WAITING["type"], WAITING["status"], WAITING["reason"]) == BEFORE_THE_FIRST_LOOK


def named(owner: str) -> set[str]:
    """Members of an enum that code outside its contract names."""
    contract = {"conditions.py", "failure.py"}
    return {
        node.attr
        for root in ("operator", "runtime")
        for path in (ROOT / root).rglob("*.py")
        if path.name not in contract or "core" in path.parts
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == owner
    }


def test_every_class_is_raised_somewhere() -> None:
    assert {name.name for name in FAILURE_KINDS} <= named("FailureClass")
